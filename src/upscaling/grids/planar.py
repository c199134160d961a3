"""Grids of one CRS and one lattice: the EEA reference grid, whole degrees, and what else is laid out like that."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from upscaling.area.aoi import AOI
from upscaling.area.lonlat import METRES_PER_DEGREE, ground_area, rolled, unprojected
from upscaling.errors import ConfigError
from upscaling.grids.base import BaseGrid, Selection
from upscaling.grids.family import Family, metres_of
from upscaling.grids.lattice import Cells, Ints, Lattice, cover, floors, least_of
from upscaling.grids.owners import owned

__all__ = ["FAMILIES", "DegreeGrid", "LaeaGrid", "PlanarGrid", "within_domain"]


def within_domain(aoi: AOI, domain: tuple[float, float, float, float], name: str) -> None:
    """Raise ConfigError if the AOI reaches out of a grid's domain (west, south, east, north in degrees)."""
    box = shapely.box(*domain)
    outside = [part for part in aoi.parts if not shapely.covers(box, part)]
    lost: Any = shapely.difference(outside, box) if outside else []
    if shapely.area(lost).sum() > 1e-12:
        west, south, east, north = domain
        raise ConfigError(
            f"{aoi.source} reaches beyond the grid {name}, which ends at {west:g}..{east:g} E, {south:g}..{north:g} N: "
            "choose another grid, or cut the AOI with area.mask",
            key="area.grid",
        )


def _by_latitude(cells: Cells, lattice: Lattice) -> tuple[Cells, NDArray[np.float64]]:
    """Weigh areas in degrees: a cell half covered in degrees is not half covered on the ground.

    Returns the cells, and metres per degree (as the root of the area) for every row.
    """
    partial = cells.piece != np.array(None)
    boxes = np.asarray(shapely.box(*lattice.bounds(cells.i[partial], cells.j[partial]).T), dtype=object)
    area = cells.area.copy()
    area[partial] = ground_area(cells.piece[partial]) / ground_area(boxes) * (lattice.dx * lattice.dy)
    middle = np.minimum(np.abs(lattice.y0 + (cells.j + 0.5) * lattice.dy), 90.0)
    metres = METRES_PER_DEGREE * np.sqrt(np.cos(np.radians(middle)))
    return Cells(cells.polygon, cells.i, cells.j, area, cells.piece), metres


class PlanarGrid(BaseGrid):
    """One lattice in one CRS.

    Attributes
    ----------
    lattice
        In units of ``epsg``.
    domain
        West, south, east, north in degrees: the grid is defined there.
    true_areas
        Whether areas in its CRS are those on the ground.
    """

    epsg: str
    true_areas: bool = False
    lattice: Lattice
    domain: tuple[float, float, float, float] = (-180.0, -90.0, 180.0, 90.0)

    def names(self, i: Ints, j: Ints) -> tuple[list[str], list[str]]:
        """Return tile ids and STAC grid codes."""
        raise NotImplementedError

    def check(self, aoi: AOI, i: Ints, j: Ints) -> None:
        """Raise ConfigError if a cell lies outside the grid."""

    def select(self, aoi: AOI, min_overlap: float) -> Selection:
        """Find the tiles under an AOI."""
        within_domain(aoi, self.domain, self.name)
        polygons = aoi.polygons_in(self.epsg)
        cells, metres = cover(polygons, self.lattice), None
        least = floors(polygons)
        if self.epsg == "EPSG:4326":
            cells, metres = _by_latitude(cells, self.lattice)
            least = least_of(least, np.arange(len(polygons)), polygons)
        zone = np.zeros(len(polygons), dtype=np.int64)
        size = self.lattice.dx * self.lattice.dy
        crs = None if self.true_areas or metres is not None else self.epsg
        found = owned(cells, zone, least, size, min_overlap=min_overlap, metres=metres, crs=crs)
        self.check(aoi, found.i, found.j)
        ids, codes = self.names(found.i, found.j)
        bounds = self.lattice.bounds(found.i, found.j)
        return found.selection(
            tile_id=ids, grid_code=codes, crs=self.epsg, bounds=bounds, outline=self.outlines(bounds)
        )

    def outlines(self, bounds: NDArray[np.float64]) -> NDArray[Any]:
        """Return outlines in EPSG:4326: a point at least every 2.5 km, 8 to an edge where tiles are small."""
        if not len(bounds) or self.epsg == "EPSG:4326":  # straight in longitude/latitude as they are
            return np.asarray(shapely.box(*bounds.T), dtype=object)
        n = max(8, int(np.ceil((bounds[0, 2] - bounds[0, 0]) / 2500)))
        return rolled(shapely.polygons(unprojected(bounds, self.epsg, n, n)))


