"""A tile's work as the rest of the package would hand it over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.binding.cwl_helpers import bind_package

from upscaling.algorithms.cwl import pin_package
from upscaling.backends.cwl.backend import CwlBackend
from upscaling.config.cwl import CwlBackendConfig
from upscaling.jobs.receipts import open_receipt
from upscaling.model import Bounds, Outcome, Tile, TileJob
from upscaling.util.files import digest

PACKAGES = Path(__file__).parent / "packages"
DEMO = Path(__file__).resolve().parents[3] / "cwl" / "ndvi.cwl"
INSIDE = Tile("utm32n_e0676_n5150", "EPSG:32632", Bounds(676000.0, 5150000.0, 678000.0, 5152000.0))


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., TileJob]:
    """Return a factory: package, its parameters and a tile → the tile's job below ``tmp_path``."""

    def make(package: Path | str, parameters: dict[str, Any], tile: Tile = INSIDE) -> TileJob:
        algorithm = pin_package(package, tmp_path / "run" / "plan")
        order = bind_package(algorithm, tile, parameters)
        folders = [tmp_path / "run" / name / tile.id for name in ("tiles", "scratch")]
        receipt = tmp_path / "run" / "receipts" / f"{tile.id}.json"
        key = digest({"a": algorithm.sha256, "p": order})
        return TileJob("run", tile, key, order, algorithm, folders[0], receipt, folders[1])

    return make


def backend_of(**options: Any) -> CwlBackend:
    return CwlBackend(CwlBackendConfig(kind="cwl", **options))


@pytest.fixture
def run_job() -> Callable[..., Outcome]:
    """Return a function that runs a job inside its receipt, as the tile rule does."""

    def run(job: TileJob, **options: Any) -> Outcome:
        backend = backend_of(**options)
        backend.check(job.algorithm)
        with open_receipt(job) as receipt:
            return backend.run(job, receipt)

    return run
