"""What STAC and people want to know of a CRS: its ``proj:*`` fields, and how long its unit is."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pyproj

__all__ = ["METRES_PER_DEGREE", "crs_name", "metres_per_unit", "proj_code"]

METRES_PER_DEGREE = 111_320.0  # along the equator


def proj_code(crs: str) -> dict[str, Any]:
    """Return ``proj:code``, which is null beside ``proj:wkt2`` for a CRS without one (projection extension 2.0)."""
    return {"proj:code": crs} if crs.startswith("EPSG:") else {"proj:code": None, "proj:wkt2": crs}


def crs_name(system: Any) -> str:
    """Return a CRS of pyproj or rasterio as text: its EPSG code, or WKT where it has none."""
    code = system.to_epsg()
    return f"EPSG:{code}" if code else str(system.to_wkt())


@lru_cache(256)
def metres_per_unit(crs: Any) -> float:
    """Return how many metres one unit of a CRS's first axis is; of degrees, about.

    Parameters
    ----------
    crs
        Anything that pyproj takes.
    """
    system = pyproj.CRS.from_user_input(crs)
    return METRES_PER_DEGREE if system.is_geographic else float(system.axis_info[0].unit_conversion_factor)
