"""Results that are no GeoTIFF: datacubes, vector files, tables. Read to the end, and described as far as they say.

Everything is read with what reads rasters and vectors anyway (GDAL through rasterio and pyogrio, Arrow). GDAL fills up
a classic netCDF that was cut off; that it came whole is for whoever fetched it to see.
"""

from __future__ import annotations

import csv
import json
import lzma
import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyproj
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from upscaling.errors import TileFailedError, bad_output
from upscaling.model import Bounds
from upscaling.results.calendars import number_axis, time_axis
from upscaling.results.cubes import describe_netcdf, describe_zarr
from upscaling.results.projection import crs_name, proj_code

__all__ = ["FileFacts", "read_file"]

SUBDATASET = re.compile(r'^(?P<driver>\w+):"?(?P<file>.*?)"?:/*(?P<name>[^:]+)$')
GEOMETRIES = ("GeometryCollection", "Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon")
VECTOR_TYPES = {"FeatureCollection", "Feature", *GEOMETRIES}
MAGIC = {".fgb": b"fgb", ".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a"}
LONGEST_DIMENSION = 1_000
LONGEST_CELL = 1 << 30  # characters of one value of a table: an outline as text


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file says of itself.

    Attributes
    ----------
    asset
        Fields of the asset: ``proj:*``.
    content
        Fields of the item, or of the asset where several files have them: ``cube:dimensions``, ``table:columns`` …
    extension
        Name of the STAC extension that ``content`` needs.
    bounds, crs
        Where it lies, as far as it says; bounds without a CRS are those of its axes.
    notes
        A line for each thing that could not be made out.
    """

    asset: dict[str, Any] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)
    extension: str = ""
    bounds: Bounds | None = None
    crs: str = ""
    notes: tuple[str, ...] = ()


def read_file(path: Path) -> FileFacts:
    """Read a file to its end by the rules of its format, which its extension names; others need only not be empty.

    A folder is read as a Zarr store.

    Raises
    ------
    TileFailedError
        ``bad-output``: empty, cut off, or not what its extension says.
    """
    if path.is_dir():
        return _zarr(path)
    reader = READERS.get(path.suffix.lower())
    if path.stat().st_size == 0:
        raise _bad(path, "is empty")
    return reader(path) if reader else FileFacts()


def _bad(path: Path, what: object) -> TileFailedError:
    return bad_output(f"{path.name} {what}")


def _cube(path: Path) -> FileFacts:
    """Describe a netCDF or HDF5 file: its variables are GDAL's subdatasets, their other dimensions its bands."""
    dimensions: dict[str, dict[str, Any]] = {}
    variables: dict[str, dict[str, Any]] = {}
    asset: dict[str, Any] = {}
    place: tuple[Bounds, str] | None = None
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            # By these drivers only: GDAL would follow a file of another kind to wherever it points.
            driver = "HDF5" if path.suffix.lower() == ".h5" else "netCDF"
            try:
                with rasterio.open(path, driver=driver) as whole:
                    names = whole.subdatasets or [path]
            except RasterioError:
                return _without_raster(path)
            for source in names:
                inner = "HDF5Image" if str(source).startswith("HDF5:") else driver
                with rasterio.open(source, driver=inner) as dataset:
                    if not dataset.count:
                        continue
                    _read_through(dataset)
                    name, axes = _variable(dataset, source, dimensions)
                    variables[name] = axes
                    if dataset.transform.is_identity:
                        continue
                    place = place or (Bounds(*dataset.bounds), "")
                    if dataset.crs is not None and not place[1]:
                        crs = crs_name(dataset.crs)
                        place = (Bounds(*dataset.bounds), crs)
                        shape = [dataset.height, dataset.width]
                        asset = asset or {**proj_code(crs), "proj:bbox": list(dataset.bounds), "proj:shape": shape}
        except (RasterioError, UnicodeDecodeError) as error:
            raise _bad(path, f"cannot be read to the end: {error}") from error
    if not variables:
        return FileFacts()  # no raster in it: features along a dimension, say
    content = {"cube:dimensions": dimensions, "cube:variables": variables}
    return FileFacts(asset, content, "datacube", *(place or (None, "")))


