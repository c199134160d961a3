"""``apex-20x20km``, ``apex-250x250km``: tiles as the APEx Dispatch API cuts them, for comparison with its runs.

Cells are laid in EPSG:3857 from the AOI's own corner and clipped to the AOI, so that "20 km" is 10 km at 60 degrees,
no tile lies on a pixel lattice, and another AOI makes other tiles. Source: app/services/tiles/grids/km_grids.py of
ESA-APEx/apex_dispatch_api (1e08394). Slivers without an area, which it keeps as jobs, are dropped here and counted.
"""

from __future__ import annotations

import numpy as np
import shapely

from upscaling.area.aoi import AOI
from upscaling.area.lonlat import to_lonlat
from upscaling.grids.base import BaseGrid, Selection
from upscaling.grids.clip import common
from upscaling.grids.family import Family
from upscaling.grids.lattice import Lattice, cover, floors
from upscaling.grids.owners import owned
from upscaling.grids.planar import within_domain

__all__ = ["FAMILIES", "ApexGrid"]

_MERCATOR = "EPSG:3857"


class ApexGrid(BaseGrid):
    """Cells in Web Mercator from the AOI's lower left corner, clipped to the AOI; boxes in EPSG:4326."""

    authority = "APEx Dispatch API"
    crs = "EPSG:4326 (cells laid in EPSG:3857)"

    def __init__(self, size: int) -> None:
        self.size = size
        self.name = f"apex-{size}x{size}km"
        self.cell_size = f"{size} km in Web Mercator (less on the ground)"
        self.title = f"APEx Dispatch API, {size}x{size}km (not pixel-aligned)"
        self.definition = (
            "Cells in EPSG:3857 from the AOI's own lower left corner, clipped to the AOI: not pixel-aligned, "
            "ids and tiles change with the AOI"
        )

    def select(self, aoi: AOI, min_overlap: float) -> Selection:
        """Cut an AOI into tiles."""
        within_domain(aoi, (-180.0, -85.06, 180.0, 85.06), self.name)
        polygons = aoi.polygons_in(_MERCATOR)
        x0, y0, _, _ = (float(edge) for edge in shapely.total_bounds(polygons))
        side = self.size * 1000.0
        cells = cover(polygons, Lattice(side, side, x0, y0))
        zone = np.zeros(len(polygons), dtype=np.int64)
        found = owned(cells, zone, floors(polygons), side * side, min_overlap=min_overlap)
        bounds = Lattice(side, side, x0, y0).bounds(found.i, found.j)
        boxes = np.asarray(shapely.box(*bounds.T), dtype=object)
        # Vertices in the order that keys of runs of earlier versions have: a tile that is paid stays the same work.
        lonlat = [to_lonlat(shapely.get_parts([piece]), _MERCATOR, side) for piece in common(boxes, polygons)]
        outline = np.array([shapely.union_all(parts) for parts in lonlat], dtype=object)
        boxed = shapely.bounds(outline)
        whole = shapely.area(outline) >= shapely.area(shapely.box(*boxed.T)) * (1 - 1e-9)
        corner = np.round(bounds[:, :2]).astype(np.int64).tolist()
        ids = [
            f"{self.name}_{'e' if x >= 0 else 'w'}{abs(x):08d}_{'n' if y >= 0 else 's'}{abs(y):08d}" for x, y in corner
        ]
        return Selection(
            tile_id=ids,
            crs="EPSG:4326",
            bounds=boxed,
            i=found.i,
            j=found.j,
            fraction=shapely.area(outline) / shapely.area(shapely.box(*boxed.T)),
            owner_wkt=np.where(whole, "", shapely.to_wkt(outline, rounding_precision=12)),
            outline=outline,
            lonlat=boxed,
            dropped=found.dropped,
            dropped_area=found.dropped_area,
            notices=[f"{self.name} is not pixel-aligned, and its tiles change with the AOI: prefer utm-{self.size}km"],
        )


FAMILIES = (
    Family(9, "apex-20x20km, apex-250x250km", r"apex-(20|250)x\1km", "apex-20x20km", lambda size: ApexGrid(int(size))),
)
