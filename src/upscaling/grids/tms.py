"""``tms-<TMS>-<zoom>``: tiles of an OGC Two Dimensional Tile Matrix Set, as morecantile defines them."""

from __future__ import annotations

from upscaling.area.aoi import AOI
from upscaling.area.vector import crs_name
from upscaling.errors import ConfigError
from upscaling.grids.family import Family
from upscaling.grids.lattice import Ints, Lattice
from upscaling.grids.planar import PlanarGrid

__all__ = ["FAMILIES", "TmsGrid"]


class TmsGrid(PlanarGrid):
    """One tile matrix of a tile matrix set."""

    authority = "OGC 17-083r4"

    def __init__(self, identifier: str, level: str) -> None:
        import morecantile
        import pyproj

        known = {name.lower(): name for name in morecantile.tms.list()}
        if identifier.lower() not in known:
            raise ConfigError(
                f"there is no tile matrix set {identifier!r} (known: {', '.join(known.values())})", key="area.grid"
            )
        self.set = known[identifier.lower()]
        tms, zoom = morecantile.tms.get(self.set), int(level)
        if not tms.minzoom <= zoom <= tms.maxzoom:
            raise ConfigError(f"{self.set} has zoom levels {tms.minzoom} to {tms.maxzoom}, not {zoom}", key="area.grid")
        matrix = tms.matrix(zoom)
        if matrix.variableMatrixWidths:
            raise ConfigError(f"{self.set} joins tiles towards the poles, which is not supported", key="area.grid")
        self.zoom, self.columns, self.rows = zoom, matrix.matrixWidth, matrix.matrixHeight
        first = tms.xy_bounds(morecantile.Tile(0, 0, zoom))
        dx, dy = first.right - first.left, first.top - first.bottom
        self.lattice = Lattice(dx, dy, first.left, first.top - self.rows * dy)
        self.epsg = self.crs = crs_name(pyproj.CRS.from_user_input(tms.crs.to_wkt("WKT2_2019")))
        if utm := pyproj.CRS.from_user_input(self.epsg).utm_zone:  # the other side of the globe folds over
            meridian = 6 * int(utm[:-1]) - 183
            self.domain = (max(-180.0, meridian - 80.0), -90.0, min(180.0, meridian + 80.0), 90.0)
        self.name = f"tms-{self.set}-{zoom}"
        self.title = f"{self.set}, zoom {zoom}"
        self.definition = (
            f"Tile matrix {zoom} of {self.set}: {self.columns} x {self.rows} tiles, rows count from the top"
        )
        unit = "degrees" if self.epsg == "EPSG:4326" else "m"
        self.cell_size = f"{dx:g} {unit}"

    def check(self, aoi: AOI, i: Ints, j: Ints) -> None:
        """Raise ConfigError if the AOI reaches beyond the tile matrix."""
        if len(i) and (i.min() < 0 or j.min() < 0 or i.max() >= self.columns or j.max() >= self.rows):
            raise ConfigError(
                f"{aoi.source} reaches beyond {self.name}: choose another grid, or cut the AOI with area.mask",
                key="area.grid",
            )

    def names(self, i: Ints, j: Ints) -> tuple[list[str], list[str]]:
        """Return ids with column and row; codes are quadkeys for WebMercatorQuad."""
        row = self.rows - 1 - j
        across, down = len(str(self.columns - 1)), len(str(self.rows - 1))
        pairs = list(zip(i.tolist(), row.tolist(), strict=True))
        ids = [f"{self.name.lower()}_x{x:0{across}d}_y{y:0{down}d}" for x, y in pairs]
        if self.set == "WebMercatorQuad":
            return ids, [f"WMQ-{_quadkey(x, y, self.zoom)}" for x, y in pairs]
        return ids, [f"{self.set.upper()}-{self.zoom}-{x}-{y}" for x, y in pairs]


def _quadkey(x: int, y: int, zoom: int) -> str:
    return "".join(str((x >> bit & 1) + 2 * (y >> bit & 1)) for bit in range(zoom - 1, -1, -1)) or "0"


FAMILIES = (Family(5, "tms-<TMS>-<zoom>", r"tms-(\w+)-(\d{1,9})", "tms-WebMercatorQuad-12", TmsGrid),)
