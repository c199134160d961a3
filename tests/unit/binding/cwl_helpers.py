"""A package's job order without a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upscaling.binding.cwl import CwlBinder
from upscaling.model import Algorithm, Coordinates, Tile


def bind_package(
    algorithm: Algorithm, tile: Tile | None, parameters: Mapping[str, Any], bind: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the job order of one tile, or of a job without an area (None)."""
    binder = CwlBinder(algorithm, parameters, bind or {}, space=tile is not None)
    return binder.arguments(Coordinates(tile))