class LaeaGrid(PlanarGrid):
    """EEA reference grid: ETRS89-LAEA, origin 0/0, cells named by their lower left corner.

    Source: EEA, Guide to geographical data and maps, "EEA reference grids"; INSPIRE D2.8.I.2.
    """

    epsg = "EPSG:3035"
    crs = "EPSG:3035"
    true_areas = True
    authority = "European Environment Agency"
    domain = (-35.58, 24.6, 44.83, 84.73)  # area of use of EPSG:3035

    def __init__(self, size: int) -> None:
        km, metres = divmod(size, 1000)
        self.size, self.lattice = size, Lattice(size, size)
        self.cell_size = f"{km} km" if not metres else f"{size} m"
        label = self.cell_size.replace(" ", "")
        self.name, self.title = f"laea-{label}", f"EEA reference grid, {self.cell_size}"
        digits = len(str(size)) - len(str(size).rstrip("0"))
        self._unit, self._prefix = 10**digits, f"{label}E"
        standard = size in {25, 100, 250, 500, 1000, 5000, 10_000, 25_000, 50_000, 100_000}
        self.definition = f"Squares of {self.cell_size} in ETRS89-LAEA Europe, lattice at 0/0" + (
            "" if standard else " (not one of the standard sizes of the EEA)"
        )
        self._id = (1, 7) if metres else (1000, 4)

    def names(self, i: Ints, j: Ints) -> tuple[list[str], list[str]]:
        """Return ids with the corner in km (m where the size is no whole km), and the EEA's cell codes."""
        unit, d = self._id
        pairs = list(zip((i * self.size).tolist(), (j * self.size).tolist(), strict=True))
        ids = [f"{self.name}_e{x // unit:0{d}d}_n{y // unit:0{d}d}" for x, y in pairs]
        return ids, [f"EEA-{self._prefix}{x // self._unit}N{y // self._unit}" for x, y in pairs]


class DegreeGrid(PlanarGrid):
    """Cells of whole degrees, named by their lower left corner as Copernicus DEM and WorldCover name theirs."""

    epsg = "EPSG:4326"
    crs = "EPSG:4326"

    def __init__(self, size: int) -> None:
        self.size, self.lattice = size, Lattice(size, size)
        self.name = f"deg-{size}"
        product, self._code = ("Copernicus DEM", "CDEM") if size == 1 else ("ESA WorldCover", "WCOVER")
        self.title = f"{size} x {size} degrees"
        self.authority = product
        self.cell_size = f"{size} degree" + ("s" if size > 1 else "")
        self.definition = f"Cells of {size} x {size} degrees, named by their lower left corner as in {product}"

    def names(self, i: Ints, j: Ints) -> tuple[list[str], list[str]]:
        """Return ids and codes such as deg-1_n51w001 and CDEM-N51W001."""
        places = [
            f"{'n' if y >= 0 else 's'}{abs(y):02d}{'e' if x >= 0 else 'w'}{abs(x):03d}"
            for x, y in zip((i * self.size).tolist(), (j * self.size).tolist(), strict=True)
        ]
        return [f"{self.name}_{p}" for p in places], [f"{self._code}-{p.upper()}" for p in places]


def _make(number: str, kilo: str) -> LaeaGrid:
    return LaeaGrid(metres_of(number, kilo, 25))


FAMILIES = (
    Family(3, "laea-<N>km", r"laea-(\d+(?:\.\d+)?)(k?)m", "laea-20km", _make),
    Family(4, "deg-1, deg-3", r"deg-([13])", "deg-1", lambda size: DegreeGrid(int(size))),
)
