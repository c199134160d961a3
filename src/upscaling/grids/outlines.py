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

    from upscaling.area.lonlat import transformer

    shapes = np.array(shapes, dtype=object)
    shared = np.array([bool(owner) for owner in owners], dtype=bool)
    for crs in set(systems[shared]):
        some = shared & (systems == crs)
        parts = shapely.segmentize(shapely.from_wkt(owners[some]), _STEP)
        shapes[some] = shapely.transform(parts, transformer(crs, "EPSG:4326").transform, interleaved=False)
    return shapes
