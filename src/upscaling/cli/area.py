"""``upscaling grids`` and ``upscaling tiles``: what can be laid over an area, and what that gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import ConfigError, UpscalingError
from upscaling.util.files import written_whole

if TYPE_CHECKING:
    from rich.console import RenderableType

    from upscaling.planning.plan import Plan

__all__ = ["grid_table", "plan_in_words", "plot_plan", "progress_in_words", "tiles_of", "write_tiles"]

_DRIVERS = {".fgb": "FlatGeobuf", ".geojson": "GeoJSON", ".gpkg": "GPKG"}


def grid_table() -> RenderableType:
    """Return the list of grids: the name of each, its cells and CRS, and below them what it is and who defines it."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    from upscaling.grids import get_grid, list_grids

    lines: list[RenderableType] = []
    for family in list_grids():
        try:
            options = {"path": "tiles.gpkg"} if family.example == "file" else {}
            grid = get_grid(family.example, **options)
        except ConfigError as error:
            heading, text = "", error.message
        else:
            heading = "  ".join(part for part in (grid.cell_size, grid.crs) if part)
            text = f"{grid.title}. {grid.definition} ({grid.authority})"
        lines += [Text.assemble((family.pattern, "bold"), "  ", heading), Padding(Text(text), (0, 0, 0, 4))]
    return Group(*lines)


def tiles_of(area: str, grid: str, *, min_overlap: float = 0.0) -> tuple[Any, Any]:
    """Return the AOI that ``area`` names (file, WKT, ``w,s,e,n`` or ``-``) and its tiles of a grid."""
    from upscaling.area.aoi import read_aoi
    from upscaling.grids import get_grid

    aoi = read_aoi(area, key="AOI")
    table = get_grid(grid).tiles(aoi, min_overlap=min_overlap)
    if table.empty:
        raise ConfigError(f"no tile of {grid} lies in the area", key="AOI")
    table.attrs["notices"] = [*aoi.notices, *table.attrs.get("notices", [])]
    return aoi, table


def write_tiles(table: Any, path: Path) -> None:
    """Write a tile table as GeoParquet, FlatGeobuf, GeoPackage or GeoJSON, as the file's ending says.

    Raises
    ------
    UpscalingError
        For another ending.
    """
    suffix = path.suffix.lower()
    if suffix not in {".parquet", *_DRIVERS}:
        raise UpscalingError(f"{path}: write .parquet, {', '.join(_DRIVERS)}")
    plain = table.copy()
    plain.attrs = {}
    with written_whole(path) as temporary:
        if suffix == ".parquet":
            plain.to_parquet(temporary)
        else:
            plain.to_file(temporary, driver=_DRIVERS[suffix], layer="tiles")


def plan_in_words(plan: Plan) -> str:
    """Describe the tiles of a plan, with a small map; empty for a run without an area."""
    from upscaling.grids.summary import describe_tiles

    if not plan.facts["tiles"]:
        return ""
    table = _tiles(plan)
    table.attrs["dropped_slivers"] = plan.facts["dropped_slivers"]
    return describe_tiles(table)


def progress_in_words(plan: Plan, run_folder: Path) -> str:
    """Return how much of a plan is done, and what of it runs again; nothing if none of it was ever run."""
    from upscaling.monitor.progress import read_states

    states = read_states(run_folder, plan)
    done = sum(state.state == "finished" for state in states)
    again = sum(state.item and state.state != "finished" for state in states)
    if not done and not again:
        return ""
    words = f"to run     {len(states) - done:,}; {done:,} are done"
    return f"{words}, {again:,} were and run again, as their work changed" if again else words


def plot_plan(config: Any, plan: Plan, path: Path) -> None:
    """Draw the tiles of a plan over its AOI."""
    from upscaling.area.aoi import read_aoi
    from upscaling.grids.picture import plot_tiles

    if config.area is None:
        raise UpscalingError("a run without an area has no tiles to draw")
    plot_tiles(_tiles(plan), read_aoi(config.area.aoi), path)


def _tiles(plan: Plan) -> Any:
    import geopandas as gpd

    from upscaling.planning.plan import tile_table

    with tile_table(plan.folder) as path:
        return gpd.read_parquet(path)
