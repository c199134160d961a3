"""What the back-end serves: collections from a YAML list of files, or from a local STAC catalogue.

A YAML list, whose relative paths start at its own folder; files of the same time are mosaicked, first file first::

    collections:
      SENTINEL2_L2A:
        title: Scenes of one valley
        items:
          - {file: june.tif, datetime: 2022-06-12T10:00:00Z, bands: [B04, B08], properties: {eo:cloud_cover: 12}}
          - {file: series.nc}

The index is built once, by the process that workers are forked from: each file's header is read then, so that a
broken file stops the start and not a job.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from upscaling.errors import ConfigError
from upscaling.model import Bounds

if TYPE_CHECKING:
    from affine import Affine

# pydantic resolves annotations by name, and the model has a field of that name
Datetime = datetime

__all__ = ["BandFile", "Collection", "Raster", "Scene", "as_utc", "file_scenes", "read_header"]


class CollectionItem(BaseModel):
    """One file of a collection, as the YAML list gives it."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    file: str = Field(description="GeoTIFF, COG or netCDF; relative paths start at the folder of the YAML file.")
    datetime: Datetime | None = Field(
        default=None,
        description="Time of acquisition, UTC where it names no zone; a netCDF with a time axis needs none.",
    )
    bands: list[str] | None = Field(
        default=None, description="Band names in file order, or variables of a netCDF; default: what the file says."
    )
    properties: dict[str, Any] = Field(default={}, description="STAC properties that graphs filter on: eo:cloud_cover.")


class CollectionEntry(BaseModel):
    """One collection, as the YAML list gives it."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    title: str = ""
    description: str = ""
    license: str = "other"
    items: list[CollectionItem] = Field(min_length=1)


class DataList(BaseModel):
    """The whole YAML file."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    collections: dict[str, CollectionEntry] = Field(min_length=1)

    @field_validator("collections")
    @classmethod
    def _ids(cls, value: dict[str, CollectionEntry]) -> dict[str, CollectionEntry]:
        for name in value:
            if not name or not all(c.isalnum() or c in "_-." for c in name):
                raise ValueError(f"collection id {name!r} may hold letters, digits, '_', '-' and '.' only")
        return value


class Raster(NamedTuple):
    """Header of a raster: its lattice and extent."""

    crs: str
    transform: Affine
    width: int
    height: int

    @property
    def bounds(self) -> Bounds:
        """Edges, in ``crs``."""
        t = self.transform
        return Bounds(t.c, t.f + t.e * self.height, t.c + t.a * self.width, t.f)


class BandFile(NamedTuple):
    """Where one band of a scene is: a GDAL dataset name, its 1-based band, dtype, nodata and header."""

    path: str
    number: int
    dtype: str
    nodata: float | None
    raster: Raster


@dataclass(frozen=True)
class Scene:
    """One acquisition in one place: bands by name."""

    id: str
    datetime: datetime
    bands: dict[str, BandFile]
    properties: dict[str, Any] = field(default_factory=dict)
    href: str = ""

    @property
    def raster(self) -> Raster:
        """The header of the finest band."""
        return min((band.raster for band in self.bands.values()), key=lambda raster: abs(raster.transform.a))


@dataclass(frozen=True)
class Collection:
    """A collection by id, its scenes in the order in which they are mosaicked."""

    id: str
    title: str
    description: str
    license: str
    scenes: tuple[Scene, ...]

    @property
    def bands(self) -> list[str]:
        """Band names in the order of first appearance."""
        return list(dict.fromkeys(name for scene in self.scenes for name in scene.bands))

    def metadata(self) -> dict[str, Any]:
        """Return the STAC collection document that ``GET /collections/{id}`` serves."""
        from pyproj import CRS, Transformer

        boxes = []
        for raster in {scene.raster for scene in self.scenes}:
            to_lonlat = Transformer.from_crs(CRS.from_user_input(raster.crs), "EPSG:4326", always_xy=True)
            boxes.append(to_lonlat.transform_bounds(*raster.bounds))
        west, south, east, north = (
            f(axis) for f, axis in zip((min, min, max, max), zip(*boxes, strict=True), strict=True)
        )
        times = sorted(scene.datetime for scene in self.scenes)
        interval = [t.strftime("%Y-%m-%dT%H:%M:%SZ") for t in (times[0], times[-1])]
        systems = sorted({_epsg(scene.raster.crs) for scene in self.scenes}, key=str)
        step = min(abs(scene.raster.transform.a) for scene in self.scenes)
        axis = {"type": "spatial", "reference_system": systems[0], "step": step}
        return {
            "type": "Collection",
            "stac_version": "1.0.0",
            "stac_extensions": ["https://stac-extensions.github.io/datacube/v2.2.0/schema.json"],
            "id": self.id,
            "title": self.title or self.id,
            "description": self.description or self.title or self.id,
            "license": self.license,
            "extent": {"spatial": {"bbox": [[west, south, east, north]]}, "temporal": {"interval": [interval]}},
            "links": [],
            "cube:dimensions": {
                "x": {**axis, "axis": "x", "extent": [west, east]},
                "y": {**axis, "axis": "y", "extent": [south, north]},
                "t": {"type": "temporal", "extent": interval},
                "bands": {"type": "bands", "values": self.bands},
            },
            "summaries": {"eo:bands": [{"name": name} for name in self.bands], "gsd": [step]},
        }


