"""See that ``/dev/null`` stays what every program takes for granted: a device that everybody may write.

Once, in CI, it was none any more for other users than root, and PostgreSQL, which may not run as root, could not start.
Whoever changes it is named at the end of the session, and root puts it back.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

NULL = Path(os.devnull)
# One file for a session and its processes, which inherit the name.
_NOTES = Path(os.environ.setdefault("UPSCALING_TEST_NOTES", f"{tempfile.gettempdir()}/upscaling-tests-{os.getpid()}"))


def put_right(when: str, device: Path = NULL) -> None:
    """Note it if ``device`` is not a device that all may write, and make it one."""
    try:
        mode = device.stat().st_mode
    except FileNotFoundError:
        mode = 0
    if stat.S_ISCHR(mode) and mode & 0o666 == 0o666:
        return
    said = stat.filemode(mode) if mode else "gone"
    if os.geteuid() == 0:
        if not stat.S_ISCHR(mode):
            device.unlink(missing_ok=True)
            os.mknod(device, stat.S_IFCHR, os.makedev(1, 3))
        device.chmod(0o666)
        said += ", put back"
    with _NOTES.open("a", encoding="utf-8") as notes:
        notes.write(f"{device} was {said}: {when}\n")


def pytest_sessionstart() -> None:
    """Look before the first test."""
    put_right("before the first test")


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Look after each test; with several processes it may be a test of another one that ran at that time."""
    put_right(f"at the end of {item.nodeid}")


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was noted; processes of `pytest -n` have a summary too, which nobody sees."""
    if _NOTES.exists() and "PYTEST_XDIST_WORKER" not in os.environ:
        terminalreporter.section("changes of the machine")
        terminalreporter.write(_NOTES.read_text(encoding="utf-8"))
        _NOTES.unlink()
