"""Put the tiles of a collection together into one array, without this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import UpscalingError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["read_mosaic"]


def read_mosaic(collection: Path, *, asset: str) -> tuple[np.ndarray, Any]:
    """Read one asset of all items of a single-CRS collection into one array.

    Parameters
    ----------
    collection
        A ``collection.json`` with relative links.
    asset
        The asset's key.

    Returns
    -------
    Array of shape (bands, rows, columns) over the bounds of all tiles, and its affine transform.

    Raises
    ------
    UpscalingError
        A pixel belongs to no tile or to two, or tiles differ in CRS, pixel size, lattice, bands or data type.
    """
    import numpy as np
    import orjson
    import rasterio
    from rasterio import Affine

    links = orjson.loads(collection.read_bytes())["links"]
    parts: list[tuple[str, np.ndarray, Any]] = []
    kinds = set()
    for link in links:
        if link["rel"] != "item":
            continue
        path = collection.parent / link["href"]
        item = orjson.loads(path.read_bytes())
        if asset not in item["assets"]:
            raise UpscalingError(f"tile {item['id']} has no asset {asset}: there is a gap")
        with rasterio.open(path.parent / item["assets"][asset]["href"]) as dataset:
            transform = dataset.transform
            kinds.add(
                (str(dataset.crs), dataset.count, dataset.dtypes[0], round(transform.a, 9), round(transform.e, 9))
            )
            parts.append((item["id"], dataset.read(), transform))
    if len(kinds) != 1:
        raise UpscalingError(f"the tiles of {collection} are not alike: {sorted(kinds)}")
    step_x, step_y = parts[0][2].a, parts[0][2].e
    west = min(transform.c for _, _, transform in parts)
    north = max(transform.f for _, _, transform in parts)
    places = []
    for tile, values, transform in parts:
        column, row = (transform.c - west) / step_x, (transform.f - north) / step_y
        if max(abs(column - round(column)), abs(row - round(row))) > 1e-3:
            raise UpscalingError(f"tile {tile} does not lie on the lattice of the others")
        places.append((tile, values, round(row), round(column)))
    height = max(row + values.shape[1] for _, values, row, _ in places)
    width = max(column + values.shape[2] for _, values, _, column in places)
    mosaic = np.zeros((parts[0][1].shape[0], height, width), parts[0][1].dtype)
    owners = np.zeros((height, width), "uint8")
    for tile, values, row, column in places:
        window = (slice(row, row + values.shape[1]), slice(column, column + values.shape[2]))
        if owners[window].any():
            raise UpscalingError(f"tile {tile} overlaps another one")
        owners[window] = 1
        mosaic[(slice(None), *window)] = values
    if not owners.all():
        raise UpscalingError(f"{int((owners == 0).sum())} pixels between the tiles of {collection} belong to no tile")
    return mosaic, Affine(step_x, 0, west, 0, step_y, north)
