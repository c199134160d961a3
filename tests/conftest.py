"""Fixtures every layer shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.containers"]
ROOT = Path(__file__).resolve().parents[1]
# Of these parts there is one on a machine: their tests follow each other when `pytest -n` shares tests out.
ONE_OF = {"slurm", "podman", "image_registry"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under `pytest -n`, keep the tests of a file in one process, and begin with those that take longest."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    alone = {item.path for item in items if ONE_OF & set(getattr(item, "fixturenames", ()))}
    runs = tuple(str(ROOT / "tests" / layer) for layer in ("workflow", "faults"))
    for item in items:
        item.add_marker(pytest.mark.xdist_group("machine" if item.path in alone else str(item.path)))
    items.sort(key=lambda item: 0 if item.path in alone else 1 if str(item.path).startswith(runs) else 2)


def missing(what: str) -> None:
    """Skip a test for want of ``what``; where everything must be there (CI), fail instead."""
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"{what} is missing, and REQUIRE_ALL=1 allows no skip")
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real inputs that lies beside a checkout: ``../shared/data`` (or $UPSCALING_SHARED_DATA)."""
    folder = Path(os.environ.get("UPSCALING_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        missing(f"the folder of real test data ({folder})")
    return folder


@pytest.fixture(scope="session")
def scene(shared_data: Path) -> Path:
    """Real Sentinel-2 pixels: 935 x 705 at 10 m, EPSG:32632, uint16, bands B04 B03 B02 B08 SCL, 2022-06-12."""
    return shared_data / "sentinel2" / "S2_L2A_sample.tif"
