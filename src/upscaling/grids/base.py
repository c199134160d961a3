"""What every grid is and gives: the tile table, and what all grids do the same way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upscaling.area.aoi import AOI
from upscaling.area.lonlat import lonlat_bounds
from upscaling.errors import ConfigError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["COLUMNS", "BaseGrid", "Selection"]

COLUMNS = (
    "tile_id", "grid", "grid_code", "crs", "xmin", "ymin", "xmax", "ymax", "i", "j",
    "west", "south", "east", "north", "aoi_fraction", "owner_wkt", "geometry",
)  # fmt: skip
"""Columns of the tile table, in order."""


@dataclass
class Selection:
    """Tiles of a grid under an AOI, before they become a table; lists and arrays have one entry per tile.

    Attributes
    ----------
    crs, grid_code
        One text where it is the same for all tiles.
    bounds
        (n, 4) xmin, ymin, xmax, ymax in ``crs``.
    owner_wkt
        The part of the tile that it owns, in ``crs``; empty where that is the whole tile.
    outline
        EPSG:4326, densified, cut at the antimeridian.
    lonlat
        (n, 4) west, south, east, north of the outlines; None where they are still to be found.
    dropped, dropped_area
        Tiles that only touch the AOI or stayed under ``min_overlap``: how many, and the AOI's area in them in m2.
    """

    tile_id: NDArray[Any] | list[str]
    crs: NDArray[Any] | str
    bounds: NDArray[np.float64]
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    fraction: NDArray[np.float64]
    owner_wkt: NDArray[Any]
    outline: NDArray[Any]
    grid_code: NDArray[Any] | list[str] | str = ""
    lonlat: NDArray[np.float64] | None = None
    dropped: int = 0
    dropped_area: float = 0.0
    notices: list[str] = field(default_factory=list)


class BaseGrid(ABC):
    """A fixed set of tiles over (a part of) the globe; options checked, the AOI masked, the table built and clipped.

    Attributes
    ----------
    name
        As in ``area.grid``, in canonical spelling.
    title, definition, authority
        For people: what it is, how its cells are laid, who defines it.
    cell_size
        With its unit.
    crs
        The CRS of its tiles, or how that is chosen.
    """

    name: str
    title: str
    definition: str
    authority: str
    cell_size: str
    crs: str

    @abstractmethod
    def select(self, aoi: AOI, min_overlap: float) -> Selection:
        """Find the tiles that share an area with ``aoi``."""

    def tiles(
        self, aoi: AOI, *, min_overlap: float = 0.0, clip: bool = False, buffer: float = 0.0, mask: AOI | None = None
    ) -> gpd.GeoDataFrame:
        """Return the tiles that share an area with ``aoi``.

        Parameters
        ----------
        min_overlap
            Least share, 0 to 1, of what a tile owns that must lie within the AOI. A tile that only touches the
            AOI (100 m2 or less, or a seam thinner than 0.5 m) is never a tile.
        clip
            Shrink the bounds to the AOI (outward to 10 m in a projected CRS) and the owned part to the AOI itself.
        buffer
            Halo in metres around a tile that is processed and cut off again; recorded in ``attrs["buffer"]``.
        mask
            Only the area within the mask counts (land only, for one).

        Returns
        -------
        geopandas.GeoDataFrame
            One row per tile, sorted by ``tile_id``, in EPSG:4326, with the columns of ``COLUMNS``: the bounds in the
            tile's own ``crs``; ``i``, ``j`` the lattice index; ``west`` > ``east`` across the antimeridian;
            ``aoi_fraction`` the share of the tile's area within the AOI; ``owner_wkt`` the part of the tile that
            belongs to it alone, in ``crs``, empty where that is all of it. ``attrs``: ``grid``, ``buffer``,
            ``dropped_slivers``, ``dropped_area_m2``, ``notices`` (of grid and mask; the AOI has its own).

        Raises
        ------
        ConfigError
            If the AOI lies (partly) where the grid has no tiles, or no tile is left.
        """
        import geopandas as gpd

        if not 0 <= min_overlap <= 1:
            raise ConfigError(f"{min_overlap} is not a share between 0 and 1", key="area.min_overlap")
        if not 0 <= buffer < 1e6:
            raise ConfigError(f"{buffer} is not a halo in metres (0 to 1,000,000)", key="area.buffer")
        if mask is not None:
            aoi = aoi.intersection(mask)
        found = self.select(aoi, min_overlap)
        ids = np.asarray(found.tile_id, dtype=object)
        if not len(ids):
            raise ConfigError(
                f"no tile of {self.name} shares enough area with {aoi.source} ({found.dropped} touch it or lie under "
                "min_overlap)",
                key="area.grid",
            )
        lonlat = lonlat_bounds(found.outline) if found.lonlat is None else found.lonlat
        frame = gpd.GeoDataFrame(
            {
                "tile_id": ids,
                "grid": self.name,
                "grid_code": found.grid_code,
                "crs": found.crs,
                **{name: found.bounds[:, k] for k, name in enumerate(("xmin", "ymin", "xmax", "ymax"))},
                "i": found.i.astype(np.int64),
                "j": found.j.astype(np.int64),
                **{name: lonlat[:, k] for k, name in enumerate(("west", "south", "east", "north"))},
                "aoi_fraction": np.clip(found.fraction, 0.0, 1.0),
                "owner_wkt": found.owner_wkt,
            },
            geometry=found.outline,
            crs="EPSG:4326",
        )
        if (ids[1:] < ids[:-1]).any():
            frame = frame.iloc[np.argsort(ids, kind="stable")].reset_index(drop=True)
        if clip:
            from upscaling.grids.clip import clip_tiles

            frame = clip_tiles(frame, aoi)
        frame.attrs.update(
            grid=self.name,
            buffer=float(buffer),
            dropped_slivers=int(found.dropped),
            dropped_area_m2=float(found.dropped_area),
            notices=[*(mask.notices if mask else ()), *found.notices],
        )
        return frame
