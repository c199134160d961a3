"""Damaged configurations: a plan, or one line.

More, and others: ``UPSCALING_MUTATIONS=5000 UPSCALING_SEED=7 pytest <this file>``.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.mutate import SEED, guarded, how_many, mutated
from tests.unit.udp_helpers import BOX, node
from upscaling.config import Config
from upscaling.planning.make import make_plan

EACH = how_many(5, 300)
PACKAGE = {
    "cwlVersion": "v1.2",
    "class": "CommandLineTool",
    "id": "tool",
    "baseCommand": "true",
    "inputs": {"bbox": "string", "level": {"type": "int?"}, "start_date": "string?", "end_date": "string?"},
    "outputs": [],
}


def configurations(folder: Path) -> list[dict[str, Any]]:
    """What is damaged: all blocks that a plan is made of."""
    declared = [
        {"name": "area", "schema": BOX},
        {"name": "span", "schema": {"type": "array", "subtype": "temporal-interval"}, "optional": True},
        {"name": "level", "schema": {"type": "number"}, "default": 1},
        {"name": "name", "schema": {"type": "string"}, "default": "x"},
    ]
    graph = {"n": node("load_collection", result=True, spatial_extent={"from_parameter": "area"})}
    (folder / "p.json").write_text(json.dumps({"id": "p", "parameters": declared, "process_graph": graph}))
    (folder / "p.cwl").write_text(json.dumps(PACKAGE))
    (folder / "t.csv").write_text("id,level,name\na,1,x\nb,2,y\n")
    square = "POLYGON((11 46,11.05 46,11.05 46.05,11 46.05,11 46))"
    geojson = {"type": "Polygon", "coordinates": [[[11, 46], [11.1, 46], [11.1, 46.1], [11, 46.1], [11, 46]]]}
    feature = {"type": "Feature", "properties": {"id": "t1"}, "geometry": geojson}
    (folder / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    openeo = {"kind": "openeo", "url": "http://127.0.0.1:1/openeo", "auth": "basic"}
    base = {"run": "r", "algorithm": {"source": str(folder / "p.json"), "parameters": {"level": 2}}, "backend": openeo}
    plain, tiles = {"source": str(folder / "p.json")}, str(folder / "a.geojson")
    area = {"aoi": [11, 46, 11.1, 46.1], "grid": "utm-100km"}
    return [
        {**base, "area": {**area, "buffer": 100, "clip": True, "min_overlap": 1e-6, "mask": square}},
        {**base, "area": area, "time": {"start": "2023-01-01", "end": "2023-03-01", "step": "month"}},
        {
            **{**base, "area": {**area, "aoi": json.dumps(geojson), "grid": "laea-100km"}},
            **{"for_each": {"table": str(folder / "t.csv"), "id": "id"}, "algorithm": plain},
        },
        {
            **{**base, "area": {"aoi": tiles, "grid": "file", "grid_file": tiles}},
            **{"for_each": {"parameters": {"name": ["a", "b"]}}, "algorithm": plain},
        },
        {
            **{"run": "r", "area": area, "backend": {"kind": "cwl", "container": "none"}},
            **{"algorithm": {"source": str(folder / "p.cwl"), "bind": {"bbox": "bbox-spaces"}}},
            **{"time": {"intervals": [["2023-01-01", "2023-02-01"], ["2023-03-01", "2023-04-01"]]}},
        },
    ]  # fmt: skip


@pytest.mark.parametrize("kind", range(5))
def test_a_damaged_configuration_is_planned_or_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    document, chance, planned = configurations(tmp_path)[kind], random.Random(SEED + kind), 0
    for number in range(EACH):
        damaged = mutated(document, chance, most=1 + number % 2)
        with guarded(f"{number} of {SEED + kind}", damaged):
            config = Config.parse(damaged)
            plan = make_plan(config, tmp_path / "r", preview=True)
            planned += 1
            shutil.rmtree(plan.folder.parent if plan.folder.name == "plan" else plan.folder)
    assert EACH / 50 < planned < EACH
