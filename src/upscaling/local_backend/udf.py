"""Python UDFs, where the operator of the back-end allows them: they run with the rights of its user.

What a UDF is given and gives back follows the openEO client (``openeo.udf``): a cube in a callback is the chunk
that the process around it looks at, with its labels.
"""

from __future__ import annotations

import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from upscaling.local_backend.errors import UDF_FILE, ProcessError
from upscaling.local_backend.vectors import fetched

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["PROCESSES", "RUNTIMES", "run_udf"]

RUNTIMES = {
    "Python": {
        "title": "Python of this back-end",
        "type": "language",
        "default": "3",
        "versions": {"3": {"libraries": {}}},
    }
}
_SECONDS = 600  # that one call of a UDF may take
_ORDER = ("geometry", "t", "bands", "y", "x")  # in which the openEO client documents a cube's dimensions


def run_udf(
    data: Any, udf: str, runtime: str, *, version: str | None = None, context: Any = None, labelled: Any = None
) -> Any:
    """Run a UDF over a cube, a vector cube or GeoJSON, or over what a callback was given of a cube.

    Parameters
    ----------
    udf
        Python code, or an address of this host where it is.
    labelled
        In a callback: the cube whose values ``data`` are.

    Returns
    -------
    A cube as ``data`` is; in a callback without the cube's first dimension, if the UDF has reduced it.

    Raises
    ------
    ProcessError
        ``InvalidRuntime``, ``InvalidVersion``; ``UdfDependencyMissing``: the code asks for what is not installed;
        ``UdfFailed`` with the line of the code; ``UdfResultInvalid``: other dimensions or sizes than it may return.
    """
    import numpy as np
    import xarray as xr

    if str(runtime).lower() not in {"python", "python-jep"}:
        raise ProcessError("InvalidRuntime", f"there is no runtime {runtime!r}, only Python")
    if version is not None and not str(version).startswith("3"):
        raise ProcessError("InvalidVersion", f"there is no Python {version!r}, only 3")
    code = _code(udf)
    _require_dependencies(code)
    if isinstance(data, xr.DataArray):
        return _ran(code, data, context)
    if isinstance(data, dict):
        return _ran_on_features(code, data, context)
    if labelled is None or np.shape(data) != labelled.shape:
        raise ProcessError("UdfDataInvalid", "a UDF needs a cube, or the data of its callback as it was given")
    return _as_chunk(_ran(code, labelled.copy(data=np.asarray(data)), context), labelled)


def _ran(code: str, cube: xr.DataArray, context: Any) -> Any:
    """Return what the UDF makes of a cube."""
    from openeo.udf.feature_collection import FeatureCollection
    from openeo.udf.udf_data import UdfData
    from openeo.udf.xarraydatacube import XarrayDataCube

    ordered = cube.transpose(*(name for name in _ORDER if name in cube.dims), ...)
    crs = cube.rio.crs if "geometry" not in cube.dims else None
    features = None
    if "geometry" in cube.dims:
        import geopandas as gpd

        features = [FeatureCollection("geometries", gpd.GeoDataFrame(geometry=list(cube["geometry"].values)))]
    epsg = crs.to_epsg() if crs else None
    given = UdfData({"EPSG": epsg} if epsg else {}, [XarrayDataCube(ordered)], features, user_context=context or {})
    made = _result(_called(code, given))
    if hasattr(made, "dims") and set(made.dims) == set(cube.dims) and made.sizes == cube.sizes:
        made = made.transpose(*cube.dims)
        made = made.assign_coords({name: cube[name] for name in cube.coords if name not in made.coords})
    return made


def _ran_on_features(code: str, data: dict[str, Any], context: Any) -> Any:
    """Return what the UDF makes of GeoJSON: GeoJSON again, a cube, or plain values."""
    import geopandas as gpd
    from openeo.udf.feature_collection import FeatureCollection
    from openeo.udf.udf_data import UdfData

    features = data.get("features", [{"type": "Feature", "properties": {}, "geometry": data}])
    frame = gpd.GeoDataFrame.from_features(features, crs="EPSG:4326")
    given = UdfData(feature_collection_list=[FeatureCollection("features", frame)], user_context=context or {})
    return _result(_called(code, given))


def _called(code: str, given: Any) -> Any:
    from openeo.udf.run_code import run_udf_code

    try:
        with _time_limit():
            return run_udf_code(code, given)
    except (ProcessError, MemoryError):
        raise
    except BaseException as error:  # a UDF may also exit
        if isinstance(error, KeyboardInterrupt):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == UDF_FILE), None)
        line = line or getattr(error, "lineno", None)
        where = f"line {line} of the UDF: " if line else ""
        said = " ".join(str(error).split())
        raise ProcessError("UdfFailed", f"{where}{type(error).__name__}: {said}") from error


def _result(found: Any) -> Any:
    import json

    cubes = found.get_datacube_list() or []
    if len(cubes) == 1:
        return cubes[0].get_array()
    structured = found.get_structured_data_list() or []
    if not cubes and len(structured) == 1:
        return structured[0].data
    features = found.get_feature_collection_list() or []
    if not cubes and not structured and len(features) == 1:
        return json.loads(features[0].data.to_json())
    raise ProcessError("UdfResultInvalid", f"the UDF returned {len(cubes)} cubes; it must return one")


def _as_chunk(made: Any, labelled: xr.DataArray) -> Any:
    """Return a UDF's cube with the dimensions of the chunk, or without its first one.

    Only the first dimension, which the process around the callback works along, may get another size.
    """
    first, *others = labelled.dims
    dims = getattr(made, "dims", ())
    if not set(others) <= set(dims) or set(dims) - set(labelled.dims):
        wanted = ", ".join(map(str, labelled.dims))
        raise ProcessError(
            "UdfResultInvalid",
            f"the UDF returned the dimensions {', '.join(map(str, dims)) or 'of no cube'}; not {wanted}",
        )
    for name in others:
        if made.sizes[name] != labelled.sizes[name]:
            raise ProcessError(
                "UdfResultInvalid", f"the UDF returned {made.sizes[name]} labels of {name!r} for {labelled.sizes[name]}"
            )
    return made.transpose(*(labelled.dims if first in dims else others))


def _code(udf: str) -> str:
    if not re.fullmatch(r"https?://\S+", udf):
        return udf
    return fetched(udf, "the code of the UDF").decode(errors="replace")


def _require_dependencies(code: str) -> None:
    """Raise ``UdfDependencyMissing`` for packages that the code names in its header and that are not here."""
    from importlib.metadata import PackageNotFoundError, version

    from openeo.udf.run_code import extract_udf_dependencies
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = [Requirement(str(text)) for text in extract_udf_dependencies(code) or []]
    except (ValueError, InvalidRequirement) as error:
        raise ProcessError("UdfDependencyMissing", f"the UDF's list of dependencies cannot be read: {error}") from error
    for requirement in wanted:
        try:
            fits = requirement.specifier.contains(version(requirement.name), prereleases=True)
        except PackageNotFoundError:
            fits = False
        if not fits:
            raise ProcessError(
                "UdfDependencyMissing",
                f"the UDF needs {requirement}, which is not here; nothing is installed for UDFs",
            )


@contextmanager
def _time_limit() -> Iterator[None]:
    """End what takes too long; only a main thread can be told."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise ProcessError("UdfFailed", f"the UDF took longer than {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


PROCESSES: dict[str, Callable[..., Any]] = {"run_udf": run_udf}