def _without_raster(path: Path) -> FileFacts:
    """Describe a netCDF file in which GDAL sees no raster: of one dimension, a time series say."""
    with path.open("rb") as stream:
        if not stream.read(8).startswith((b"CDF", b"\x89HDF")):
            raise _bad(path, "is neither netCDF nor HDF5")
    try:
        content = describe_netcdf(path)
    except ValueError as error:
        raise _bad(path, error) from error
    if content is None:
        return FileFacts(notes=("holds no raster: it was not read to its end",))
    return FileFacts({}, content, "datacube")


def _zarr(path: Path) -> FileFacts:
    try:
        asset, content, bounds, crs = describe_zarr(path)
    except ValueError as error:
        raise _bad(path, error) from error
    return FileFacts(asset, content, "datacube", bounds, crs)


def _read_through(dataset: Any) -> None:
    for _, window in dataset.block_windows(1):
        dataset.read(window=window)


def _variable(dataset: Any, source: Any, dimensions: dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Return a variable's name and description, and put its dimensions among the others."""
    tags, own = dataset.tags(), dataset.tags(1)
    match = SUBDATASET.match(str(source))
    name = str(own.get("NETCDF_VARNAME") or (match["name"] if match else "data"))
    others = [part for part in tags.get("NETCDF_DIM_EXTRA", "{}").strip("{}").split(",") if part]
    for other in others:
        values = [part for part in tags.get(f"NETCDF_DIM_{other}_VALUES", "").strip("{}").split(",") if part]
        units, calendar = tags.get(f"{other}#units", ""), tags.get(f"{other}#calendar", "")
        dimensions.setdefault(other, _dimension(values, units, calendar, dataset.count))
    transform, bounds = dataset.transform, dataset.bounds
    system = dataset.crs.to_epsg() if dataset.crs is not None else None
    for axis, low, high, step in (
        ("y", bounds.bottom, bounds.top, -transform.e),
        ("x", bounds.left, bounds.right, transform.a),
    ):
        spatial: dict[str, Any] = {"type": "spatial", "axis": axis}
        if not transform.is_identity:
            spatial |= {"extent": sorted((low, high)), "step": abs(step)}
        dimensions.setdefault(axis, {**spatial, **({"reference_system": system} if system else {})})
    described = {"type": "data", "dimensions": [*others, "y", "x"], "data_type": dataset.dtypes[0]}
    if own.get("units"):
        described["unit"] = own["units"]
    if dataset.nodata is not None:
        described["nodata"] = "nan" if math.isnan(dataset.nodata) else dataset.nodata
    return name, described


def _dimension(values: list[str], units: str, calendar: str, count: int) -> dict[str, Any]:
    with suppress(ValueError):
        times = time_axis([float(value) for value in values], units, calendar)
        if times is not None:
            return times
    try:
        numbers = [float(value) for value in values] or [float(number) for number in range(count)]
    except ValueError:
        return {"type": "other", "values": values[:LONGEST_DIMENSION]}
    return number_axis(numbers)


def _vector(path: Path) -> FileFacts:
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

    magic = MAGIC.get(path.suffix.lower(), b"")
    with path.open("rb") as stream:
        if stream.read(len(magic)) != magic:  # GDAL would follow a file of another kind to wherever it points
            raise _bad(path, f"is not what its name says, {path.suffix}")
    try:
        facts = pyogrio.read_info(path, force_feature_count=True, force_total_bounds=True)
        table = pyogrio.raw.read_arrow(path)[1]
    except (DataSourceError, DataLayerError, FeatureError, IndexError, OSError, RuntimeError) as error:
        raise _bad(path, f"cannot be read to the end: {error}") from error
    if table.num_rows != facts["features"]:
        raise _bad(path, f"says that it has {facts['features']} features, and has {table.num_rows}")
    columns = [{"name": name, "type": kind} for name, kind in zip(facts["fields"], facts["ogr_types"], strict=True)]
    columns = [{"name": entry["name"], "type": entry["type"].removeprefix("OFT").lower()} for entry in columns]
    geometry = facts["geometry_name"] or "geometry"
    columns.append({"name": geometry, "type": str(facts["geometry_type"] or "geometry")})
    return _table(table.num_rows, columns, geometry, facts["total_bounds"], facts["crs"])


def _table(
    rows: int, columns: list[dict[str, str]], geometry: str = "", bounds: Any = None, crs: Any = ""
) -> FileFacts:
    content: dict[str, Any] = {"table:columns": columns, "table:row_count": rows}
    asset: dict[str, Any] = {}
    place = None
    if geometry:
        content["table:primary_geometry"] = geometry
    if crs and bounds is not None and all(map(math.isfinite, bounds)):
        place = Bounds(*map(float, bounds))
        asset = {**proj_code(str(crs)), "proj:bbox": list(place)}
    return FileFacts(asset, content, "table", place, str(crs) if place else "")


def _parquet(path: Path) -> FileFacts:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            rows = sum(batch.num_rows for batch in file.iter_batches())
            schema = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _bad(path, f"cannot be read to the end: {error}") from error
    columns = [{"name": column.name, "type": str(column.type)} for column in schema]
    text = (schema.metadata or {}).get(b"geo")
    if text is None:
        return _table(rows, columns)
    try:
        return _table(rows, columns, *_geo(json.loads(text), schema.names))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, pyproj.exceptions.CRSError):
        return replace(_table(rows, columns), notes=("has metadata of GeoParquet that cannot be read",))


