"""The worked examples of CONTRIBUTING.md: each is one addition to one file, and works as it stands there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.grids.grid_helpers import check_contract, check_cover
from upscaling import grids
from upscaling.area.aoi import read_aoi
from upscaling.binding import forms
from upscaling.model import Bounds, Tile

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()


def example(heading: str) -> str:
    """Return the code that stands under a heading."""
    _, _, section = TEXT.partition(f"\n## {heading}\n")
    found = re.search(r"^((?: {4}.*\n|\n)+)", section[section.index("\n    ") + 1 :])
    assert found
    return textwrap.dedent(found[1])


def test_a_grid_is_one_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("upscaling.grids.half")
    exec(compile(example("Add a grid"), "CONTRIBUTING.md", "exec"), module.__dict__)
    known: Any = grids._families()
    monkeypatch.setattr(grids, "_families", lambda: [*known, *module.FAMILIES])
    area = read_aoi([9.8, 45.9, 11.3, 47.2])
    frame = grids.get_grid("deg-half").tiles(area)
    check_contract(frame)
    check_cover(frame, area)
    assert len(frame) == 16
    assert "deg-half_x020_y092" in set(frame.tile_id)


def test_a_binding_form_is_one_entry() -> None:
    added = eval(f"{{{example('Add a binding form')}}}", vars(forms))
    tile = Tile("t", "EPSG:4326", Bounds(10, 50, 11, 52))
    assert {name: form.write(tile) for name, form in added.items()} == {"centre": [10.5, 51.0]}
