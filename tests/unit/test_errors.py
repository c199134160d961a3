"""What a machine refuses is one line that names the path and what helps, wherever it happens."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from upscaling.cli.app import main
from upscaling.errors import UpscalingError, in_a_line, refused_by_machine
from upscaling.util.files import write_json
from upscaling.workflow.hooks import logged

FULL = os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, FULL), f"this machine: {FULL}; make room and run again"),
        (OSError(errno.ENOSPC, FULL, "from", None, "to"), f"to: {FULL}; make room and run again"),
        (PermissionError(errno.EACCES, "x", b"a/b"), "a/b: Permission denied; choose a path that this account may use"),
        (OSError(errno.EROFS, "x", Path("a/b")), "a/b: Read-only file system; choose a folder that can be written"),
        (RuntimeError(f"TIFFWriteDirectory: {FULL}"), f"TIFFWriteDirectory: {FULL}; make room and run again"),
        (RuntimeError("database or disk is full"), "database or disk is full; make room and run again"),
        (UpscalingError("as it is"), "as it is"),
        (ZeroDivisionError("a\nb"), "ZeroDivisionError: a b (bug in eo-upscaling, please report; traceback in x.log)"),
        (ConnectionResetError("x"), "ConnectionResetError: x (bug in eo-upscaling, please report; traceback in x.log)"),
    ],
)
def test_any_error_is_one_line(error: Exception, line: str) -> None:
    assert in_a_line(error, "x.log") == line
    assert (refused_by_machine(error) is None) == (isinstance(error, UpscalingError) or "bug" in line)


def _config(folder: Path) -> Path:
    (folder / "app.cwl").write_text(
        json.dumps(
            {
                "cwlVersion": "v1.2",
                "class": "CommandLineTool",
                "baseCommand": "true",
                "inputs": {"bbox": "string"},
                "outputs": [],
            }
        )
    )
    config = {
        "run": "r",
        "algorithm": {"source": str(folder / "app.cwl")},
        "area": {"aoi": [11.3, 46.5, 11.32, 46.52], "grid": "utm-2km"},
        "backend": {"kind": "cwl"},
    }
    (folder / "c.yaml").write_text(json.dumps(config))
    return folder / "c.yaml"


def _file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("plan", "results"),
        ("plan", "results/r"),
        ("plan", "results/r/plan"),
        ("check", "results/r"),
        ("status", "results/r"),
        ("collect", "results/r/plan"),
    ],
)
def test_a_file_where_a_folder_belongs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    place: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    _config(tmp_path)
    _file(tmp_path / place)
    monkeypatch.setattr("sys.argv", ["upscaling", command, "c.yaml" if command in {"plan", "check"} else "results/r"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "bug" not in said


def _raise(number: int) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_full_disk_is_told_with_the_file_that_was_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.fsync", _raise(errno.ENOSPC))
    with pytest.raises(SystemExit), logged(None, "report"):
        write_json(tmp_path / "a.json", {})
    said = capsys.readouterr().err
    assert said == f"error: report: {tmp_path / 'a.json'}: {FULL}; make room and run again\n"
    assert not list(tmp_path.iterdir()), "nothing half written is left"
