"""Files of this machine that a package is made of or its parameters name: what is in them is a part of a tile's key."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from upscaling.util.files import digest, sha256_file

__all__ = ["LocalFiles", "unchanged"]

_HASHED = 1 << 30  # bytes of a file or folder that are read when a run is planned: some seconds


class LocalFiles:
    """Tells what the files are that parameters name; each is read once.

    Attributes
    ----------
    stamps
        Path -> what ``unchanged`` looks at, of all files so far.
    """

    def __init__(self) -> None:
        self.stamps: dict[str, str] = {}
        self._contents: dict[str, str] = {}

    def watch(self, paths: Iterable[str]) -> None:
        """Add files to ``stamps``."""
        self.stamps.update({path: _stamp(path) for path in paths if path not in self.stamps})

    def contents(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        """Return path -> hash of the content, of every local File and Directory of a job order.

        Of more than 1 GiB not the content counts, but names, sizes and times.
        """
        found = {}
        for path in _paths(parameters):
            if path not in self._contents:
                self.watch([path])
                self._contents[path] = _content(path)
            found[path] = self._contents[path]
        return found


def unchanged(stamps: Mapping[str, str]) -> bool:
    """Whether files are as they were when a run was planned, by name, size and time: cheap, as this is asked often.

    One that is gone since does not count: what is done needs it no more, and what is not will say so.
    """
    return all(stamp == _stamp(path) or not Path(path).exists() for path, stamp in stamps.items())


def _paths(parameters: Mapping[str, Any]) -> Iterator[str]:
    from upscaling.algorithms.cwl.vendor import files_in

    for literal in files_in(parameters):
        path, location = literal.get("path"), urlsplit(str(literal.get("location") or ""))
        if path:
            yield str(path)
        elif location.scheme == "file":
            yield unquote(location.path)


def _parts(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files of a folder, or the file itself, with their names and what the file system says of them."""
    if not Path(path).is_dir():
        yield "", Path(path).stat()
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            try:
                yield str(file.relative_to(path)), file.stat()
            except OSError:
                yield str(file.relative_to(path)), file.lstat()  # a link that leads nowhere


def _stamp(path: str) -> str:
    """Return a hash of names, sizes and times."""
    try:
        return digest([(name, stat.st_size, stat.st_mtime_ns) for name, stat in _parts(path)])
    except OSError:
        return ""


def _content(path: str) -> str:
    parts = list(_parts(path))
    if sum(stat.st_size for _, stat in parts) > _HASHED:
        return _stamp(path)
    files = [(name, Path(path, name) if name else Path(path)) for name, _ in parts]
    return digest([(name, sha256_file(file) if file.is_file() else "") for name, file in files])
