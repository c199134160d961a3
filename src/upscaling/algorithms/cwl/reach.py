"""What a package may name: what comes from the web names what is on the web, a local one what is in its own folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from upscaling.algorithms.cwl.types import REMOTE_SCHEMES
from upscaling.errors import ConfigError
from upscaling.http.address import is_private, is_web, shown

__all__ = ["Reach", "local_path", "reach_of", "regular_files"]

_KEY = "algorithm.source"


@dataclass(frozen=True, slots=True)
class Reach:
    """What a package may name.

    Attributes
    ----------
    location
        The package, for messages.
    folders
        Real paths of the folders whose files it may name; none for one of the web.
    private
        Whether it lies on this machine or in a private network, and so may name servers there.
    """

    location: str
    folders: tuple[Path, ...]
    private: bool

    def file(self, path: Path) -> Path:
        """Return the real path of a file or folder that the package names.

        Raises
        ------
        ConfigError
            If the package may not name it, or it is a device, pipe or socket.
        """
        real = Path(os.path.realpath(path))
        if not any(real == folder or real.is_relative_to(folder) for folder in self.folders):
            if not self.folders:
                words = f"comes from the web and names a file of this machine, {_printed(path)}"
            else:
                words = f"names {_printed(path)}, outside its own folder; allow the folder in algorithm.files_from"
            raise ConfigError(words, key=_KEY, file=self.location)
        if real.exists() and not stat.S_ISREG(real.stat().st_mode) and not real.is_dir():
            raise ConfigError(f"names {_printed(path)}, which is not a regular file", key=_KEY, file=self.location)
        return real

    def address(self, url: str) -> None:
        """See that the package may name an address.

        Raises
        ------
        ConfigError
            It may not.
        """
        scheme = urlsplit(url).scheme.lower()
        if scheme == "file":
            self.file(local_path(url))
        elif is_web(url) and not self.private and is_private(url):
            words = f"comes from the web and names {shown(url)}, a server of this machine or a private network"
            raise ConfigError(words, key=_KEY, file=self.location)
        elif scheme and scheme not in REMOTE_SCHEMES:
            raise ConfigError(f"names {shown(url)}, which cannot be read", key=_KEY, file=self.location)


def reach_of(uri: str, location: str, folders: Iterable[str] = ()) -> Reach:
    """Return what a package may name.

    Parameters
    ----------
    uri
        Address of the document.
    location
        What the user calls it: ``oci://…`` is of the web, although its files were fetched.
    folders
        Others whose files a local package may name, too (``algorithm.files_from``).
    """
    if is_web(uri):
        return Reach(location, (), is_private(uri))
    folder = Path(os.path.realpath(local_path(uri).parent))
    more = () if location.startswith("oci:") else map(os.path.realpath, map(os.path.expanduser, folders))
    own = (folder, *map(Path, more))
    return Reach(location, own, private=not location.startswith("oci:"))


def local_path(uri: str) -> Path:
    """Return the path in a ``file:`` address."""
    return Path(url2pathname(urlsplit(uri).path))


def regular_files(folder: Path, reach: Reach) -> Iterator[Path]:
    """Yield the files below a folder, after a look that each may be named.

    Raises
    ------
    ConfigError
        For a link out of the package's folders, a device, pipe or socket.
    """
    for path in sorted(folder.rglob("*")):
        if not path.is_dir() or path.is_symlink():
            reach.file(path)
        if path.is_file():
            yield path


def _printed(path: Path) -> str:
    return "".join(sign for sign in unquote(str(path)) if sign.isprintable())[:200]
