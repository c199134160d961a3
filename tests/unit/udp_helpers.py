"""Made process definitions, and one tile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from upscaling.algorithms.udp import check_udp, read_parameters
from upscaling.area.outline import footprint
from upscaling.model import Algorithm, Bounds, Tile

BOUNDS = Bounds(676000.0, 5150000.0, 678000.0, 5152000.0)
TILE = Tile("t1", "EPSG:32632", BOUNDS, geometry=footprint(BOUNDS, "EPSG:32632"))
TIME = ["2022-06-01", "2022-07-01"]
CORNERS = {side: {"type": "number"} for side in ("west", "south", "east", "north")}
BOX = {"type": "object", "subtype": "bounding-box"}
GEOJSON = {"type": "object", "subtype": "geojson"}


def node(name: str, /, *, result: bool = False, **arguments: Any) -> dict[str, Any]:
    return {"process_id": name, "arguments": arguments, **({"result": True} if result else {})}


def udp(graph: dict[str, Any], parameters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"id": "p", "process_graph": graph, "parameters": parameters or []}


def algorithm(folder: Path, definition: dict[str, Any]) -> Algorithm:
    """Pin a definition as the catalogue does, without a file of its own."""
    check_udp(definition, file="p.json")
    path = folder / "algorithm.json"
    path.write_text(json.dumps(definition))
    return Algorithm("openeo", "p", path, "", "p.json", read_parameters(definition))


def taking(folder: Path, schema: Any, *uses: tuple[str, str], **more: Any) -> Algorithm:
    """Return an algorithm with one parameter, ``place``, that goes to the given arguments of processes."""
    graph = {
        f"n{number}": node(process, result=not number, **{argument: {"from_parameter": "place"}})
        for number, (process, argument) in enumerate(uses or [("vendor_process", "where")])
    }
    return algorithm(folder, udp(graph, [{"name": "place", "schema": schema, **more}]))
