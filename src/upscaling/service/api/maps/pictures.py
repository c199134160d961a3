"""Pictures of results for a map: previews of tiles, map tiles of mosaics, and the values at a place."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from upscaling.errors import UpscalingError
from upscaling.results.shapes import read_mosaics
from upscaling.service.api.deps import AskedRun
from upscaling.service.api.results import file_of, item_of
from upscaling.service.tasks import RefusedError

__all__ = ["map_tile", "mosaics", "preview", "value_at"]

_ONE = threading.BoundedSemaphore(4)  # GDAL's readers use tens of MB each


def mosaics(run: AskedRun) -> list[dict[str, Any]]:
    """Return the mosaics of a run: asset, step, files, bounds in degrees, and the range of values to colour."""
    found = []
    for entry in _listed(run):
        try:
            low, high = _range(file_of(run, f"mosaic/{entry['index']}"))
        except RefusedError:  # a mosaic that GDAL cannot read has no colours, and a line in the quality report
            low, high = 0.0, 1.0
        found.append({**entry, "low": low, "high": high})
    return found


def _range(path: Path) -> tuple[float, float]:
    """Return the 2nd and the 98th percentile of a coarse look at the first band."""
    with _reader(path) as reader:
        return _limits(reader.preview(max_size=512, indexes=1))


@contextmanager
def _reader(path: Path) -> Iterator[Any]:
    """Open a raster in this thread: without an environment of its own, PROJ does not find its data here.

    Raises
    ------
    RefusedError
        If it is damaged.
    """
    import rasterio
    from rasterio.errors import RasterioError

    with _ONE, rasterio.Env():
        from rio_tiler.io import Reader  # looks up a CRS while it is imported

        try:
            with Reader(str(path)) as reader:
                yield reader
        except RasterioError as error:
            raise RefusedError(f"{path.name} cannot be read: {error}", code="CONFLICT", status=409) from None


def _chosen(run: AskedRun, asset: str) -> Path:
    for entry in _listed(run):
        if not asset or asset in {entry["asset"], entry["index"].removesuffix(".gti.gpkg")}:
            return file_of(run, f"mosaic/{entry['index']}")
    raise RefusedError("the run has no such mosaic yet", code="NOT_READY", status=404)


def _listed(run: AskedRun) -> list[dict[str, Any]]:
    """Return what ``mosaics.json`` lists; nothing before it is there."""
    damaged: list[str] = []
    listed = read_mosaics(run.run_folder, damaged.append)
    if damaged and not listed:
        raise UpscalingError(damaged[0])
    return listed


def _png(image: Any, limits: tuple[float, float], colours: str) -> bytes:
    from rio_tiler.colormap import cmap
    from rio_tiler.errors import InvalidColorMapName

    bands = image.array.shape[0]
    image.rescale(in_range=[limits] * bands)
    if bands >= 3:
        return bytes(image.render(img_format="PNG"))
    try:
        palette = cmap.get(colours.lower())
    except InvalidColorMapName:
        raise RefusedError(f"there is no colour ramp {colours[:40]!r}", key="colours") from None
    return bytes(image.render(img_format="PNG", colormap=palette))


def _limits(image: Any) -> tuple[float, float]:
    """Return the 2nd and the 98th percentile of an image's values."""
    import numpy as np

    values = image.array.compressed().astype("float64")
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, [2, 98]))
    return (low, high) if high > low else (low, low + 1.0)


def preview(run: AskedRun, tile: str, *, size: int, colours: str) -> tuple[bytes, tuple[float, float, float, float]]:
    """Return a tile's first raster as a PNG in Web Mercator, and its bounds in degrees.

    Raises
    ------
    RefusedError
        If the tile has no raster here.
    """
    assets = item_of(run.run_folder, tile)["assets"].values()
    rasters = [asset["href"] for asset in assets if str(asset.get("type", "")).startswith("image/tiff")]
    if not rasters:
        raise RefusedError("the tile has no raster", code="NOT_READY", status=404)
    path = file_of(run, f"tiles/{tile}/{rasters[0]}")
    with _reader(path) as reader:
        bounds = reader.get_geographic_bounds("EPSG:4326")
        image = reader.preview(max_size=size, indexes=_bands(reader), dst_crs="EPSG:3857")
        return _png(image, _limits(image), colours), bounds


def _bands(reader: Any) -> tuple[int, ...]:
    return (1, 2, 3) if reader.dataset.count == 3 and reader.dataset.dtypes[0] == "uint8" else (1,)


def map_tile(
    run: AskedRun,
    where: tuple[int, int, int],
    *,
    asset: str,
    limits: tuple[float | None, float | None],
    colours: str,
) -> bytes:
    """Return a tile (zoom, column, row) of a web map of a mosaic as a PNG, transparent where there is nothing."""
    from rio_tiler.errors import TileOutsideBounds

    zoom, column, row = where
    if not (0 <= column < 2**zoom and 0 <= row < 2**zoom):
        raise RefusedError("there is no such map tile", code="NOT_FOUND", status=404)
    path = _chosen(run, asset)
    low, high = limits
    if low is None or high is None or not high > low or not math.isfinite(high - low):
        low, high = _range(path)
    try:
        with _reader(path) as reader:
            image = reader.tile(column, row, zoom, tilesize=256, indexes=_bands(reader))
    except TileOutsideBounds:
        return _empty()
    return _png(image, (low, high), colours)


def _empty() -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGBA", (256, 256)).save(stream, "PNG")
    return stream.getvalue()


def value_at(run: AskedRun, lon: float, lat: float, *, asset: str) -> dict[str, Any]:
    """Return the values of a mosaic's bands at a place; None where there are none."""
    from rio_tiler.errors import PointOutsideBounds

    path = _chosen(run, asset)
    try:
        with _reader(path) as reader:
            point = reader.point(lon, lat)
    except PointOutsideBounds:
        return {"lon": lon, "lat": lat, "values": None}
    names = [str(name) for name in point.band_names]
    return {"lon": lon, "lat": lat, "values": dict(zip(names, point.array.tolist(), strict=True))}
