"""A pinned package hands numbers to its tools as its author wrote them."""

from __future__ import annotations

import json
from pathlib import Path

from upscaling.algorithms.cwl.pin import pin_package

TOOL = """
cwlVersion: v1.2
class: CommandLineTool
id: numbers
inputs:
  large: {type: double, default: 1.23e5}
  whole: {type: double, default: 2.0}
  small: {type: double, default: 1.5e-3}
baseCommand: "true"
outputs: []
"""


def test_a_whole_number_with_an_exponent_gets_no_decimals(tmp_path: Path) -> None:
    (tmp_path / "tool.cwl").write_text(TOOL)
    pinned = pin_package(tmp_path / "tool.cwl", tmp_path / "plan")
    (process,) = json.loads(pinned.path.read_text())["$graph"]
    written = {entry["id"].rpartition("/")[2]: json.dumps(entry["default"]) for entry in process["inputs"]}
    assert written == {"large": "123000", "whole": "2.0", "small": "0.0015"}
