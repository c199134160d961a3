"""What a user should know before the first job: seams, parameters that nothing reads, another CRS or pixel lattice."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pyproj

from upscaling.algorithms.graph import nodes_of, references, unread
from upscaling.area.vector import crs_name
from upscaling.model import Algorithm
from upscaling.util.files import read_json

if TYPE_CHECKING:
    from upscaling.config import Config

__all__ = ["NEIGHBOURHOOD", "notices_of"]

# Processes whose result at a pixel depends on its neighbours (openEO processes 2.0, and CDSE's own).
NEIGHBOURHOOD = {"apply_kernel", "apply_neighborhood", "to_scl_dilation_mask", "apply_polygon", "focal"}
_LARGEST_KM = 250


def notices_of(config: Config, algorithm: Algorithm, table: Any, filled: Collection[str]) -> Iterator[str]:
    """Yield what a plan tells of an openEO process and its grid, one line each.

    Parameters
    ----------
    table
        The tiles, or None for a run without an area.
    filled
        Parameters that a tile, a time step, a row or the configuration gives a value.
    """
    if algorithm.kind != "openeo":
        return
    definition = read_json(algorithm.path)
    graph = definition["process_graph"]
    if names := [name for name in filled if unread(graph, name)]:
        ends = "reads it, so its value changes" if len(names) == 1 else "reads them, so their values change"
        yield f"{', '.join(names)}: nothing in the graph of {algorithm.id} {ends} nothing"
    if config.area is None or table is None:
        return
    found = sorted({node["process_id"] for node in nodes_of(graph)} & NEIGHBOURHOOD)
    if found and not config.area.buffer:
        yield f"{', '.join(found)} looks at neighbouring pixels: tiles will show seams; set area.buffer to its reach"
    values = {p.name: p.default for p in algorithm.parameters} | dict(config.algorithm.parameters)
    crs, pixel = _result_lattice(definition, values)
    if line := _misplaced(crs, pixel, table, config.area.grid):
        yield line


def _result_lattice(definition: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[str | None, float | None]:
    """Return CRS and pixel size that a process declares, or resamples its result to; None for what it leaves open."""
    crs: Any = None
    pixel: Any = None
    graph = definition["process_graph"]
    waiting, seen = [name for name, node in graph.items() if node.get("result")], set[str]()
    while waiting and crs is None and pixel is None:  # the resampling nearest to the result counts
        name = waiting.pop(0)
        seen.add(name)
        arguments = graph[name].get("arguments", {})
        if graph[name]["process_id"] == "resample_spatial":
            crs, pixel = (_value(arguments.get(key), values) for key in ("projection", "resolution"))
        waiting += [other for other in references(arguments) if other not in seen]
    returns = definition.get("returns")
    schema = returns.get("schema") if isinstance(returns, Mapping) else None
    dimensions = schema.get("dimensions") if isinstance(schema, Mapping) else None
    for dimension in dimensions if isinstance(dimensions, list) else ():
        if isinstance(dimension, Mapping) and dimension.get("type") == "spatial":
            crs = dimension.get("reference_system") if crs is None else crs
            pixel = dimension.get("step") if pixel is None else pixel
    pixel = pixel[0] if isinstance(pixel, list) and pixel else pixel
    number = isinstance(pixel, int | float) and not isinstance(pixel, bool) and math.isfinite(pixel) and pixel > 0
    return _crs_name(crs), float(pixel) if number else None


def _value(argument: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(argument, Mapping):
        return values.get(str(argument.get("from_parameter")))
    return argument


def _crs_name(crs: Any) -> str | None:
    if crs is None or isinstance(crs, bool) or not isinstance(crs, int | str):
        return None

    try:
        return crs_name(pyproj.CRS.from_user_input(crs))
    except pyproj.exceptions.CRSError:
        return None


def _misplaced(crs: str | None, pixel: float | None, table: Any, grid: str) -> str | None:
    """Return the notice for results that would not lie on the tiles' pixels, with a grid that fits; else None."""
    own = sorted(set(table["crs"]))
    size = float((table["xmax"] - table["xmin"]).median())
    told = f"in {crs if len(crs) < 20 else 'another CRS'}" if crs else ""
    if crs is not None and own != [crs]:
        what = (
            f"its result is {told}, and the tiles of {grid} are in {', '.join(own[:3])}{' …' if len(own) > 3 else ''}"
        )
        metres = size if size > 360 else 20_000.0
        return f"{what}: results would be refused; {_advice(_fitting(crs, pixel, metres))}"
    if pixel is None or grid in {"file", "none"}:
        return None
    edges = table[["xmin", "ymin", "xmax", "ymax"]].to_numpy(dtype=float) / pixel
    if abs(edges - edges.round()).max() < 1e-6:
        return None
    fitting = _fitting(own[0], pixel, size) if size > 360 else None
    return f"its pixels of {pixel:g} do not divide the tiles of {grid}: results would be refused; {_advice(fitting)}"


def _advice(grid: str | None) -> str:
    chosen = f"choose grid {grid}" if grid else "choose grid none or file with an area in that CRS"
    return f"{chosen}, or set collection.exact: false"


def _fitting(crs: str, pixel: float | None, size: float) -> str | None:
    """Return a grid in a CRS whose cells, of about ``size`` metres, are whole pixels; None if none is known."""
    if crs == "EPSG:4326":
        return "deg-1"
    if crs == "EPSG:3857":
        return "tms-WebMercatorQuad-12"
    family = "laea" if crs == "EPSG:3035" else "utm" if crs[:8] in {"EPSG:326", "EPSG:327"} and len(crs) == 10 else None
    if family is None:
        return None
    step = Fraction(pixel or 1).limit_denominator(1000) / 1000  # in km
    least = step.numerator  # the smallest whole number of km that is a whole number of pixels
    whole = max(1, round(size / 1000 / least)) * least
    return f"{family}-{whole}km" if whole <= _LARGEST_KM else None
