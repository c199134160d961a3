"""``h3-<res>``: hexagons of H3; a tile is the box around its hexagon and owns the hexagon."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import scale

from upscaling.area.aoi import AOI
from upscaling.errors import ConfigError
from upscaling.grids.base import BaseGrid, Selection
from upscaling.grids.family import Family
from upscaling.grids.lattice import MAX_CELLS
from upscaling.grids.shapes import lonlat_rings, ring_selection

__all__ = ["FAMILIES", "H3Grid"]

_SPREAD = 1.6  # a cell's descendants reach beyond it, by less than this factor about its middle


class H3Grid(BaseGrid):
    """Hexagons (and twelve pentagons) of one resolution."""

    authority = "Uber H3"
    crs = "the UTM zone of the cell's centre"

    def __init__(self, resolution: int) -> None:
        import h3

        self.resolution, self.name = resolution, f"h3-{resolution}"
        area = h3.average_hexagon_area(resolution, unit="km^2")
        self.cell_size = f"about {area:.3g} km2"
        self.title = f"H3, resolution {resolution}"
        self.definition = (
            "H3 cells with edges straight in longitude/latitude; a tile is the box around its cell in UTM, "
            "outward to 10 m, and owns the cell"
        )
        self._area = area

    def select(self, aoi: AOI, min_overlap: float) -> Selection:
        """Find the cells under an AOI."""
        import h3

        if aoi.area_km2 / self._area > MAX_CELLS:
            raise ConfigError(
                f"{self.name} has more than {MAX_CELLS:,} cells there: choose larger ones", key="area.grid"
            )
        cells = np.array(sorted(self._candidates(aoi)), dtype=object)
        boundaries = [h3.cell_to_boundary(cell) for cell in cells]
        corners = np.array([len(boundary) for boundary in boundaries])
        parts = []
        for count in np.unique(corners).tolist():  # hexagons, pentagons, and those bent over an edge of the icosahedron
            rows = np.flatnonzero(corners == count)
            rings = np.array([boundaries[row] for row in rows])[..., ::-1]
            parts.append(
                ring_selection(
                    aoi,
                    ids=np.array([f"{self.name}_{cell}" for cell in cells[rows]], dtype=object),
                    codes=np.array([f"H3-{cell}" for cell in cells[rows]], dtype=object),
                    ij=np.zeros((len(rows), 2), dtype=np.int64),
                    rings=rings,
                    anchor=np.array([h3.cell_to_latlng(cell)[::-1] for cell in cells[rows]]),
                    min_overlap=min_overlap,
                )
            )
        joined: dict[str, Any] = {}
        for item in fields(Selection):
            values = [getattr(part, item.name) for part in parts]
            joined[item.name] = (
                np.concatenate(values) if isinstance(values[0], np.ndarray) else sum(values[1:], values[0])
            )
        return Selection(**joined)

    def _candidates(self, aoi: AOI) -> set[str]:
        """Descend from the 122 coarsest cells into all that may share an area with the AOI."""
        import h3

        parts = np.asarray(aoi.parts, dtype=object)
        tree = shapely.STRtree(parts)
        shapely.prepare(parts)
        found: set[str] = set()
        cells = sorted(h3.get_res0_cells())
        for level in range(self.resolution + 1):
            shapes = self._around(cells)
            hit, part = tree.query(shapes, predicate="intersects")
            inside = np.unique(hit[shapely.contains_properly(parts[part], shapes[hit])])
            touched = np.setdiff1d(np.unique(hit), inside)
            for k in inside.tolist():
                found.update(h3.cell_to_children(cells[k], self.resolution))
            if level == self.resolution:
                found.update(cells[k] for k in touched.tolist())
                break
            cells = [child for k in touched.tolist() for child in h3.cell_to_children(cells[k], level + 1)]
        return found

    def _around(self, cells: list[str]) -> NDArray[Any]:
        """Return lon/lat polygons, cut at the antimeridian, that hold the descendants of cells."""
        import h3

        out = []
        for cell in cells:
            ring = np.array(h3.cell_to_boundary(cell))[:, ::-1]
            lat = ring[:, 1]
            polygon = lonlat_rings(ring[None])[1][0]
            reach = (_SPREAD - 1) * np.ptp(lat)
            top, bottom = min(lat.max() + reach, 90.0), max(lat.min() - reach, -90.0)
            if polygon.geom_type == "Polygon" and np.abs(lat).max() + reach < 85:
                wide = scale(polygon, _SPREAD, _SPREAD)
                if wide.bounds[0] >= -180 and wide.bounds[2] <= 180:
                    out.append(wide)
                    continue
            # at a pole or the antimeridian a box will do: the next level looks closer
            edge = np.unwrap(ring[:, 0], period=360)
            margin = (_SPREAD - 1) * np.ptp(edge)
            west, east = edge.min() - margin, edge.max() + margin
            if np.abs(lat).max() + reach >= 85 or east - west >= 360:
                west, east = -180.0, 180.0
                top, bottom = (90.0, bottom) if lat.mean() > 0 else (top, -90.0)
            boxes = [shapely.box(max(west + t, -180), bottom, min(east + t, 180), top) for t in (-360, 0, 360)
                     if west + t < 180 and east + t > -180]  # fmt: skip
            out.append(boxes[0] if len(boxes) == 1 else shapely.union_all(boxes))
        return np.array(out, dtype=object)


def _make(resolution: str) -> H3Grid:
    if int(resolution) > 15:
        raise ConfigError(f"h3-{resolution}: H3 has resolutions 0 to 15", key="area.grid")
    return H3Grid(int(resolution))


FAMILIES = (Family(7, "h3-<res>", r"h3-(\d{1,9})", "h3-5", _make),)
