"""Fixtures every layer shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.containers"]
ROOT = Path(__file__).resolve().parents[1]


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
