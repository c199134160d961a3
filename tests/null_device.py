"""See that ``/dev/null`` stays what every program takes for granted: a device that everybody may write.

Once, in CI, it was none any more for other users than root, and PostgreSQL, which may not run as root, could not start.
Whoever changes it is named at the end of the session, and root puts it back.
"""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

NULL = Path(os.devnull)
# One file for a session and its processes, which inherit the name.
_NOTES = Path(os.environ.setdefault("UPSCALING_TEST_NOTES", f"{tempfile.gettempdir()}/upscaling-tests-{os.getpid()}"))


def put_right(when: str, device: Path = NULL) -> None:
    """Note it if ``device`` is not a device that all may reach and write, and make it one."""
    folder = device.parent.stat().st_mode
    try:
        mode = device.stat().st_mode
    except FileNotFoundError:
        mode = 0
    if stat.S_ISCHR(mode) and mode & 0o666 == 0o666 and (folder & 0o001 or device != NULL):
        return
    said = f"{stat.filemode(mode) if mode else 'gone'} in a folder {stat.filemode(folder)}"
    if os.geteuid() == 0:
        try:
            if not stat.S_ISCHR(mode):
                device.unlink(missing_ok=True)
                os.mknod(device, stat.S_IFCHR, os.makedev(1, 3))
            device.chmod(0o666)
            if device == NULL:
                device.parent.chmod(stat.S_IMODE(folder) | 0o555)
            said += ", put back"
        except OSError as error:
            said += f", cannot be put back: {error}"
    with _NOTES.open("a", encoding="utf-8") as notes:
        notes.write(f"{device} was {said}: {when}\n")


def described(user: int) -> str:
    """Return what a user finds at ``/dev/null``, for a message."""
    tried = subprocess.run(["sh", "-c", ": >/dev/null"], user=user, capture_output=True, text=True, check=False)
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1].startswith("/dev")]
    shown = [f"{path}: {stat.filemode(path.stat().st_mode)}" for path in (NULL, NULL.parent, Path("/"))]
    return "\n".join([f"user {user} on {NULL}: {tried.stderr.strip() or 'may write'}", *shown, *mounts])


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
