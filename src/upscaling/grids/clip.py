"""Tiles cut down to the AOI: bounds, owned part and outline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from upscaling.area.aoi import AOI
from upscaling.area.lonlat import lonlat_bounds, polygons_of, shapes_to_lonlat

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["clip_tiles", "common", "snapped"]


def snapped(bounds: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Move bounds (n, 4) outward to multiples of ``step``; 0 leaves them. A micrometre over an edge is on it."""
    if not step:
        return bounds
    low = np.floor(bounds[:, :2] / step + 1e-6 / step)
    return np.column_stack([low, np.ceil(bounds[:, 2:] / step - 1e-6 / step)]) * step


def clip_tiles(frame: gpd.GeoDataFrame, aoi: AOI, resolution: float = 10.0) -> gpd.GeoDataFrame:
    """Shrink tiles to what the AOI and they themselves have in common.

    The owned part becomes that area, the bounds its box, moved outward to ``resolution`` (m; not in geographic CRS)
    but not beyond the tile, the geometry its outline.
    """
    import pyproj

    frame = frame.copy()
    for crs, rows in frame.groupby("crs").groups.items():
        within = frame.loc[rows]
        geographic = pyproj.CRS.from_user_input(crs).is_geographic
        bounds = within[["xmin", "ymin", "xmax", "ymax"]].to_numpy()
        cells = np.asarray(shapely.box(*bounds.T), dtype=object)
        owned = within["owner_wkt"].to_numpy() != ""
        cells[owned] = shapely.from_wkt(within["owner_wkt"].to_numpy()[owned])
        parts = common(cells, aoi.polygons_in(str(crs)))
        box = snapped(shapely.bounds(parts), 0.0 if geographic else resolution)
        box = np.column_stack([np.maximum(box[:, :2], bounds[:, :2]), np.minimum(box[:, 2:], bounds[:, 2:])])
        whole = shapely.area(parts) >= shapely.area(shapely.box(*box.T)) * (1 - 1e-12)
        outline = parts if geographic else shapes_to_lonlat(parts, str(crs), 2000.0)
        frame.loc[rows, ["xmin", "ymin", "xmax", "ymax"]] = box
        digits = 9 if geographic else 4  # a tenth of a millimetre
        frame.loc[rows, "owner_wkt"] = np.where(whole, "", shapely.to_wkt(parts, rounding_precision=digits))
        frame.loc[rows, ["west", "south", "east", "north"]] = lonlat_bounds(outline)
        frame.loc[rows, "geometry"] = outline
    return frame


def common(cells: NDArray[Any], polygons: NDArray[Any]) -> NDArray[Any]:
    """Return what each cell shares with all polygons together."""
    cell, polygon = shapely.STRtree(polygons).query(cells, predicate="intersects")[:2]
    pieces = shapely.intersection(cells[cell], polygons[polygon])
    out = np.empty(len(cells), dtype=object)
    for k in range(len(cells)):
        found = polygons_of(pieces[cell == k])
        if not len(found):  # too thin for its CRS: the whole cell counts
            out[k] = cells[k]
        else:
            out[k] = found[0] if len(found) == 1 else shapely.union_all(found)
    return out
