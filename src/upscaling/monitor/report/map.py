"""The report's map: every tile of the plan in the colour of its state, over a picture of the result."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.grids.outlines import own_parts
from upscaling.monitor.progress import StateName, TileState
from upscaling.monitor.report.facts import AREA_COLOUR, WITHOUT_DATA, colour_of
from upscaling.util.files import link_out

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Outlines", "draw_map", "read_area", "read_outlines", "tile_indices", "worst_states"]

MERCATOR = "EPSG:3857"
_HIGHEST = 85.05  # degrees; Mercator has no poles
_SIMPLER = 0.01  # of a tile's width: less than a pixel on the screen
_SIMPLER_AREA = 0.0005  # of the area's extent
_LARGEST = 1200  # pixels of the picture's longer side
# Opacity of a tile without and with a picture beneath; page.html has the same numbers.
_FILL: dict[bool, dict[str, float]] = {False: {"not started": 0.0}, True: {"not started": 0.0, "finished": 0.0}}
# Of several targets at one place the one that asks for attention shows.
_ATTENTION: tuple[StateName, ...] = ("failed", "canceled", "running", "queued", "created", "not started", "finished")


@dataclass(frozen=True, slots=True)
class Outlines:
    """The tiles of a plan: ids, and outlines in web Mercator metres; parts of one tile are separated by NaN."""

    ids: list[str]
    xs: list[list[float]]
    ys: list[list[float]]


def read_outlines(run_folder: Path) -> Outlines:
    """Read the outlines of the plan's tiles; none if the run has no area."""
    import numpy as np
    import pyarrow.parquet as pq
    import shapely

    from upscaling.planning.plan import tile_table

    with tile_table(run_folder / "plan") as path:
        if not path.is_file():
            return Outlines([], [], [])
        table = pq.read_table(path, columns=["tile_id", "geometry", "crs", "owner_wkt"])
    shapes = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
    owners, systems = (table[name].to_numpy(zero_copy_only=False) for name in ("owner_wkt", "crs"))
    shapes = own_parts(shapes, owners, systems)
    boxes = shapely.bounds(shapes)
    width = float(np.median(np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])))
    parts, tile = shapely.get_parts(shapely.simplify(shapes, _SIMPLER * width), return_index=True)
    points, part = shapely.get_coordinates(shapely.get_exterior_ring(parts), return_index=True)
    x, y = _mercator(points)
    xs: list[list[float]] = [[] for _ in range(len(table))]
    ys: list[list[float]] = [[] for _ in range(len(table))]
    edges = np.flatnonzero(np.diff(part)) + 1
    # a ring's last point is its first; the drawing closes it by itself
    for index, ring_x, ring_y in zip(tile.tolist(), np.split(x, edges), np.split(y, edges), strict=True):
        between = [float("nan")] if xs[index] else []
        xs[index] += between + ring_x[:-1].tolist()
        ys[index] += between + ring_y[:-1].tolist()
    return Outlines(table["tile_id"].to_pylist(), xs, ys)


def read_area(run_folder: Path) -> list[tuple[list[float], list[float]]]:
    """Return the rings of the area of interest in web Mercator metres; none if it cannot be read any more."""
    import numpy as np
    import shapely

    from upscaling.area.aoi import read_aoi
    from upscaling.errors import UpscalingError
    from upscaling.planning.plan import kept_config

    try:
        area = kept_config(run_folder).area
        if area is None or area.aoi == "-":
            return []
        shape = read_aoi(area.aoi).geometry
    except UpscalingError:
        return []
    west, south, east, north = shapely.bounds(shape)
    shape = shapely.simplify(shape, _SIMPLER_AREA * max(east - west, north - south))
    polygons = shapely.get_parts(shape)
    rings = shapely.get_rings(polygons[shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON])
    points, ring = shapely.get_coordinates(rings, return_index=True)
    edges = np.flatnonzero(np.diff(ring)) + 1
    x, y = (np.split(values, edges) for values in _mercator(points))
    return [(ring_x.tolist(), ring_y.tolist()) for ring_x, ring_y in zip(x, y, strict=True)]


