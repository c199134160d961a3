"""Outlines of tiles on the page's map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import shapely

from tests.report.runs import planned_run
from upscaling.area.aoi import read_aoi
from upscaling.grids import get_grid
from upscaling.service.api.maps import outlines
from upscaling.service.states import RunStates

BORDER = [5.3, 47.0, 6.7, 47.8]  # of zones 31 and 32


def _overlap(tiles: list[Any]) -> float:
    """Which share of the tiles lies under another one."""
    shapes = [shapely.MultiPolygon([shapely.Polygon(ring) for ring in tile]) for tile in tiles]
    return float(1 - shapely.union_all(shapes).area / sum(shape.area for shape in shapes))


def test_tiles_of_two_zones_do_not_lie_above_each_other(tmp_path: Path) -> None:
    table = get_grid("utm-20km").tiles(read_aoi(BORDER))
    assert (table["owner_wkt"] != "").any()
    assert _overlap(outlines.of_table(table)["outlines"]) < 0.002
    run, plan = planned_run(tmp_path, BORDER, "utm-20km")
    found = orjson.loads(outlines.of_run(RunStates(run)))
    assert found["tiles"] == list(plan.tiles)
    assert _overlap(found["outlines"]) < 0.002