def _geo(geo: dict[str, Any], names: list[str]) -> tuple[str, list[float] | None, str]:
    """Return GeoParquet's primary column, its box without heights, and its CRS, which may be unknown (empty)."""
    primary = geo["primary_column"]
    facts = geo["columns"][primary]
    if primary not in names:
        raise KeyError(primary)
    box = facts.get("bbox")
    if box is not None:
        half = len(box) // 2
        box = [float(edge) for edge in (*box[:2], *box[half : half + 2])]
        if half not in (2, 3) or box[1] > box[3]:
            raise ValueError(box)
    if "crs" in facts and facts["crs"] is None:  # unknown, as the format has it
        return primary, box, ""
    system = pyproj.CRS.from_user_input(facts["crs"]) if "crs" in facts else pyproj.CRS.from_epsg(4326)
    # OGC:CRS84, GeoParquet's default, is EPSG:4326 with longitude first, as all bounds here are.
    if system.to_authority() == ("OGC", "CRS84"):
        return primary, box, "EPSG:4326"
    return primary, box, crs_name(system)


def _json(path: Path) -> FileFacts:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise _bad(path, f"is not JSON: {error}") from error
    except RecursionError:
        raise _bad(path, "is nested too deeply") from None
    is_vector = isinstance(content, dict) and str(content.get("type")) in VECTOR_TYPES
    if path.suffix.lower() == ".geojson" and not is_vector:
        raise _bad(path, "is not GeoJSON: neither features nor a geometry")
    empty = is_vector and not content.get("features", content.get("geometries", True))
    return _vector(path) if is_vector and not empty else FileFacts()


def _csv(path: Path) -> FileFacts:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows, header = _csv_rows(stream, path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise _bad(path, f"is not a table of text: {error}") from error
    return _table(rows, [{"name": name or f"column {number}"} for number, name in enumerate(header, 1)])


def _csv_rows(stream: Any, path: Path) -> tuple[int, list[str]]:
    csv.field_size_limit(LONGEST_CELL)
    sample = stream.readline()
    stream.seek(0)
    delimiter = max(",;\t", key=sample.count)
    lines: Iterator[list[str]] = csv.reader(stream, delimiter=delimiter, strict=True)
    header = next(lines, [])
    rows = 0
    for row in lines:
        if row and len(row) != len(header):
            raise _bad(path, f"has {len(row)} values in line {rows + 2}, and {len(header)} columns")
        rows += bool(row)
    return rows, header


def _zip(path: Path) -> FileFacts:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError) as error:
        raise _bad(path, f"cannot be read to the end: {error}") from error
    if broken is not None:
        raise _bad(path, f"is damaged at {broken}")
    return FileFacts()


READERS: dict[str, Callable[[Path], FileFacts]] = {
    ".csv": _csv,
    ".fgb": _vector,
    ".geojson": _json,
    ".gpkg": _vector,
    ".h5": _cube,
    ".json": _json,
    ".nc": _cube,
    ".parquet": _parquet,
    ".shp": _vector,
    ".zip": _zip,
}
