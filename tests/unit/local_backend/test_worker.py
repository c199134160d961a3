"""Why a job failed is the code in its log."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from upscaling.local_backend.errors import UDF_FILE, ProcessError, is_out_of_memory
from upscaling.local_backend.worker import log_entries, run_job

# what want of memory looks like: rasterio's own errors are of its modules, whatever GDAL calls them
GDAL = type("RasterioIOError", (OSError,), {"__module__": "rasterio.errors"})
CPLE = type("CPLE_OutOfMemoryError", (Exception,), {"__module__": "rasterio._err"})


@pytest.fixture
def loggers() -> Iterator[None]:
    """Leave pytest's handlers as they are: a job takes all of them for its own."""
    import logging

    root, own, rasterio = logging.getLogger(), logging.getLogger("upscaling"), logging.getLogger("rasterio")
    kept = list(root.handlers), root.level, own.level, rasterio.level
    yield
    root.handlers[:], root.level, own.level, rasterio.level = kept


@pytest.mark.usefixtures("loggers")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("where", ["process", "save_result"])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "OutOfMemory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "OutOfMemory"),
        (GDAL("a.tif, band 1: IReadBlock failed: not enough memory"), "OutOfMemory"),
        (CPLE("GDALDriver::Create: Out of memory allocating 100000 bytes"), "OutOfMemory"),
        (GDAL("a.tif: no such file"), None),
        (ProcessError("NoDataAvailable", "nothing here"), "NoDataAvailable"),
    ],
)
def test_want_of_memory_is_told_whoever_runs_out_of_it(
    error: Exception, code: str | None, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    if where == "save_result":
        monkeypatch.setattr("upscaling.local_backend.worker.save", fails)
    graph = {
        "one": {"process_id": "one", "arguments": {}},
        "save": {
            "process_id": "save_result",
            "arguments": {"data": {"from_node": "one"}, "format": "GTiff"},
            "result": True,
        },
    }
    job = {"process_graph": graph, "definitions": {}, "options": {}, "log_level": "info", "user": "anna"}
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert not run_job(tmp_path, {}, {"one": fails if where == "process" else lambda: 1})
    (entry,) = [entry for entry in log_entries(tmp_path) if entry["level"] == "error"]
    assert entry["code"] == (code or "ProcessFailed")


@pytest.mark.parametrize(
    ("line", "memory"),
    [
        ("raise RuntimeError('not enough memory of past scenes')", False),
        ("raise ValueError('cannot allocate memory')", False),
        ("raise MemoryError('so says the UDF')", True),
        ("torch_like()", True),
        ("bytearray(1 << 62)", True),
    ],
)
def test_a_udf_that_speaks_of_memory_has_not_run_out_of_it(line: str, memory: bool) -> None:
    def torch_like() -> None:
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(Exception) as raised:
        exec(compile(line, UDF_FILE, "exec"), {"torch_like": torch_like})
    failed = ProcessError("UdfFailed", "line 1")
    failed.__cause__ = raised.value
    assert is_out_of_memory(failed) is memory
