"""What a plan tells before the first job: parameters that nothing reads, another CRS or pixel size than the tiles'."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.udp_helpers import BOX, node
from upscaling.config import Config
from upscaling.planning.make import make_plan

NUMBER = {"type": "number"}
UDF = "def apply_datacube(cube, context):\n    level = context['level']\n    return cube\n"
SPEAKS_OF_IT = "def apply_datacube(cube, context):\n    '''The level is left out.'''\n    return cube  # at any level\n"


def reducer(**nodes: Any) -> dict[str, Any]:
    return {"process_graph": nodes}


def told(folder: Path, graph: dict[str, Any], *, grid: str = "utm-20km", **more: Any) -> list[str]:
    names = ["level", "size"]
    declared = [{"name": "area", "schema": BOX}, *({"name": name, "schema": NUMBER, "default": 60} for name in names)]
    definition = {"id": "p", "parameters": declared, "process_graph": graph, **more}
    (folder / "p.json").write_text(json.dumps(definition))
    config = Config.parse(
        {
            "run": "r",
            "algorithm": {"source": str(folder / "p.json"), "parameters": {"level": 1}},
            "area": {"aoi": [11.0, 46.0, 11.1, 46.1], "grid": grid},
            "backend": {"kind": "openeo", "url": "http://127.0.0.1:1/openeo", "auth": "basic"},
        }
    )
    return make_plan(config, folder / "r").facts["notices"]  # type: ignore[no-any-return]


LEVEL, AREA = {"from_parameter": "level"}, {"from_parameter": "area"}
LOAD = {"load": node("load_collection", id="X", spatial_extent=AREA)}
INNER = {"c": node("add", result=True, x={"from_parameter": "x"}, y={"from_parameter": "context"})}


@pytest.mark.parametrize(
    ("graph", "unread"),
    [
        ({"load": node("load_collection", result=True, spatial_extent=AREA)}, True),
        ({**LOAD, "n": node("add", result=True, x={"from_node": "load"}, y=LEVEL)}, False),
        ({**LOAD, "n": node("apply", result=True, context=LEVEL, process=reducer(**INNER))}, False),
        ({**LOAD, "n": node("apply", result=True, context=LEVEL, process=reducer(c=node("pi", result=True)))}, True),
        ({**LOAD, "n": node("apply", result=True, context={"k": LEVEL}, process=reducer(**INNER))}, False),
        ({**LOAD, "n": node("run_udf", result=True, udf=UDF, context={"level": LEVEL})}, False),
        ({**LOAD, "n": node("run_udf", result=True, udf=UDF, context={"other": LEVEL})}, True),
        ({**LOAD, "n": node("run_udf", result=True, udf="https://h.example/u.py", context={"other": LEVEL})}, False),
        ({**LOAD, "n": node("run_udf", result=True, udf=SPEAKS_OF_IT, context={"level": LEVEL})}, True),
        ({**LOAD, "n": node("vendor", result=True, context=LEVEL)}, False),
        (
            {**LOAD, "n": node("apply", result=True, process=reducer(c=node("add", result=True, x=LEVEL, y=1)))},
            False,
        ),
    ],
)
def test_a_parameter_that_nothing_reads_is_told(tmp_path: Path, graph: dict[str, Any], unread: bool) -> None:
    lines = [line for line in told(tmp_path, graph) if line.startswith("level: nothing in the graph of p reads it")]
    assert bool(lines) == unread


def resampled(**arguments: Any) -> dict[str, Any]:
    return {**LOAD, "n": node("resample_spatial", result=True, data={"from_node": "load"}, **arguments)}


RETURNS = {"schema": {"dimensions": [{"type": "spatial", "axis": "x", "reference_system": 3035, "step": 60}]}}


@pytest.mark.parametrize(
    ("graph", "more", "grid", "words"),
    [
        (resampled(projection=3035, resolution=20), {}, "utm-20km", "choose grid laea-20km"),
        (resampled(projection=3035, resolution=60), {}, "utm-20km", "choose grid laea-21km"),
        (resampled(projection="EPSG:4326"), {}, "utm-20km", "choose grid deg-1"),
        (resampled(projection=2154), {}, "utm-20km", "choose grid none or file with an area in that CRS"),
        (resampled(projection=32632, resolution=20), {}, "laea-20km", "choose grid utm-20km"),
        (resampled(resolution=60), {}, "utm-20km", "its pixels of 60 do not divide the tiles of utm-20km"),
        (resampled(resolution={"from_parameter": "size"}), {}, "utm-20km", "choose grid utm-21km"),
        (LOAD | {"n": node("x", result=True, y={"from_node": "load"})}, {"returns": RETURNS}, "utm-20km", "laea-21km"),
        (resampled(projection=32632, resolution=10), {}, "utm-20km", None),
        (resampled(resolution=20), {}, "laea-20km", None),
        (resampled(projection="nonsense", resolution=[0, 0]), {}, "utm-20km", None),
    ],
)
def test_results_that_would_not_lie_on_the_tiles_are_told_with_a_grid_that_fits(
    tmp_path: Path, graph: dict[str, Any], more: dict[str, Any], grid: str, words: str | None
) -> None:
    lines = [line for line in told(tmp_path, graph, grid=grid, **more) if "results would be refused" in line]
    assert bool(lines) == bool(words)
    if words:
        assert words in lines[0]
        assert lines[0].endswith("or set collection.exact: false")
