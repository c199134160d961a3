"""``equi7-<T1|T3|T6>``: tiles of 100, 300 and 600 km in the equidistant projections of seven continents.

Source: Bauer-Marschallinger, Sabel & Wagner 2014 (Computers & Geosciences 72); zones as shipped by equi7grid.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from upscaling.area.aoi import AOI
from upscaling.area.lonlat import MAX_STEP, project, rolled, unprojected
from upscaling.grids.base import BaseGrid, Selection
from upscaling.grids.family import Family
from upscaling.grids.lattice import Cells, Ints, Lattice, cover, floors, least_of
from upscaling.grids.owners import owned, sorted_cells

__all__ = ["FAMILIES", "Equi7Grid", "zone_cells"]

_ZONES = {"AF": 27701, "AN": 27702, "AS": 27703, "EU": 27704, "NA": 27705, "OC": 27706, "SA": 27707}


@lru_cache(maxsize=1)
def _zones() -> dict[str, Any]:
    """Return the zones in EPSG:4326 as a partition of the globe.

    The shipped polygons overlap by 180 km2 and leave a seam of a few hundred metres in the Chukchi Sea: what two
    share goes to the first by name, the seam to NA.
    """
    from importlib.resources import files

    import geopandas as gpd

    folder = files("equi7grid").joinpath("data", "zones")
    out: dict[str, Any] = {}
    taken: Any = shapely.Polygon()
    for code in _ZONES:
        frame = gpd.read_parquet(str(folder.joinpath(f"{code.lower()}_zone.parquet")))
        whole = shapely.union_all(frame.geometry.values)
        out[code] = shapely.difference(whole, taken)
        taken = shapely.union(taken, whole)
    seam = shapely.difference(shapely.box(-180, -90, 180, 90), taken)
    out["NA"] = shapely.union_all([out["NA"], *(part for part in shapely.get_parts(seam) if part.area > 1e-9)])
    return out


@lru_cache(maxsize=32)
def zone_cells(code: str, size: int) -> tuple[Ints, Cells]:
    """Return the cells of a zone with the part of each within the zone, as ``owners.owned`` takes them."""
    parts = shapely.segmentize(shapely.get_parts(_zones()[code]), 0.01)
    flat = project(parts[shapely.area(parts) > 0], f"EPSG:{_ZONES[code]}")
    cells = cover(flat, Lattice(size, size))
    key, cells = sorted_cells(cells)
    first = np.flatnonzero(np.diff(key, prepend=-(2**62)))
    if len(first) == len(key):
        return key, cells
    area = np.add.reduceat(cells.area, first)
    piece = cells.piece[first]
    for k in np.flatnonzero(np.diff(first, append=len(key)) > 1):  # parts cut at the antimeridian meet in a cell
        stop = first[k + 1] if k + 1 < len(first) else len(key)
        piece[k] = shapely.normalize(shapely.union_all(cells.piece[first[k] : stop], grid_size=1e-3))
        if area[k] >= size * size * (1 - 1e-9):
            piece[k] = None
    return key[first], Cells(cells.polygon[first], cells.i[first], cells.j[first], area, piece)


class Equi7Grid(BaseGrid):
    """Tiles of one tiling level in the zone (continent) of their place."""

    authority = "TU Wien (Equi7Grid)"
    crs = "EPSG:27701 to EPSG:27707"

    def __init__(self, level: int) -> None:
        self.level, self.size = level, level * 100_000
        self.name, self.cell_size = f"equi7-T{level}", f"{level * 100} km"
        self.title = f"Equi7Grid T{level}"
        self.definition = (
            f"Squares of {self.cell_size} in the azimuthal equidistant projection of a continent; a tile at "
            "a zone's border owns its part within the zone"
        )

    def select(self, aoi: AOI, min_overlap: float) -> Selection:
        """Find the tiles under an AOI."""
        codes = list(_ZONES)
        lonlat = np.asarray(aoi.parts, dtype=object)
        zone, part, polygons = [], [], []
        for index, code in enumerate(codes):
            if not shapely.intersects(_zones()[code], lonlat).any():
                continue
            epsg = f"EPSG:{_ZONES[code]}"
            if epsg == aoi.crs:
                flat, source = np.asarray(aoi.native, dtype=object), np.full(len(aoi.native), -1)
            else:
                flat, source = self._near(lonlat, code)
            polygons.append(flat)
            part.append(source)
            zone.append(np.full(len(flat), index))
        zones, all_polygons = np.concatenate(zone), np.concatenate(polygons)
        found = owned(
            cover(all_polygons, Lattice(self.size, self.size)),
            zones,
            least_of(floors(all_polygons), np.concatenate(part), aoi.parts),
            float(self.size) ** 2,
            region=lambda index: zone_cells(codes[index], self.size),
            min_overlap=min_overlap,
        )
        bounds = Lattice(self.size, self.size).bounds(found.i, found.j)
        names = [
            f"{codes[z]}_E{x * self.level:03d}{'S' if y < 0 else 'N'}{abs(y) * self.level:03d}T{self.level}"
            for z, x, y in zip(found.zone.tolist(), found.i.tolist(), found.j.tolist(), strict=True)
        ]
        outline = np.empty(len(names), dtype=object)
        for index in np.unique(found.zone).tolist():
            rows = np.flatnonzero(found.zone == index)
            n = self.size // 2500
            outline[rows] = rolled(shapely.polygons(unprojected(bounds[rows], f"EPSG:{_ZONES[codes[index]]}", n, n)))
        return found.selection(
            tile_id=[f"{self.name}_{name}".lower() for name in names],
            grid_code=[f"EQUI7-{name}" for name in names],
            crs=np.array([f"EPSG:{_ZONES[code]}" for code in codes], dtype=object)[found.zone],
            bounds=bounds,
            outline=outline,
        )

    def _near(self, lonlat: NDArray[Any], code: str) -> tuple[NDArray[Any], Ints]:
        """Return the AOI's polygons in a zone's plane, with a margin of a tile around the zone, and their parts."""
        west, south, east, north = shapely.bounds(_zones()[code])
        reach = 1.5 * self.size / 110e3
        south, north = max(south - reach, -90.0), min(north + reach, 90.0)
        aside = reach / np.cos(np.radians(min(max(abs(south), abs(north)), 80.0)))
        box = shapely.box(max(west - aside, -180.0), south, min(east + aside, 180.0), north)
        clipped = shapely.intersection(shapely.segmentize(lonlat, MAX_STEP), box)
        flat, source = [], []
        for index, geometry in enumerate(clipped):
            parts = shapely.get_parts([geometry])
            parts = parts[(shapely.get_type_id(parts) == 3) & (shapely.area(parts) > 0)]
            if len(parts):
                flat.append(project(shapely.segmentize(parts, 1.0), f"EPSG:{_ZONES[code]}"))
                source.append(np.full(len(flat[-1]), index))
        return np.concatenate(flat), np.concatenate(source)


def _make(level: str) -> Equi7Grid:
    if find_spec("equi7grid") is None:  # of which only data are read, later
        raise ModuleNotFoundError(name="equi7grid")
    return Equi7Grid(int(level))


FAMILIES = (Family(6, "equi7-T1, equi7-T3, equi7-T6", r"equi7-t([136])", "equi7-T1", _make),)
