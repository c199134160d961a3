"""``none``: the whole AOI as one tile, for trying things out."""

from __future__ import annotations

import numpy as np
import shapely

from upscaling.area.aoi import AOI
from upscaling.area.lonlat import polygons_of, to_lonlat
from upscaling.errors import ConfigError
from upscaling.grids.base import BaseGrid, Selection
from upscaling.grids.clip import snapped
from upscaling.grids.family import Family
from upscaling.grids.utm_zones import zone_of

__all__ = ["FAMILIES", "NoGrid"]

_WIDEST = 30.0  # degrees from the central meridian: beyond that UTM distorts lengths by more than a tenth


class NoGrid(BaseGrid):
    """One tile: the box around the AOI, in the AOI's own CRS if that is projected, else in UTM.

    Parameters
    ----------
    resolution
        Edges are moved outward to multiples of it, in metres.
    """

    name = "none"
    title = "The whole AOI as one tile"
    authority = "-"
    cell_size = "that of the AOI"
    crs = "the AOI's own if projected, else the UTM zone of its centroid"

    def __init__(self, resolution: float = 10.0) -> None:
        if not 0 < resolution <= 100_000:
            raise ConfigError(f"resolution: {resolution} is not a length in metres", key="area.grid")
        self.resolution = resolution
        self.definition = f"The box around the AOI, moved outward to multiples of {resolution:g} m"

    def select(self, aoi: AOI, min_overlap: float) -> Selection:  # noqa: ARG002 - the box always holds the AOI
        """Return the one tile."""
        import pyproj

        crs = aoi.crs
        if not pyproj.CRS.from_user_input(crs).is_projected:
            crs = self._utm(aoi)
        polygons = aoi.polygons_in(crs)
        if not shapely.area(polygons).sum():
            raise ConfigError(f"{aoi.source} is too thin to have an area in {crs}", key="area.aoi")
        bounds = snapped(shapely.total_bounds(polygons)[None, :], self.resolution)
        box = shapely.box(*bounds.T)
        return Selection(
            tile_id=["aoi"],
            crs=crs,
            bounds=bounds,
            i=np.zeros(1, dtype=np.int64),
            j=np.zeros(1, dtype=np.int64),
            fraction=shapely.area(polygons).sum() / shapely.area(box),
            owner_wkt=np.array([""], dtype=object),
            outline=to_lonlat(np.asarray(box, dtype=object), crs, float(np.ptp(bounds)) / 256),
        )

    def _utm(self, aoi: AOI) -> str:
        """Return the UTM zone of the centroid on the sphere; refuse an AOI that reaches too far from it."""
        parts = polygons_of(aoi.parts)
        centre = np.radians(np.array([(p.x, p.y) for p in shapely.centroid(parts)]))
        weight = shapely.area(parts) * np.cos(centre[:, 1])
        lon, lat = centre.T
        x, y, z = (
            float((weight * v).sum()) for v in (np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat))
        )
        zone = zone_of(float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arctan2(z, np.hypot(x, y)))))
        ll = shapely.get_coordinates(parts)
        away = np.abs((ll[:, 0] - zone.central_meridian + 180) % 360 - 180)
        far = (np.abs(ll[:, 1]) < 60).any() if not zone.number else (away > _WIDEST).any()
        if far:
            raise ConfigError(
                f"{aoi.source} is too wide for one tile in {zone.crs}: choose another grid (utm-100km), "
                "or give the AOI in a projected CRS that fits it",
                key="area.grid",
            )
        return zone.crs


FAMILIES = (Family(11, "none", r"none", "none", NoGrid),)
