"""Locks of files that several processes write; the lock of a run is tested with what takes it."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from upscaling.util.locks import exclusive

HOLD = "import sys; from pathlib import Path; from upscaling.util.locks import exclusive as hold;"
HOLD += " held = hold(Path(sys.argv[1])); held.__enter__(); print(flush=True); sys.stdin.read()"
TAKE = "import sys; from pathlib import Path; from upscaling.util.locks import take_run; take_run(Path(sys.argv[1]))"


def test_one_process_or_thread_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BlockingIOError, match="held by another process"), exclusive(lock, wait=False):
            pytest.fail("two hold it")
        holder.kill()  # the system lets go of it
    order: list[str] = []

    def second() -> None:
        with exclusive(lock):
            order.append("second")

    with exclusive(lock):
        waiting = threading.Thread(target=second)
        waiting.start()
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    assert lock.exists(), "to remove it would let two in"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", refused)
    with exclusive(tmp_path / "x.lock"), exclusive(tmp_path / "x.lock", wait=False):
        pass
    with pytest.raises(IsADirectoryError), exclusive(tmp_path):
        pass


def test_the_lock_of_a_run_is_given_back_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "dev", "-c", TAKE, tmp_path]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stderr == ""
