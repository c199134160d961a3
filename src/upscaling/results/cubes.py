"""Zarr stores: folders that are one result. Every chunk is read, and axes and variables described as in a netCDF."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
from pyproj.exceptions import CRSError

from upscaling.model import Bounds
from upscaling.results.calendars import number_axis, time_axis
from upscaling.results.projection import crs_name, proj_code
from upscaling.util.extras import require
from upscaling.util.text import plain_text

__all__ = ["describe_netcdf", "describe_zarr", "is_zarr"]

_MARKS = ("zarr.json", ".zgroup", ".zmetadata", ".zarray")
_AXES = {"x": "x", "lon": "x", "longitude": "x", "easting": "x", "y": "y", "lat": "y", "latitude": "y", "northing": "y"}
_LONGEST = 1_000  # values of a dimension that are written out
_MAPPINGS = ("grid_mapping_name", "crs_wkt", "spatial_ref")


def is_zarr(path: Path) -> bool:
    """Tell a Zarr store (version 2 or 3) by its metadata, whatever its name."""
    return path.is_dir() and any((path / mark).is_file() for mark in _MARKS)


def describe_zarr(path: Path) -> tuple[dict[str, Any], dict[str, Any], Bounds | None, str]:
    """Read a store to the end.

    Returns
    -------
    Fields of the asset (``proj:*``), of the item (``cube:*``), the bounds and the CRS, as far as it says.

    Raises
    ------
    ValueError
        It cannot be read, has no array, or has links in it. A chunk that is not there is not missing: it stands for
        the fill value.
    """
    import xarray as xr

    if any(part.is_symlink() for part in path.rglob("*")):
        raise ValueError("has a symbolic link in it")
    require("zarr", "cubes")
    with _read_to_the_end(), xr.open_zarr(path, chunks=None) as cube:
        return _described(cube)


def describe_netcdf(path: Path) -> dict[str, Any] | None:
    """Return the dimensions and variables of a netCDF file, read to its end; None if nothing here can read it.

    Raises
    ------
    ValueError
        It cannot be read to its end, or has no variable.
    """
    import xarray as xr

    with _read_to_the_end():
        try:
            # Times are left as numbers: the calendar of a model needs none of our clocks.
            opened = xr.open_dataset(path, chunks=None, decode_times=False)
        except (ValueError, ImportError):  # no engine for it
            return None
        with opened as cube:
            return _described(cube)[1]


@contextmanager
def _read_to_the_end() -> Iterator[None]:
    """Raise whatever goes wrong as a ValueError: codecs and readers each have errors of their own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd in a product is not for our log
        try:
            yield
        except Exception as error:
            words = f"{type(error).__name__}: {plain_text(error)}"
            raise ValueError(f"cannot be read to the end: {words}") from error


def _described(cube: Any) -> tuple[dict[str, Any], dict[str, Any], Bounds | None, str]:
    system = _system(cube)
    variables: dict[str, dict[str, Any]] = {}
    for name, variable in cube.variables.items():
        _read_through(variable)
        if name not in cube.dims and not _is_mapping(variable):
            variables[str(name)] = _variable(variable, auxiliary=name in cube.coords)
    if not variables:
        raise ValueError("has no variable")
    dimensions = {str(name): _dimension(str(name), size, cube, system) for name, size in cube.sizes.items()}
    content = {"cube:dimensions": dimensions, "cube:variables": variables}
    axes = {entry.get("axis"): entry for entry in dimensions.values() if "extent" in entry}
    if system is None or not {"x", "y"} <= axes.keys():
        return {}, content, None, ""
    (west, east), (south, north) = axes["x"]["extent"], axes["y"]["extent"]
    crs = crs_name(system)
    fields = {**proj_code(crs), "proj:bbox": [west, south, east, north]}
    names = {entry.get("axis"): name for name, entry in dimensions.items()}
    fields["proj:shape"] = [cube.sizes[names["y"]], cube.sizes[names["x"]]]
    return fields, content, Bounds(west, south, east, north), crs


def _read_through(variable: Any) -> None:
    """Read every chunk, one slab of chunks at a time."""
    chunks = variable.encoding.get("chunks") or variable.shape
    if not variable.shape:
        variable.to_numpy()
        return
    for start in range(0, variable.shape[0], max(1, chunks[0])):
        variable[start : start + chunks[0]].to_numpy()


def _is_mapping(variable: Any) -> bool:
    return not variable.shape and any(name in variable.attrs for name in _MAPPINGS)


def _system(cube: Any) -> Any:
    """Return the CRS that the store states (CF grid mapping); None if it states none that is known."""
    for variable in cube.variables.values():
        if _is_mapping(variable):
            try:
                return pyproj.CRS.from_cf(dict(variable.attrs))
            except (CRSError, KeyError):
                continue
    return None


def _variable(variable: Any, *, auxiliary: bool) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": "auxiliary" if auxiliary else "data",
        "dimensions": [str(name) for name in variable.dims],
        "data_type": str(variable.encoding.get("dtype", variable.dtype)),
    }
    if isinstance(variable.attrs.get("units"), str):
        described["unit"] = variable.attrs["units"]
    nodata = next(_numbers(variable.encoding, "_FillValue", "missing_value"), None)
    if nodata is not None:
        described["nodata"] = nodata if math.isfinite(nodata) else "nan"
    return described


def _numbers(encoding: Mapping[str, Any], *names: str) -> Iterator[float]:
    for name in names:
        try:
            yield float(encoding[name])
        except (KeyError, TypeError, ValueError):
            continue


def _times(values: Any, attrs: Mapping[str, Any]) -> dict[str, Any] | None:
    if not np.issubdtype(values.dtype, np.number) or not isinstance(attrs.get("units"), str):
        return None
    return time_axis([float(value) for value in values.tolist()], attrs["units"], str(attrs.get("calendar", "")))


def _dimension(name: str, size: int, cube: Any, system: Any) -> dict[str, Any]:
    values: Any = cube.variables[name].to_numpy() if name in cube.variables else np.arange(size)
    attrs = cube.variables[name].attrs if name in cube.variables else {}
    times = _times(values, attrs)
    if times is not None:
        return times
    axis = _AXES.get(name.lower()) or {"X": "x", "Y": "y"}.get(str(attrs.get("axis", "")))
    if axis and np.issubdtype(values.dtype, np.number) and size > 1 and np.isfinite(values[[0, -1]]).all():
        step = (float(values[-1]) - float(values[0])) / (size - 1)
        low, high = sorted((float(values[0]) - step / 2, float(values[-1]) + step / 2))
        spatial = {"type": "spatial", "axis": axis, "extent": [low, high], "step": abs(step)}
        return spatial | ({"reference_system": system.to_epsg()} if system is not None and system.to_epsg() else {})
    if axis:
        return {"type": "spatial", "axis": axis}
    if np.issubdtype(values.dtype, np.datetime64) and size:
        texts = [f"{text}Z" for text in np.datetime_as_string(values, unit="s").tolist()]
        return {"type": "temporal", "extent": [min(texts), max(texts)], "values": texts[:_LONGEST]}
    if np.issubdtype(values.dtype, np.number):
        with suppress(TypeError):  # times of a clock, complex numbers
            return number_axis([float(value) for value in values.tolist()])
    return {"type": "other", "values": [str(value) for value in values.tolist()][:_LONGEST]}
