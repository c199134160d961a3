"""An embedded back-end on a made cube that has every band which the catalogue's processes load."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import rasterio
from tests.servers import EmbeddedBackend

ANGLES = ["viewZenithMean", "viewAzimuthMean", "sunZenithAngles", "sunAzimuthAngles"]
BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12", "SCL", *ANGLES]
DATES = ["2022-06-03", "2022-06-12", "2022-06-27", "2022-07-08"]
WEST, NORTH, SIZE = 679_500, 5_152_500, 200  # EPSG:32632, 10 m
EDGES = (680_000, 5_151_000, 681_000, 5_152_000)  # the tile that all of them run for


def stored() -> np.ndarray:
    """Reflectances (t, bands, y, x) as the files hold them; 0 is no data, SCL is in blocks of 20 m."""
    random = np.random.default_rng(11)
    values = random.integers(100, 6000, (len(DATES), len(BANDS), SIZE, SIZE)).astype("uint16")
    blocks = random.integers(1, 12, (len(DATES), SIZE // 2, SIZE // 2))
    values[:, BANDS.index("SCL")] = blocks.repeat(2, 1).repeat(2, 2)
    values[0, :, 60:80, 60:80] = 0
    return values


def in_tile(*names: str) -> list[np.ndarray]:
    """Bands of the tile (t, y, x), float32, with NaN for no data."""
    values = stored().astype("float32")
    values[values == 0] = np.nan
    rows, columns = slice(50, 150), slice(50, 150)
    return [values[:, BANDS.index(name), rows, columns] for name in names]


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBackend]:
    folder = tmp_path_factory.mktemp("platform")
    items = []
    for date, values in zip(DATES, stored(), strict=True):
        profile = {"driver": "GTiff", "count": len(BANDS), "height": SIZE, "width": SIZE, "dtype": "uint16"}
        transform = rasterio.Affine(10, 0, WEST, 0, -10, NORTH)
        with rasterio.open(
            folder / f"{date}.tif", "w", crs="EPSG:32632", transform=transform, nodata=0, **profile
        ) as target:
            target.write(values)
        items.append({"file": f"{date}.tif", "datetime": f"{date}T10:00:00Z", "bands": BANDS})
    radar = [{**item, "bands": ["VH", "VV", *BANDS[2:]]} for item in items]
    data = folder / "data.yaml"
    data.write_text(json.dumps({"collections": {"SENTINEL2_L2A": {"items": items}, "SENTINEL1_GRD": {"items": radar}}}))
    server = EmbeddedBackend(data, folder / "root").start()
    yield server
    server.stop()
