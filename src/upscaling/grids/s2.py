"""``s2``: the Sentinel-2 tiling grid: footprints of 109.8 km, each owning its 100 km square."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import translate

from upscaling.area.aoi import AOI
from upscaling.area.lonlat import MAX_STEP
from upscaling.grids import s2_tiles as tiling
from upscaling.grids.base import BaseGrid, Selection
from upscaling.grids.family import Family
from upscaling.grids.mgrs import SIDE
from upscaling.grids.planar import within_domain
from upscaling.grids.s2_tiles import FOOTPRINT, Square
from upscaling.grids.utm import outlines, utm_cells
from upscaling.grids.utm_aoi import aoi_in_zones

__all__ = ["FAMILIES", "S2Grid"]


class S2Grid(BaseGrid):
    """Tiles as Sentinel-2 products are cut; neighbours overlap by 9.8 km, owned parts do not."""

    name = "s2"
    title = "Sentinel-2 tiling grid"
    definition = (
        "ESA's 56,686 tiles of 109.8 km (upper left corner of the MGRS square, outward to 60 m); a tile owns its "
        "square within the UTM zone, and pieces of squares that have no tile"
    )
    authority = "ESA"
    cell_size = "109.8 km"
    crs = "EPSG:326zz / EPSG:327zz"

    def select(self, aoi: AOI, min_overlap: float) -> Selection:
        """Find the tiles that own a part of the AOI."""
        within_domain(aoi, (-180.0, -83.7, 180.0, 84.0), self.name)
        zones, known = tiling.s2_zones(), tiling.tiles()
        cells = utm_cells(aoi, SIDE, zones=zones)
        overlap: dict[str, float] = {}
        for z, i, j, area in zip(*(v.tolist() for v in (cells.zone, cells.i, cells.j, cells.overlap)), strict=True):
            square = Square(z, i, j)
            if square in known.name:
                name = known.name[square]
                overlap[name] = overlap.get(name, 0.0) + area
                continue
            shares = self._shares(aoi, square)
            for name, share in shares.items():
                if share > min(100.0, 1e-3 * area) or share == max(shares.values()):
                    overlap[name] = overlap.get(name, 0.0) + share
        names = sorted(overlap)
        owner = [self._owner(name) for name in names]
        owned = shapely.area(owner)
        kept = np.array([overlap[name] for name in names]) >= min_overlap * owned * (1 - 1e-9)
        lost = sum(overlap[name] for name, keep in zip(names, kept, strict=True) if not keep)
        names = [name for name, keep in zip(names, kept, strict=True) if keep]
        place = [known.square[name] for name in names]
        zone, i, j = (np.array([getattr(s, axis) for s in place], dtype=np.int64) for axis in ("zone", "i", "j"))
        bounds = tiling.footprints(zone, i, j)
        outline, lonlat = outlines(zone, bounds, zones)
        return Selection(
            tile_id=[f"s2_{name.lower()}" for name in names],
            grid_code=[f"MGRS-{name}" for name in names],
            crs=np.array([each.crs for each in zones], dtype=object)[zone],
            bounds=bounds,
            i=i,
            j=j,
            fraction=_fractions(aoi, zone, bounds),
            owner_wkt=np.asarray(shapely.to_wkt(np.array(owner)[kept], rounding_precision=4), dtype=object),
            outline=outline,
            lonlat=lonlat,
            dropped=cells.dropped + int((~kept).sum()),
            dropped_area=cells.dropped_area + lost,
        )

    def _shares(self, aoi: AOI, square: Square) -> dict[str, float]:
        """Return the AOI's area in m2 in every piece of a square without a tile."""
        zones, known = tiling.s2_zones(), tiling.tiles()
        meridian = zones[square.zone].central_meridian
        west, south, east, north = tiling.to_lonlat_square(square).bounds
        near: list[Any] = []
        for turn in (-360, 0, 360):
            box = shapely.box(west + meridian + turn - 0.1, south - 0.1, east + meridian + turn + 0.1, north + 0.1)
            clipped = shapely.segmentize(shapely.intersection(list(aoi.parts), box), MAX_STEP)
            near += [translate(part, -meridian - turn) for part in clipped if not part.is_empty]
        shares = {}
        for name, piece in tiling.adopted(square).items():
            there = [tiling.moved(part, square.zone, known.square[name].zone) for part in near]
            shares[name] = float(shapely.area(shapely.intersection(there, piece)).sum())
        return shares

    def _owner(self, name: str) -> Any:
        """Return all that a tile owns: its square, and the pieces of others."""
        known = tiling.tiles()
        own = tiling.region(known.square[name])
        parts = [own] if own is not None else []
        parts += [tiling.adopted(square)[name] for square in known.adopts.get(name, ())
                  if name in tiling.adopted(square)]  # fmt: skip
        # chords of the border lie some millimetres apart in two zones
        return shapely.normalize(parts[0] if len(parts) == 1 else shapely.union_all(parts, grid_size=0.01))


def _fractions(aoi: AOI, zone: NDArray[np.int64], bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of footprints within the AOI."""
    zone_of, _, polygons = aoi_in_zones(aoi, FOOTPRINT, tiling.s2_zones(), also=np.unique(zone))
    out = np.zeros(len(bounds))
    for index in np.unique(zone).tolist():
        here = polygons[zone_of == index]
        tree = shapely.STRtree(here)
        rows = np.flatnonzero(zone == index)
        boxes = np.asarray(shapely.box(*bounds[rows].T), dtype=object)
        hit_row, hit = tree.query(boxes)
        for row in np.unique(hit_row).tolist():
            pieces = shapely.clip_by_rect(here[hit[hit_row == row]], *bounds[rows[row]].tolist())
            out[rows[row]] = shapely.area(pieces).sum() / FOOTPRINT**2
    return out


FAMILIES = (Family(1, "s2", r"s2", "s2", S2Grid),)
