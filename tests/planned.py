"""Runs that are planned and not begun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from upscaling.config import Config
from upscaling.planning.ensure import ensure_plan
from upscaling.planning.plan import keep_config

__all__ = ["everywhere", "planned_run", "tiles_of"]


def planned_run(folder: Path, url: str, *, columns: int, rows: int, auth: str = "basic", **backend: Any) -> Path:
    """Plan the demo's algorithm over tiles of 1 km in UTM zone 32; return the run's folder."""
    west, south, east, north = 500_000, 5_000_000, 500_000 + columns * 1000, 5_000_000 + rows * 1000
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    (folder / "aoi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring], "crs": crs}))
    config = Config.parse(
        {
            "run": "r",
            "algorithm": {
                "source": str(ROOT / "config/demo/ndvi_composite.json"),
                "parameters": {"temporal_extent": ["2023-06-01", "2023-09-01"]},
            },
            "area": {"aoi": str(folder / "aoi.geojson"), "grid": "utm-1km"},
            "backend": {"kind": "openeo", "url": url, "auth": auth, **backend},
        }
    )
    run_folder = folder / "results" / "r"
    ensure_plan(config, run_folder)
    keep_config(config, run_folder)
    return run_folder


def tiles_of(run_folder: Path) -> list[str]:
    """Return the targets of a plan."""
    rows = (run_folder / "plan" / "tiles.csv").read_text().splitlines()[1:]
    return [row.partition(",")[0] for row in rows]


def everywhere(folder: Path) -> Path:
    """Describe a collection SENTINEL2_L2A to the embedded back-end that covers the tiles of ``planned_run``."""
    import numpy as np
    import rasterio

    profile = {"driver": "GTiff", "count": 1, "width": 60, "height": 60, "dtype": "uint8", "crs": "EPSG:32632"}
    transform = rasterio.Affine(10_000, 0, 200_000, 0, -10_000, 5_400_000)
    with rasterio.open(folder / "everywhere.tif", "w", transform=transform, **profile) as raster:
        raster.write(np.ones((1, 60, 60), "uint8"))
    item = {"file": "everywhere.tif", "datetime": "2023-06-12T10:00:00Z", "bands": ["B04"]}
    path = folder / "collections.yaml"
    path.write_text(json.dumps({"collections": {"SENTINEL2_L2A": {"items": [item]}}}))
    return path
