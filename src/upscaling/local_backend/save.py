"""Write a cube as ``save_result`` asks (COG, PNG, netCDF, JSON, CSV); describe every file for the result document."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.local_backend.errors import ProcessError

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from affine import Affine

__all__ = ["FORMATS", "save"]

# What GET /file_formats lists; "COG" and "GTiff" both write a cloud-optimised GeoTIFF.
FORMATS: dict[str, dict[str, Any]] = {
    "GTiff": {"title": "Cloud-optimised GeoTIFF, one per time stamp", "gis_data_types": ["raster"]},
    "COG": {"title": "Cloud-optimised GeoTIFF, one per time stamp", "gis_data_types": ["raster"]},
    "PNG": {"title": "8-bit image of 1 to 4 bands, one per time stamp; values 0 to 255", "gis_data_types": ["raster"]},
    "netCDF": {"title": "netCDF (classic), one file with all dimensions", "gis_data_types": ["raster", "vector"]},
    "JSON": {"title": "Values as nested JSON arrays, with their dimensions", "gis_data_types": ["raster", "vector"]},
    "CSV": {"title": "One row per geometry and time stamp", "gis_data_types": ["vector"]},
}
PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NAMES = {
    "gtiff": "GTiff",
    "geotiff": "GTiff",
    "cog": "COG",
    "png": "PNG",
    "netcdf": "netCDF",
    "json": "JSON",
    "csv": "CSV",
}


def save(data: Any, folder: Path, file_format: str = "GTiff", options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write ``data`` below ``folder``.

    Parameters
    ----------
    data
        A cube with dimensions ``y`` and ``x``, or one without (a table), or a plain value (JSON only).
    options
        ``filename_prefix``: file names are ``<prefix>_<date>Z.tif``, or ``<prefix>.tif`` without a t dimension.

    Returns
    -------
    dict
        File name to asset metadata (``type``, ``roles``, ``bands``, ``proj:…``, ``datetime``).

    Raises
    ------
    ProcessError
        ``FormatUnsupported``, ``FileNameInvalid``, ``FileExists``, ``DataTypeUnsupported``.
    """
    import xarray as xr

    kind = NAMES.get(str(file_format).lower())
    if kind is None:
        raise ProcessError("FormatUnsupported", f"format {file_format!r} is none of {', '.join(FORMATS)}")
    prefix = str((options or {}).get("filename_prefix") or "openEO")
    if not PREFIX.fullmatch(prefix):
        raise ProcessError(
            "FileNameInvalid", f"filename_prefix {prefix!r} may hold letters, digits, '.', '_' and '-' only"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(data, xr.Dataset):
        data = data.to_dataarray("bands")
    if kind == "JSON" or not isinstance(data, xr.DataArray):
        return _json(data, folder, prefix, kind)
    data = data.compute()
    if kind == "CSV":
        return _csv(data, folder, prefix)
    if kind == "netCDF":
        return _netcdf(data, folder, prefix)
    return _rasters(data, folder, prefix, kind)


def _new(path: Path) -> Path:
    if path.exists():
        raise ProcessError(
            "FileExists", f"two results of this job would be {path.name}: give them different filename_prefix options"
        )
    return path


def _rasters(data: xr.DataArray, folder: Path, prefix: str, kind: str) -> dict[str, Any]:
    import numpy as np

    if not {"x", "y"} <= set(data.dims):
        raise ProcessError(
            "DataTypeUnsupported", f"{kind} needs dimensions x and y, the cube has {', '.join(map(str, data.dims))}"
        )
    if extra := [d for d in data.dims if d not in {"t", "bands", "y", "x"} and data.sizes[d] > 1]:
        raise ProcessError(
            "DataTypeUnsupported", f"{kind} has no place for dimension {extra[0]!r}: reduce or rename it"
        )
    data = data.squeeze([d for d in data.dims if d not in {"t", "bands", "y", "x"}], drop=True)
    names = [str(v) for v in data["bands"].values] if "bands" in data.dims else None
    write, suffix = (_write_png, "png") if kind == "PNG" else (_write_cog, "tif")
    stack = data if "bands" in data.dims else data.expand_dims("bands")
    if "t" not in data.dims:
        path = _new(folder / f"{prefix}.{suffix}")
        return {path.name: write(path, stack.transpose("bands", "y", "x"), names)}
    labels = data["t"].values
    is_time = np.issubdtype(labels.dtype, np.datetime64)
    days = (
        np.datetime_as_string(labels, "D") if is_time else np.array([re.sub(r"[^\w.-]", "-", str(v)) for v in labels])
    )
    if is_time and len(set(days)) < len(days):
        days = np.array([re.sub("[:-]", "", text) for text in np.datetime_as_string(labels, "s")])
    assets = {}
    for number, day in enumerate(days):
        path = _new(folder / f"{prefix}_{day}{'Z' if is_time else ''}.{suffix}")
        assets[path.name] = write(path, stack.isel(t=number).transpose("bands", "y", "x"), names)
        if is_time:
            assets[path.name]["datetime"] = f"{labels[number].astype('datetime64[s]')}Z"
    return assets


def _write_cog(path: Path, data: xr.DataArray, names: list[str] | None) -> dict[str, Any]:
    import rasterio
    from rasterio.shutil import copy

    values = data.values
    if values.dtype == bool:
        values = values.astype("uint8")
    elif values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        values = values.astype("int32")
    nodata = math.nan if values.dtype.kind == "f" else None
    transform, crs = transform_of(data), data.rio.crs
    if crs is None:
        raise ProcessError("DataTypeUnsupported", "the cube has lost its CRS")
    count, height, width = values.shape
    profile = {
        "count": count,
        "height": height,
        "width": width,
        "dtype": values.dtype,
        "crs": crs,
        "transform": transform,
    }
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", nodata=nodata, **profile) as target:
            target.write(values)
            for number, name in enumerate(names or [], 1):
                target.set_band_description(number, name)
        with memory.open() as source:
            predictor = {"f": "FLOATING_POINT"}.get(values.dtype.kind, "STANDARD")
            copy(
                source, path, driver="COG", compress="DEFLATE", predictor=predictor, blocksize=512, resampling="NEAREST"
            )
    return {
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "bands": [{"name": name} for name in names or []],
        "raster:bands": [
            {
                **({"name": names[number]} if names else {}),
                "data_type": str(values.dtype),
                **({"nodata": "nan"} if nodata is not None else {}),
                "statistics": _statistics(band),
            }
            for number, band in enumerate(values)
        ],
        **_projection(crs, transform, height, width),
        "file:size": path.stat().st_size,
    }


def _write_png(path: Path, data: xr.DataArray, names: list[str] | None) -> dict[str, Any]:
    import numpy as np
    import rasterio

    values = np.clip(np.nan_to_num(data.values), 0, 255).astype("uint8")
    count, height, width = values.shape
    if count > 4:
        raise ProcessError("DataTypeUnsupported", f"a PNG has at most 4 bands, the cube has {count}")
    with rasterio.open(path, "w", driver="PNG", count=count, height=height, width=width, dtype="uint8") as target:
        target.write(values)
    return {
        "type": "image/png",
        "roles": ["data"],
        "bands": [{"name": name} for name in names or []],
        **_projection(data.rio.crs, transform_of(data), height, width),
        "file:size": path.stat().st_size,
    }


def _statistics(band: np.ndarray) -> dict[str, float]:
    import numpy as np

    valid = band[np.isfinite(band)]
    if not valid.size:
        return {"valid_percent": 0.0}
    return {
        "minimum": float(valid.min()),
        "maximum": float(valid.max()),
        "mean": float(valid.mean(dtype="float64")),
        "valid_percent": 100.0 * valid.size / band.size,
    }


def transform_of(data: xr.DataArray) -> Affine:
    """Return the exact geotransform of a cube: the one that it was loaded with where the coordinates still fit it."""
    import numpy as np
    from affine import Affine

    x, y = data["x"].values, data["y"].values
    text = data["spatial_ref"].attrs.get("GeoTransform") if "spatial_ref" in data.coords else None
    if text:
        t = Affine.from_gdal(*map(float, text.split()))
        off_x, off_y = x - t.c - t.a * (np.arange(len(x)) + 0.5), y - t.f - t.e * (np.arange(len(y)) + 0.5)
        if np.abs(off_x).max() < 1e-6 * abs(t.a) and np.abs(off_y).max() < 1e-6 * abs(t.e):
            return t
        steps = t.a, t.e
    else:
        steps = 1.0, -1.0
    dx = (x[-1] - x[0]) / (len(x) - 1) if len(x) > 1 else steps[0]
    dy = (y[-1] - y[0]) / (len(y) - 1) if len(y) > 1 else steps[1]
    return Affine(dx, 0.0, x[0] - dx / 2, 0.0, dy, y[0] - dy / 2)


def _projection(crs: Any, transform: Affine, height: int, width: int) -> dict[str, Any]:
    west, north = transform.c, transform.f
    found = {
        "proj:bbox": [west, north + transform.e * height, west + transform.a * width, north],
        "proj:shape": [height, width],
        "proj:transform": list(transform)[:6],
    }
    code = crs.to_epsg()
    return found | ({"proj:epsg": code} if code else {"proj:wkt2": crs.to_wkt()})


def _netcdf(data: xr.DataArray, folder: Path, prefix: str) -> dict[str, Any]:
    path = _new(folder / f"{prefix}.nc")
    is_raster = {"x", "y"} <= set(data.dims)
    if is_raster and data.rio.crs is None:
        raise ProcessError("DataTypeUnsupported", "the cube has lost its CRS")
    extent = _projection(data.rio.crs, transform_of(data), data.sizes["y"], data.sizes["x"]) if is_raster else {}
    names = [str(v) for v in data["bands"].values] if "bands" in data.dims else []
    data = data.astype("int16") if data.dtype.kind in "bu" else data  # the classic format has no unsigned numbers
    content = data.to_dataset("bands") if names else data.to_dataset(name="result")
    content = content.rename({name: str(name) for name in content.data_vars})
    if "geometry" in content.coords:
        content = content.assign_coords(geometry=[outline.wkt for outline in content["geometry"].values])
    for name in content.data_vars:
        content[name].attrs, content[name].encoding = {}, {"grid_mapping": "spatial_ref"} if is_raster else {}
    if is_raster:
        content["x"].attrs, content["y"].attrs = ({"standard_name": f"projection_{d}_coordinate"} for d in "xy")
    content.attrs = {"Conventions": "CF-1.8"}
    content.to_netcdf(path, engine="scipy", format="NETCDF3_64BIT")  # netCDF 4 would need h5py
    return {
        path.name: {
            "type": "application/x-netcdf",
            "roles": ["data"],
            "bands": [{"name": name} for name in names],
            **extent,
            "file:size": path.stat().st_size,
        }
    }


def _csv(data: xr.DataArray, folder: Path, prefix: str) -> dict[str, Any]:
    import numpy as np

    path = _new(folder / f"{prefix}.csv")
    data = data.drop_vars([name for name in ("spatial_ref", "index") if name in data.coords and name not in data.dims])
    if "geometry" in data.dims:
        data = data.rename(geometry="feature_index").assign_coords(feature_index=np.arange(data.sizes["geometry"]))
    rows = [d for d in data.dims if d != "bands"]
    content = data.to_dataset("bands") if "bands" in data.dims else data.to_dataset(name="value")
    frame = content.to_dataframe(dim_order=rows) if rows else content.to_array().to_dataframe("value")
    frame.to_csv(path, date_format="%Y-%m-%dT%H:%M:%SZ")
    return {path.name: {"type": "text/csv", "roles": ["data"], "file:size": path.stat().st_size}}


def _json(data: Any, folder: Path, prefix: str, kind: str) -> dict[str, Any]:
    import numpy as np
    import xarray as xr

    if kind != "JSON" and not isinstance(data, int | float | str | list | dict | bool | np.ndarray | np.generic | None):
        raise ProcessError("DataTypeUnsupported", f"a {type(data).__name__} cannot be saved as {kind}")
    if isinstance(data, xr.DataArray):
        dims = {str(d): [_plain(v) for v in data[d].values] for d in data.dims}
        data = {"dims": list(dims), "coords": dims, "values": _plain(data.values)}
    path = _new(folder / f"{prefix}.json")
    path.write_text(json.dumps(_plain(data), allow_nan=False))
    return {path.name: {"type": "application/json", "roles": ["data"], "file:size": path.stat().st_size}}


def _plain(value: Any) -> Any:
    """Turn numpy, times and geometries into JSON values; no-data becomes null."""
    import numpy as np

    if isinstance(value, np.datetime64):
        return f"{value.astype('datetime64[s]')}Z"
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
