"""The back-end's process registry: openeo-processes-dask, patched where catalogue graphs fail on it.

One convention holds inside every callback: the values of the dimension that is reduced or applied over lie along the
*first* axis of a numpy array, and a scalar of the openEO specification is an array of all other pixels. So an array
made by ``array_create`` and one cut from a cube behave alike, and every process gets ``axis=0``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import Any

from upscaling.local_backend import (
    arrays,
    climate,
    cloud_masks,
    cube_processes,
    labels,
    neighborhoods,
    scalars,
    spatial,
    temporal,
    vectors,
)
from upscaling.local_backend import udf as user_code
from upscaling.util.files import read_json
from upscaling.util.upstream import Patch

__all__ = ["PROCESSES", "base_registry", "specifications"]

PROCESSES = Patch(
    "openeo-processes-dask",
    ">=2026.9,<2027",
    ("openeo_processes_dask.process_implementations.core:standard_processes", "openeo_processes_dask.specs:"),
    "the embedded back-end needs it",
)

# Upstream's that read from elsewhere, run code, are not openEO processes, or are made otherwise here.
LEFT_OUT = (
    "load_stac",
    "load_url",
    "run_udf",
    "inspect",
    "create_data_cube",
    "apply_neighborhood_intertwin",
    "ddmc",
    "rqadeforestation",
    "nan",
)


def _e() -> float:
    return math.e


def base_registry(*, udf: bool = False) -> dict[str, Callable[..., Any]]:
    """Return implementations by process id, without those that read or write data.

    Parameters
    ----------
    udf
        With ``run_udf``, which runs the code of whoever may submit jobs.

    Raises
    ------
    UpscalingError
        They are not where openeo-processes-dask had them.
    """
    PROCESSES.insist()
    from openeo_processes_dask.process_implementations import core

    found: dict[str, Callable[..., Any]] = {f.__name__.strip("_"): f for f in core.standard_processes}
    for name in LEFT_OUT:
        found.pop(name, None)
    found = {name: _with_arrays(f) for name, f in found.items()}
    found |= {"e": _e, "nan": scalars.NAN}
    found |= cloud_masks.PROCESSES | neighborhoods.PROCESSES | vectors.PROCESSES | (user_code.PROCESSES if udf else {})
    found |= {name: labels.with_labels(name, function) for name, function in arrays.PROCESSES.items()}
    found |= {"array_create_labeled": labels.array_create_labeled} | climate.PROCESSES
    found |= cube_processes.PROCESSES | spatial.PROCESSES | temporal.PROCESSES
    return scalars.with_single_values(found)


def _with_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Stack a list of pixels into an array along the first axis, which upstream's numpy calls do only for scalars."""
    if "axis" not in signature(function).parameters:
        return function

    @wraps(function)
    def wrapper(**arguments: Any) -> Any:
        if isinstance(arguments.get("data"), list):
            arguments["data"] = arrays.stacked(arguments["data"])
        return function(**arguments)

    return wrapper


def specifications(processes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the openEO descriptions of the given processes, and of those that read and write data."""
    from openeo_driver.specs import SPECS_ROOT
    from openeo_processes_dask import specs

    found = []
    for name in sorted({*processes, "load_collection", "load_stac", "save_result", "export_workspace"}):
        spec = getattr(specs, name, None) or getattr(specs, f"_{name}", None)
        if not isinstance(spec, dict):
            places = (SPECS_ROOT / "openeo-processes" / folder / f"{name}.json" for folder in ("2.x", "experimental"))
            file = next((place for place in places if place.exists()), None)
            empty = {"id": name, "description": name, "parameters": [], "returns": {"schema": {}}}
            spec = empty if file is None else read_json(file)
        found.append(spec)
    return found