def load_yaml(path: Path) -> dict[str, Collection]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid YAML: {error}", file=path) from error
    try:
        entries = DataList.model_validate(raw or {}).collections
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(first["msg"], key=key, file=path) from error
    collections = {}
    for name, entry in entries.items():
        scenes: list[Scene] = []
        for number, item in enumerate(entry.items):
            key = f"collections.{name}.items.{number}"
            time = item.datetime and as_utc(item.datetime)
            try:
                scenes += file_scenes(path.parent / item.file, time, item.bands, item.properties)
            except ConfigError as error:
                raise ConfigError(error.message, key=f"{key}.{error.key}", file=path) from error
        collections[name] = Collection(name, entry.title, entry.description, entry.license, tuple(scenes))
    return collections


def file_scenes(
    file: Path, time: datetime | None, names: list[str] | None, properties: dict[str, Any] | None = None
) -> list[Scene]:
    """Read one file's header into scenes: one, or one per time step of a netCDF.

    Raises
    ------
    ConfigError
        With ``key`` the field that is to blame: ``file``, ``datetime`` or ``bands``.
    """
    if not file.is_file():
        raise ConfigError(f"there is no file {file}", key="file")
    if file.suffix.lower() in {".nc", ".nc4"}:
        return _netcdf_scenes(file, time, names, properties or {})
    if time is None:
        raise ConfigError(f"missing, and {file.name} has no time axis of its own", key="datetime")
    raster, kinds, nodata, descriptions = read_header(str(file))
    if names is None:
        names = [text or f"B{number}" for number, text in enumerate(descriptions, 1)]
    if len(names) != len(kinds) or len(set(names)) != len(names):
        raise ConfigError(
            f"{len(names)} names ({', '.join(names)}) for the {len(kinds)} bands of {file.name}", key="bands"
        )
    bands = {
        name: BandFile(str(file), number, kinds[number - 1], nodata[number - 1], raster)
        for number, name in enumerate(names, 1)
    }
    return [Scene(file.stem, time, bands, properties or {}, str(file))]


def _netcdf_scenes(
    file: Path, time: datetime | None, names: list[str] | None, properties: dict[str, Any]
) -> list[Scene]:
    paths, steps = _netcdf_variables(file)
    names = names or list(paths)
    if unknown := [name for name in names if name not in paths]:
        raise ConfigError(f"{file.name} has no variable {unknown[0]}; it has {', '.join(paths)}", key="bands")
    if not steps:
        if time is None:
            raise ConfigError(f"missing, and {file.name} has no time axis of its own", key="datetime")
        steps = [time]
    headers = {name: read_header(paths[name]) for name in names}
    scenes = []
    for number, step in enumerate(steps):
        bands = {
            name: BandFile(paths[name], number + 1, kinds[0], nodata[0], raster)
            for name, (raster, kinds, nodata, _) in headers.items()
        }
        scenes.append(Scene(f"{file.stem}-{step:%Y%m%dT%H%M%S}", step, bands, properties, str(file)))
    return scenes


def _netcdf_variables(file: Path) -> tuple[dict[str, str], list[datetime]]:
    """Return GDAL's dataset name for each gridded variable, and the times of a time axis."""
    import rasterio
    from rasterio.errors import RasterioError
    from xarray.coding.times import decode_cf_datetime

    try:
        with rasterio.open(file) as whole:
            found = [name for name in whole.subdatasets if name.lower().startswith("netcdf:")]
            tags = whole.tags()
        if not found:  # GDAL opens a file with one variable as that variable
            variable = next((key.partition("#")[0] for key in tags if key.endswith("#grid_mapping")), file.stem)
            found = [f'netcdf:"{file}":{variable}']
        with rasterio.open(found[0]) as first:
            tags = first.tags()
        axis = next((name for name in ("t", "time") if f"{name}#units" in tags), None)
        if axis is None:
            return {name.rpartition(":")[2]: name for name in found}, []
        numbers = [float(text) for text in tags[f"NETCDF_DIM_{axis}_VALUES"].strip("{}").split(",")]
        times = decode_cf_datetime(numbers, tags[f"{axis}#units"], tags.get(f"{axis}#calendar"))
    except (RasterioError, OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{file} is not a readable netCDF: {error}", key="file") from error
    paths = {name.rpartition(":")[2]: name for name in found}
    return paths, [as_utc(time) for time in times.astype("datetime64[us]").tolist()]


def read_header(path: str) -> tuple[Raster, list[str], list[float | None], list[str | None]]:
    """Read a raster's lattice, and of each band dtype, nodata and description.

    Raises
    ------
    ConfigError
        With ``key="file"``: not readable, without CRS or geotransform, rotated or stored south-up.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.open(path) as source:
            crs, transform = source.crs, source.transform
            if crs is None or transform.is_identity:
                raise ConfigError(f"{path} has no CRS or no geotransform", key="file")
            if transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
                raise ConfigError(f"{path} is rotated or stored south-up; warp it first", key="file")
            code = crs.to_epsg()
            raster = Raster(f"EPSG:{code}" if code else crs.to_wkt(), transform, source.width, source.height)
            return raster, list(source.dtypes), list(source.nodatavals), list(source.descriptions)
    except (RasterioError, OSError) as error:
        raise ConfigError(f"{path} is not a readable raster: {error}", key="file") from error


def as_utc(time: datetime) -> datetime:
    """Return a time in UTC; one without a zone is UTC already."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _epsg(crs: str) -> int | str:
    authority, _, code = crs.partition(":")
    return int(code) if authority == "EPSG" and code.isdigit() else crs
