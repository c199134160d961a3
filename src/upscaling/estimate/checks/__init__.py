"""Whether a run is possible at all: questions that need no job, each answered with yes, no or unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from upscaling.errors import UpscalingError
from upscaling.estimate.checks import common, cwl, ogcapi, openeo
from upscaling.estimate.model import Check, no

if TYPE_CHECKING:
    from upscaling.estimate.model import Estimate
    from upscaling.estimate.run import Known

__all__ = ["checks_of"]


def checks_of(known: Known, estimate: Estimate, *, ask: bool = True) -> list[Check]:
    """Return the checks of a run; nothing is submitted.

    Parameters
    ----------
    estimate
        The run's numbers, which credits, disk, budget and tokens are held against.
    ask
        Whether to ask the platform; without it what only the platform knows is unknown.
    """
    of_platform = {"openeo": openeo.checks, "ogcapi": ogcapi.checks, "cwl": cwl.checks}[known.config.backend.kind]
    try:
        found = of_platform(known, estimate, ask=ask)
    except UpscalingError as error:
        key = getattr(error, "key", None) or ""
        message = getattr(error, "message", None) or str(error)
        found = [no("platform", message, key)]
    return [*found, *common.checks(known, estimate)]
