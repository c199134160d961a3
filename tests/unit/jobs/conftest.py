"""A tile's job, and no waiting."""

from __future__ import annotations

from pathlib import Path

import pytest

from upscaling.jobs import remote_job as remote
from upscaling.jobs import results_wait
from upscaling.model import Algorithm, Bounds, Tile, TileJob


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote.time, "sleep", lambda _seconds: None)
    results_wait._lists.clear()


@pytest.fixture
def job(tmp_path: Path) -> TileJob:
    algorithm = Algorithm("openeo", "p", tmp_path / "p.json", "0" * 64, "p.json")
    tile = Tile("t1", "EPSG:32632", Bounds(0, 0, 1, 1))
    places = {"folder": tmp_path / "tiles/t1", "receipt": tmp_path / "receipts/t1.json", "scratch": tmp_path / "s"}
    return TileJob("run", tile, "a" * 64, {}, algorithm, **places)
