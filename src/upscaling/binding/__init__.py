"""Fill an algorithm's parameters from a tile, a time step and a row of parameter values: one binder per platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upscaling.binding.base import Binder
    from upscaling.model import Algorithm

__all__ = ["binder_of"]


def binder_of(
    algorithm: Algorithm, parameters: Mapping[str, Any], bind: Mapping[str, str], *, qualified: bool = True, **run: Any
) -> Binder:
    """Return the binder of an algorithm's kind.

    Parameters
    ----------
    qualified
        Of an OGC process: whether objects are wrapped as ``{"value": …}``.
    run
        ``space``, ``time``, ``each``, ``searched``: what the run has, as ``Binder``.
    """
    if algorithm.kind == "openeo":
        from upscaling.binding.openeo import Binder as OpenEOBinder

        return OpenEOBinder(algorithm, parameters, bind, **run)
    if algorithm.kind == "ogcapi":
        from upscaling.binding.ogcapi import OgcBinder

        return OgcBinder(algorithm, parameters, bind, qualified=qualified, **run)
    from upscaling.binding.cwl import CwlBinder

    return CwlBinder(algorithm, parameters, bind, **run)
