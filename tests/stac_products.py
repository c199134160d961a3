"""Products of the real scene as STAC items with a file per band; what the water package makes of them, by numpy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.warp import transform_bounds, transform_geom

from tests.fake_stac_api import FakeStacApi

__all__ = ["PRODUCTS", "Product", "expected_water", "make_catalogue", "make_items", "products_api"]

BANDS = {"B03": 2, "B08": 4}
LEFT, TOP, PIXEL = 674990, 5154960, 10


@dataclass(frozen=True)
class Product:
    """A vertical strip of the scene; ``gain`` on the green band makes each of them another picture."""

    id: str
    datetime: str
    cloud: float
    columns: slice
    gain: int


PRODUCTS = (
    Product("west_a", "2022-06-02T10:15:59Z", 5.0, slice(0, 551), 1),
    Product("east_a", "2022-06-02T10:15:59Z", 8.0, slice(551, 935), 3),
    Product("whole_b", "2022-06-12T10:15:59Z", 20.0, slice(0, 935), 4),
    Product("cloudy_c", "2022-06-22T10:15:59Z", 80.0, slice(0, 935), 9),
    Product("whole_d", "2022-07-02T10:15:59Z", 1.0, slice(0, 935), 2),
)


def make_items(scene: Path, folder: Path, *, href: str = "") -> list[dict[str, Any]]:
    """Write the files below ``folder`` and return the items; assets are at ``href`` plus product and file name."""
    with rasterio.open(scene) as source:
        pixels = {name: source.read(index) for name, index in BANDS.items()}
        profile = source.profile | {"count": 1, "tiled": False}
    items = []
    for product in PRODUCTS:
        (folder / product.id).mkdir(parents=True)
        west = LEFT + product.columns.start * PIXEL
        width = product.columns.stop - product.columns.start
        bounds = (west, TOP - 705 * PIXEL, west + width * PIXEL, TOP)
        place = {"width": width, "transform": rasterio.Affine(PIXEL, 0, west, 0, -PIXEL, TOP)}
        assets = {}
        for name, array in pixels.items():
            path = folder / product.id / f"{name}.tif"
            with rasterio.open(path, "w", **profile | place) as target:
                target.write(array[:, product.columns] * (product.gain if name == "B03" else 1), 1)
            assets[name] = {
                "href": f"{href or '.'}/{product.id}/{name}.tif" if href else f"./{name}.tif",
                "type": "image/tiff; application=geotiff",
                "roles": ["data"],
                "file:size": path.stat().st_size,
                "file:checksum": "1220" + hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        ring = [(bounds[0], bounds[1]), (bounds[2], bounds[1]), (bounds[2], bounds[3]), (bounds[0], bounds[3])]
        outline = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        items.append(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "stac_extensions": [],
                "id": product.id,
                "collection": "s2",
                "geometry": transform_geom("EPSG:32632", "EPSG:4326", outline),
                "bbox": list(transform_bounds("EPSG:32632", "EPSG:4326", *bounds)),
                "properties": {
                    "datetime": product.datetime,
                    "eo:cloud_cover": product.cloud,
                    "platform": "sentinel-2a" if "whole" in product.id else "sentinel-2b",
                },
                "links": [],
                "assets": assets,
            }
        )
    return items


@contextmanager
def products_api(scene: Path, folder: Path) -> Iterator[FakeStacApi]:
    """A fake API with the scene's products, whose files it serves too."""
    with FakeStacApi(folder) as api:
        api.items = make_items(scene, folder, href=f"{api.url}/files")
        yield api


def make_catalogue(scene: Path, folder: Path) -> Path:
    """Write a static catalogue on this disk; return its root."""
    links = []
    for item in make_items(scene, folder):
        (folder / item["id"] / "item.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./{item['id']}/item.json"})
    head = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "d", "links": links}
    (folder / "catalog.json").write_text(json.dumps(head))
    return folder / "catalog.json"


def expected_water(scene: Path, names: list[str]) -> NDArray[np.uint8]:
    """The share of observations with water over the whole scene, of the products in ``names``."""
    with rasterio.open(scene) as source:
        green, nir = source.read(BANDS["B03"]), source.read(BANDS["B08"])
    seen, wet = np.zeros(green.shape, int), np.zeros(green.shape, int)
    for product in (one for one in PRODUCTS if one.id in names):
        columns = product.columns
        g, n = (green * product.gain)[:, columns].astype("float32"), nir[:, columns].astype("float32")
        known = (g != 0) & (n != 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            seen[:, columns] += known
            wet[:, columns] += known & ((g - n) / (g + n) > 0)
    return np.where(seen > 0, np.rint(100 * wet / np.maximum(seen, 1)), 255).astype("uint8")
