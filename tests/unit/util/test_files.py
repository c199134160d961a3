"""Files written whole or not at all."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from upscaling.util import files
from upscaling.util.files import write_whole, written_whole


@contextmanager
def no_large_files() -> Iterator[None]:
    """Let this process write no file of more than 1,000 bytes; pytest itself writes larger ones soon after."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "before")
    with pytest.raises(OSError, match=str(path)), no_large_files():
        write_whole(path, b"x" * 5000)
    with pytest.raises(OSError, match="too large"), no_large_files(), written_whole(path) as temporary:
        temporary.write_bytes(b"x" * 5000)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("a.json", "before")]


def test_a_folder_is_made_and_colleagues_may_read(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "a.txt", "ü", lasting=False)
    with written_whole(tmp_path / "newer" / "b.txt") as temporary:
        temporary.touch(0o600)
    for path, content in ((tmp_path / "new" / "a.txt", "ü"), (tmp_path / "newer" / "b.txt", "")):
        assert path.read_text(encoding="utf-8") == content
        assert path.stat().st_mode & 0o777 == 0o666 & ~files._UMASK
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "new" / "a.txt" / "c.txt", "below a file")
