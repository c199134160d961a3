"""Outlines of tiles in degrees, for maps."""

from __future__ import annotations

from typing import Any

__all__ = ["own_parts"]

_STEP = 5_000.0  # metres between the points of an edge


def own_parts(shapes: Any, owners: Any, systems: Any) -> Any:
    """Return the tiles' outlines in degrees; where tiles of two zones overlap, the part that is a tile's own.

    Parameters
    ----------
    shapes, owners, systems
        Columns of a tile table: whole outlines in degrees; parts as WKT in each tile's CRS, or empty; that CRS.
    """
    import numpy as np
    import shapely
    from pyproj import Transformer

    shapes = np.array(shapes, dtype=object)
    shared = np.array([bool(owner) for owner in owners], dtype=bool)
    for crs in set(systems[shared]):
        some = shared & (systems == crs)
        to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        parts = shapely.segmentize(shapely.from_wkt(owners[some]), _STEP)
        points = np.column_stack(to_degrees.transform(*shapely.get_coordinates(parts).T))
        shapes[some] = shapely.set_coordinates(parts, points)
    return shapes
