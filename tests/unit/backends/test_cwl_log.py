"""A log of any length is read within bounds, and still says why a run failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from upscaling.backends.cwl import log
from upscaling.backends.cwl.log import text_of


@pytest.mark.parametrize("size", [0, 5, 20, 21, 1000])
def test_of_a_long_log_both_ends_are_read(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "FIRST_BYTES", 8)
    monkeypatch.setattr(log, "LAST_BYTES", 12)
    written = bytes(ord("a") + number % 26 for number in range(size))
    (tmp_path / "log").write_bytes(b"before" + written)
    text = text_of(tmp_path / "log", 6)
    expected = written if size <= 20 else written[:8] + b"\n" + written[-12:]
    assert text == expected.decode()


STAMPED = "[2026-01-01T00:00:00+0000] [MainThread] "


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            f"\tTraceback (most recent call last):\n\t  File x\n\tschema_salad.ValidationException: no file 'a.txt'\n"
            f"\t{STAMPED}[E] [toil.worker] Exiting the worker because of a failed job on host vm\n<=========\n",
            "schema_salad.ValidationException: no file 'a.txt'",
        ),
        (f"{STAMPED}[E] [toil.x] the disk is gone\n{STAMPED}[I] bye\n", "the disk is gone"),
        (f"{STAMPED}[E] [toil.worker] Exiting the worker because of a failed job on host vm\n", "Exiting the worker"),
        (
            "INFO [job a] starting\nERROR Unhandled error, try again with --debug for more information:\n"
            "  Missing required secondary file 'a.tif.ovr'\nWARNING Final process status is permanentFail\n",
            "ERROR Unhandled error: Missing required secondary file 'a.tif.ovr' (log",
        ),
        (
            "ERROR I'm sorry, I couldn't load this CWL file, try again with --debug for more information.\n"
            "The error was: no type\n",
            "ERROR I'm sorry, I couldn't load this CWL file: no type (log",
        ),
        (
            "ERROR Input object failed validation:\na.yml:3:1: not\n  an int\n",
            "ERROR Input object failed validation: a",
        ),
        ("ERROR Workflow error, try again with --debug for more information:\n", "ERROR Workflow error (log"),
    ],
)
def test_the_runners_own_failure_is_told_by_what_happened(text: str, reason: str) -> None:
    assert str(log.failure(1, text, Path("x.log"))).startswith(reason)


def _told(stderr: str) -> str:
    text = f"[job cut] exited with status: 1\n{STAMPED}[E] [x] Failed command standard error:\n{stderr}{STAMPED}[I]\n"
    return str(log.failure(1, text, Path.cwd() / "logs" / "x.log"))


def test_a_tools_exception_is_told_by_its_message_and_place_not_by_its_frames() -> None:
    traceback = (
        "\treading\n\tTraceback (most recent call last):\n"
        '\t  File "/scratch/out/run.py", line 7, in <module>\n\t    main()\n'
        '\t  File "/scratch/out/cut.py", line 10, in main\n\n\t    raise ValueError("no scene")\n\t    ^^^^^\n'
    )
    told = "step cut exited with status 1: reading | ValueError: no scene (cut.py, line 10) (log: logs/x.log)"
    assert _told(f"{traceback}\tValueError: no scene\n") == told
    assert "a traceback without its end (cut.py, line 10)" in _told(traceback)