def _mercator(points: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return x and y in web Mercator metres, to 0.1 m, of longitudes and latitudes."""
    import numpy as np
    from pyproj import Transformer

    to_mercator = Transformer.from_crs("EPSG:4326", MERCATOR, always_xy=True)
    x, y = to_mercator.transform(points[:, 0], np.clip(points[:, 1], -_HIGHEST, _HIGHEST))
    return np.round(x, 1), np.round(y, 1)


def tile_indices(states: Sequence[TileState], ids: Sequence[str]) -> list[int]:
    """Return for every target which tile it lies in: its name begins with the tile's; -1 if with none."""
    known = {name: index for index, name in enumerate(ids)}
    found = []
    for state in states:
        name = state.tile
        while name and name not in known:
            name = name.rpartition("_")[0]
        found.append(known.get(name, -1))
    return found


def worst_states(
    states: Sequence[TileState], tiles: Sequence[int], number: int, empty: Collection[str] = ()
) -> list[str]:
    """Return the state to show of each of ``number`` tiles; ``empty`` are the targets that are without data."""
    of_tile: dict[int, list[TileState]] = {}
    for state, tile in zip(states, tiles, strict=True):
        of_tile.setdefault(tile, []).append(state)
    return [_shown(of_tile.get(tile, []), empty) for tile in range(number)]


def _shown(states: Sequence[TileState], empty: Collection[str]) -> str:
    worst = min((state.state for state in states), key=_ATTENTION.index, default="not started")
    return WITHOUT_DATA if worst == "finished" and all(state.tile in empty for state in states) else worst


_TILE_STYLE: dict[str, Any] = {
    "fill_color": "colour",
    "fill_alpha": "fill",
    "line_color": "edge",
    "line_width": "width",
    "line_alpha": 0.6,
    "selection_line_color": "#111111",
    "selection_line_width": 3,
    "selection_line_alpha": 1.0,
    "nonselection_fill_alpha": "fill",
    "nonselection_line_alpha": 0.6,
    "hover_line_color": "#111111",
    "hover_line_width": 2,
    "hover_line_alpha": 1.0,
}


def _empty_plot(outlines: Outlines) -> Any:
    """Return a figure of the tiles' extent, with the tools of the map."""
    from bokeh import models, plotting

    bokeh: Any = models  # its type stubs lag behind what it accepts
    figure: Any = plotting.figure
    extent = _extent(outlines)
    west, east, south, north = extent
    plot = figure(
        tags=list(extent),
        min_border_left=60,  # or wider labels would change the width, and so the scale, and so the labels
        x_axis_type="mercator",
        y_axis_type="mercator",
        x_range=bokeh.Range1d(west, east),
        y_range=bokeh.Range1d(south, north),
        sizing_mode="stretch_both",
        tools="pan,reset,tap",
        active_tap="tap",
        toolbar_location="above",
        border_line_color=None,
        output_backend="canvas",
    )
    wheel = bokeh.WheelZoomTool(zoom_on_axis=False)
    plot.add_tools(wheel, bokeh.BoxZoomTool(match_aspect=True))
    plot.toolbar.active_scroll = wheel
    plot.toolbar.logo = None
    return plot


def draw_map(
    outlines: Outlines,
    states: Sequence[str],
    run_folder: Path,
    mosaics: Sequence[dict[str, Any]],
    *,
    picture: bool,
    area: Sequence[tuple[list[float], list[float]]] = (),
) -> Any:
    """Return the map as a bokeh figure; a tap on a tile calls ``showTile(index)`` of the page.

    Parameters
    ----------
    mosaics
        As `upscaling.results.shapes.read_mosaics` gives them; their pictures are on the map.
    picture
        Show the first of them, and so no colour on finished tiles; the page's switch does the same.
    area
        Rings that are drawn above the tiles: the area of interest.
    """
    from bokeh import models

    bokeh: Any = models  # its type stubs lag behind what it accepts
    source = bokeh.ColumnDataSource(
        {
            "xs": outlines.xs,
            "ys": outlines.ys,
            "tile": outlines.ids,
            "state": list(states),
            "colour": [colour_of(state) for state in states],
            # told apart without red and green, too; a hatch would take a minute to draw for 20,000 tiles
            "edge": ["#5c0000" if state == "failed" else "#3d4650" for state in states],
            "width": [2.0 if state == "failed" else 0.5 for state in states],
            "fill": [_FILL[picture].get(state, 0.6) for state in states],
        }
    )
    plot = _empty_plot(outlines)
    for number, mosaic in enumerate(mosaics):
        _add_picture(plot, run_folder, mosaic, name=f"picture{number}", visible=picture and number == 0)
    tiles = plot.patches("xs", "ys", source=source, name="tiles", **_TILE_STYLE)
    if area:
        lines = [[ring[axis] for ring in area] for axis in (0, 1)]
        plot.multi_line(*lines, name="area-edge", line_color="#ffffff", line_width=5, line_alpha=0.7)
        plot.multi_line(*lines, name="area", line_color=AREA_COLOUR, line_width=2)
    plot.add_tools(bokeh.HoverTool(renderers=[tiles], tooltips=[("tile", "@tile"), ("state", "@state")]))
    tapped = bokeh.CustomJS(code="if (cb_obj.indices.length) showTile(cb_obj.indices[0])")
    source.selected.js_on_change("indices", tapped)
    for side in ("inner_width", "inner_height"):  # a square on the ground is one on the screen, whatever its size
        plot.js_on_change(side, bokeh.CustomJS(code="fitMap(cb_obj)"))
    return plot


def _extent(outlines: Outlines) -> tuple[float, float, float, float]:
    """Return west, east, south, north of all tiles with a margin."""
    import numpy as np

    x, y = (np.concatenate([np.array(ring) for ring in rings]) for rings in (outlines.xs, outlines.ys))
    west, east, south, north = (float(f(v)) for v in (x, y) for f in (np.nanmin, np.nanmax))
    margin = 0.03 * max(east - west, north - south)
    return west - margin, east + margin, south - margin, north + margin


def _add_picture(plot: Any, run_folder: Path, mosaic: dict[str, Any], *, name: str, visible: bool) -> None:
    path = run_folder / "mosaic" / Path(mosaic["quicklook"] or "").name
    if not path.is_file() or link_out(path, path.parent):
        return
    picture, (west, south, east, north) = _in_mercator(path, mosaic)
    plot.image_url(
        url=[picture],
        x=[west],
        y=[north],
        w=[east - west],
        h=[north - south],
        anchor="top_left",
        name=name,
        visible=visible,
    )


def _in_mercator(path: Path, mosaic: dict[str, Any]) -> tuple[str, tuple[float, float, float, float]]:
    """Return a quicklook on the map's projection, as a data URI, and its bounds there."""
    import numpy as np
    from PIL import Image
    from rasterio.transform import array_bounds, from_bounds
    from rasterio.warp import Resampling, calculate_default_transform, reproject

    pixels = np.moveaxis(np.asarray(Image.open(path).convert("RGBA")), 2, 0)
    _, height, width = pixels.shape
    bounds = mosaic["bounds"]
    if mosaic["crs"] == "EPSG:4326":
        bounds = [bounds[0], max(bounds[1], -_HIGHEST), bounds[2], min(bounds[3], _HIGHEST)]
    transform, columns, rows = calculate_default_transform(mosaic["crs"], MERCATOR, width, height, *bounds)
    scale = min(1.0, _LARGEST / max(columns, rows))
    transform, columns, rows = calculate_default_transform(
        mosaic["crs"], MERCATOR, width, height, *bounds, resolution=transform.a / scale
    )
    warped: np.ndarray[Any, Any] = np.zeros((4, rows, columns), "uint8")
    reproject(
        pixels,
        warped,
        src_transform=from_bounds(*mosaic["bounds"], width, height),
        src_crs=mosaic["crs"],
        dst_transform=transform,
        dst_crs=MERCATOR,
        resampling=Resampling.nearest,
    )
    stream = io.BytesIO()
    Image.fromarray(np.moveaxis(warped, 0, 2)).save(stream, "PNG", optimize=True)
    west, south, east, north = array_bounds(rows, columns, transform)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}", (west, south, east, north)
