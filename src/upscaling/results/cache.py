"""Items that did not change since they were gathered last, so that one more tile does not cost reading them all.

Tiles are cut into runs of some hundred where the hash of an id says so: one more tile, wherever it sorts, changes one
run and not the borders of all that follow. A run's entry is a file named after everything that went in: ids, keys,
each file's times, size and inode, and what is said of the items. So nothing is ever out of date, only not found.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from upscaling.results.gathered import Gathered
from upscaling.util.files import digest, write_whole

__all__ = ["ItemCache", "runs"]

# Of the entries' content; a change makes all of them unknown.
FORMAT = 3
# A run ends after one id in so many, and at this length at the latest.
MEAN, LONGEST = 512, 4096


def runs(tiles: Iterable[str]) -> Iterator[list[str]]:
    """Cut ids into runs of about 500."""
    run: list[str] = []
    for tile in tiles:
        run.append(tile)
        if zlib.crc32(tile.encode()) % MEAN == 0 or len(run) == LONGEST:
            yield run
            run = []
    if run:
        yield run


class ItemCache:
    """Gathered facts and table rows of runs of tiles, in a folder that may be deleted at any time.

    Parameters
    ----------
    said
        Everything, besides the items themselves, that the facts and rows depend on (JSON).
    """

    def __init__(self, folder: Path, said: Any) -> None:
        from upscaling import __version__

        self.folder = folder
        self.said = digest([FORMAT, __version__, said])
        self.used: set[str] = set()

    def name(self, run_folder: Path, tiles: list[str], keys: Mapping[str, str]) -> str:
        """Return the name of the entry for these tiles as their items are now."""
        state = hashlib.sha256(self.said.encode())
        for tile in tiles:
            try:
                # ctime and inode change also where mtime is set back, or a file of the same size is put in place
                now = os.stat(f"{run_folder}/tiles/{tile}/item.json")  # noqa: PTH116 -- half the time of Path.stat
                facts = f"{now.st_mtime_ns} {now.st_ctime_ns} {now.st_size} {now.st_ino}"
            except OSError:
                facts = "-"
            state.update(f"{tile} {keys.get(tile)} {facts}\n".encode())
        return state.hexdigest()

    def load(self, name: str) -> tuple[Gathered, bytes] | None:
        """Return facts and rows (Arrow IPC, empty without items), or None if they are not known or damaged."""
        self.used.add(name)
        try:
            content = (self.folder / name).read_bytes()
            head, _, rest = content.partition(b"\n")
            check, length = map(int, head.split())
            if zlib.crc32(rest) != check:
                return None
            return Gathered.loads(rest[:length]), rest[length:]
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def store(self, name: str, gathered: Gathered, rows: bytes) -> None:
        """Keep facts and rows; that it cannot be done is no fault."""
        self.used.add(name)
        facts = gathered.dumps()
        rest = facts + rows
        try:
            write_whole(self.folder / name, b"%d %d\n%b" % (zlib.crc32(rest), len(facts), rest), lasting=False)
        except OSError:
            return

    def prune(self) -> None:
        """Delete all entries that were not asked for."""
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            if path.name not in self.used:
                path.unlink(missing_ok=True)
