"""The algorithm and the job of a tile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.results.results_helpers import RUN
from upscaling.model import Algorithm, Tile, TileJob


@pytest.fixture
def algorithm(tmp_path: Path) -> Algorithm:
    path = tmp_path / RUN / "plan" / "algorithm.json"
    path.parent.mkdir(parents=True)
    graph = {"load": {"process_id": "load_collection", "arguments": {"bands": ["B04", 8, None]}, "result": True}}
    path.write_text(json.dumps({"id": "ndvi", "process_graph": graph}))
    source = "https://user:secret@catalogue.example/ndvi.json?token=secret"
    return Algorithm("openeo", "ndvi", path, "ab" * 32, source, version="1.2")


@pytest.fixture
def job_of(tmp_path: Path, algorithm: Algorithm) -> Callable[[Tile], TileJob]:
    def make(tile: Tile) -> TileJob:
        run = tmp_path / RUN
        scratch = run / "scratch" / tile.id
        scratch.mkdir(parents=True, exist_ok=True)
        return TileJob(
            run=RUN,
            tile=tile,
            key=f"key-of-{tile.id}",
            parameters={},
            algorithm=algorithm,
            folder=run / "tiles" / tile.id,
            receipt=run / "receipts" / f"{tile.id}.json",
            scratch=scratch,
        )

    return make
