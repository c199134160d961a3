"""What a package refers to and is no CWL: copied into the plan, from disk or web, under the sha256 of its content."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from upscaling.algorithms.cwl.load import KEY
from upscaling.algorithms.cwl.reach import Reach, regular_files
from upscaling.algorithms.cwl.types import REMOTE_SCHEMES
from upscaling.errors import ConfigError, ErrorClass, PlatformError
from upscaling.http.address import shown
from upscaling.http.download import download
from upscaling.http.transport import Transport
from upscaling.util.files import digest, matches_checksum, sha256_file
from upscaling.util.values import objects_in

__all__ = ["files_in", "vendor", "vendored_schemas"]

_LARGEST = 10 << 30  # bytes of a file from the web
_FOLDER = "files"


def files_in(node: Any) -> Iterator[Any]:
    """Yield every File and Directory object of a document or of a job order."""
    return (part for part in objects_in(node) if part.get("class") in ("File", "Directory"))


def vendor(literal: dict[str, Any], reach: Reach, into: Path) -> bool:
    """Copy what a File or Directory object refers to into the plan, and let the object refer to the copy.

    Parameters
    ----------
    literal
        The object, whose addresses are absolute; one of the web is fetched, one of a bucket (s3, gs, ftp) left alone.
    reach
        What the package may name.
    into
        Folder of the plan.

    Returns
    -------
    False if there is nothing there, or nothing that can be copied: a file of the author's own machine, a dead link, or
    a folder of the web.

    Raises
    ------
    ConfigError
        If an address of the web cannot be reached, or holds another content than the package says; if the package may
        not name it.
    """
    said = str(literal.get("location") or literal.get("path") or "")
    scheme, path = urlsplit(said).scheme, Path(unquote(urlsplit(said).path))
    if not said or said.startswith(f"{_FOLDER}/"):
        return True  # with its contents in the document, or copied already
    if scheme in ("http", "https"):
        reach.address(said)
        copy = _fetched(said, literal, reach.location, into) if literal["class"] == "File" else None
    elif scheme in REMOTE_SCHEMES:
        return True
    elif scheme != "file" or not reach.folders or not os.path.lexists(path):
        copy = None  # of the author's own machine: one of the web does not learn what is on this one
    else:
        copy = _copied(path, reach, into)
    if copy is None:
        return False
    literal.pop("path", None)
    literal["location"] = quote(copy.relative_to(into).as_posix())
    return True


def _copied(path: Path, reach: Reach, into: Path) -> Path:
    """Copy a file or folder of the package into the plan, as readable for others as it was."""
    real = reach.file(path)
    if real.is_dir():
        content = {str(part.relative_to(real)): sha256_file(part) for part in regular_files(real, reach)}
        copy = into / _FOLDER / digest(content)[:16] / path.name
        shutil.copytree(real, copy, dirs_exist_ok=True)
        return copy
    if real.stat().st_size > _LARGEST:
        words = f"names {path.name}, larger than {_LARGEST >> 30} GB"
        raise ConfigError(words, key=KEY, file=reach.location)
    copy = into / _FOLDER / sha256_file(real)[:16] / path.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.unlink(missing_ok=True)
    shutil.copy(real, copy)
    return copy


def vendored_schemas(schemas: list[str], reach: Reach, into: Path) -> list[str]:
    """Return copies of ontologies (``$schemas``); without those that cannot be had, as every runner does."""
    found = []
    for address in sorted(set(schemas)):
        literal = {"class": "File", "location": address}
        try:
            if vendor(literal, reach, into):
                found.append(literal["location"])
        except ConfigError:
            continue
    return found


def _fetched(url: str, literal: dict[str, Any], location: str, into: Path) -> Path | None:
    """Download a file into the plan; None if the server says that it is not to be had."""
    folder = into / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    with TemporaryDirectory(dir=folder, prefix=".") as temporary:
        part = Path(temporary) / (name if name.isprintable() and name not in ("", "..") else "file")
        try:
            download(Transport(), url, part, largest=_LARGEST)
        except PlatformError as error:
            if error.error_class is ErrorClass.TRANSIENT:
                raise ConfigError(f"refers to a file that cannot be had now: {error}", key=KEY, file=location) from None
            return None
        if not matches_checksum(part, str(literal.get("checksum") or "")):
            raise ConfigError(f"{shown(url)} is not what the package says: other checksum", key=KEY, file=location)
        copy = folder / sha256_file(part)[:16] / part.name
        copy.parent.mkdir(exist_ok=True)
        part.replace(copy)
    return copy
