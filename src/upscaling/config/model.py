"""The one truth about configuration: a model from which schema, commented default and checks are made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from upscaling.config.collection import Block, Collection, PollSeconds, ServerUrl, types_in
from upscaling.config.cwl import CwlBackendConfig
from upscaling.config.deadline import Deadline
from upscaling.config.ogcapi import OgcApiBackendConfig
from upscaling.config.openeo import ExportWorkspace
from upscaling.config.products import Mosaic, Publish
from upscaling.config.secrets import refuse_secrets
from upscaling.config.stage_in import ItemSearch, StageIn, StageInBlocks
from upscaling.config.values import Sources, merge, plain, read_values, with_new_names
from upscaling.errors import ConfigError

__all__ = [
    "Algorithm",
    "Area",
    "Collection",
    "Config",
    "CwlBackendConfig",
    "OgcApiBackendConfig",
    "OpenEOBackendConfig",
    "load_config",
]


_MISSING_AREA = "missing_area"


class Algorithm(Block):
    """What to run. Everything here is part of a tile's identity: a change re-runs the tiles that it touches."""

    source: str = Field(min_length=1, examples=["config/demo/ndvi_composite.json"])
    """An openEO UDP (JSON), an OGC application package (CWL, `app.cwl#workflow` if it holds several), or an APEx
    catalogue record: a path, a URL (packages also `oci://`), or the record's id together with `catalogue`."""
    catalogue: str | None = None
    """Folder or base URL of an algorithm catalogue in the APEx layout (`<provider>/<id>/records/<id>.json`), where
    `source` is a record's id. With a URL write the id as `<provider>/<id>`."""
    parameters: dict[str, Any] = Field({})
    """Values for the algorithm's own parameters. Those that the tile fills (its area) must not stand here. Files are
    looked up from the working directory."""
    bind: dict[str, str] = Field({})
    """Parameter -> form of the tile or the time step, where type, name and use leave it open; `upscaling describe` says
    which form is chosen, and why. `config/README.md` lists the forms."""
    files_from: list[str] = Field([])
    """Folders whose files a local application package may name, besides its own folder. A package from the web never
    reads files of this machine."""
    output_format: str = "GTiff"
    """File format asked for where an openEO process has no `save_result` of its own."""


class Area(Block):
    """Where to run it. The tiles come from the grid; the area only chooses among them."""

    aoi: str | Annotated[list[float], Field(min_length=4, max_length=6)] = Field(
        examples=["config/demo/area.geojson", [11.3, 46.4, 11.4, 46.5]]
    )
    """Area of interest: any vector file (GeoJSON, GeoPackage, FlatGeobuf, Shapefile, GeoParquet; also zipped), the
    address of GeoJSON, WKT or hexadecimal WKB in lon/lat (`SRID=<n>;` in front for another CRS), or
    `[west, south, east, north]` in degrees. Paths are looked up from the working directory."""
    grid: str = "utm-20km"
    """Grid that is laid over the area; `upscaling grids` lists them. `utm-<N>km`, `file` (your own polygons),
    `none` (the whole area as one tile)."""
    grid_file: str | None = None
    """For grid `file`: the vector file with the tiles."""
    grid_id: str | None = None
    """For grid `file`: the column with the tile ids (unique, made of letters, digits, `_` and `-`)."""
    min_overlap: float = Field(0.0, ge=0.0, lt=1.0)
    """Leave out tiles of which a smaller share than this lies in the area (0.01 = 1 %)."""
    clip: bool = False
    """Process only the part of a tile that lies in the area (its bounds, outward to the pixel lattice). Tiles at the
    edge then depend on the area, and are not shared with a run over another one."""
    buffer: float = Field(0.0, ge=0.0)
    """Halo in metres that is processed around a tile and cut off again, for algorithms that look at neighbouring
    pixels (kernels, focal statistics, segmentation). A multiple of the pixel size."""
    mask: str | None = None
    """Vector file; only tiles that lie partly in it are kept, e.g. land."""

    @field_validator("aoi", mode="before")
    @classmethod
    def _file_or_bbox(cls, value: object) -> object:
        numbers = isinstance(value, list) and len(value) in {4, 6} and {type(n) for n in value} <= {int, float}
        if not (numbers or (isinstance(value, str) and value.strip())):
            raise ValueError("must be a vector file, a WKT string, or [west, south, east, north] in degrees")
        return value


class Time(Block):
    """The time dimension: one job per tile and step. Fills the algorithm's temporal interval or its two dates."""

    start: str | None = None
    """First day, e.g. 2023-01-01."""
    end: str | None = None
    """First day that is no longer in it."""
    step: str = "month"
    """`day`, `week` (from Monday), `dekad`, `month`, `quarter`, `season` (December to February …), `year`, or more of
    them: `16 days`, `2 weeks`, `3 months`, `5 years`. Steps of the calendar are cut to start and end."""
    intervals: list[Annotated[list[str], Field(min_length=2, max_length=2)]] | None = Field(None, min_length=1)
    """Instead of start, end and step: a list of [start, end) intervals."""

    @model_validator(mode="after")
    def _one_way(self) -> Time:
        if self.intervals is not None and (self.start or self.end):
            raise ValueError("give either intervals, or start, end and step")
        return self


class ForEach(Block):
    """A dimension of parameter values: one job per tile, time step and row."""

    parameters: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field({})
    """Parameter -> list of values; of several parameters every combination is run."""
    table: str | None = None
    """Instead: a table (CSV or Parquet) with one row per job and one column per parameter."""
    id: str | None = None
    """Column of the table that names its rows; the values make the name when left out."""
    ignore: list[str] = Field([])
    """Columns of the table that are not parameters."""
    search: ItemSearch | None = None
    """Or the items of a STAC catalogue: products as the dimension."""

    @model_validator(mode="after")
    def _one_source(self) -> ForEach:
        if sum(map(bool, (self.parameters, self.table, self.search))) != 1:
            raise ValueError("give either parameters, or a table, or a search")
        if self.search and (self.id or self.ignore):
            raise ValueError("id and ignore belong to a table")
        return self


class OpenEOBackendConfig(Block):
    """An openEO platform: one batch job per tile."""

    kind: Literal["openeo"]
    """`openeo`: batch jobs on an openEO platform. `cwl`: an application package through Toil on this machine."""
    url: ServerUrl | None = Field(None, examples=["https://openeo.dataspace.copernicus.eu"])
    """Address of the platform. May be left out if the algorithm is a catalogue record: its `service` link counts."""
    auth: Literal["none", "basic", "oidc", "bearer"] = "oidc"
    """How to log in. `oidc`: OPENEO_AUTH_METHOD=client_credentials with OPENEO_AUTH_CLIENT_ID, _CLIENT_SECRET and
    _PROVIDER_ID, else the refresh token that `openeo-auth` stored. `basic`: OPENEO_AUTH_USERNAME and
    OPENEO_AUTH_PASSWORD, else what `openeo-auth` stored. `bearer`: OPENEO_AUTH_TOKEN. Secrets never stand here."""
    slots: int = Field(2, ge=1, le=1000)
    """Batch jobs of this run at the same time: what the platform allows you. Changing it re-runs nothing."""
    process: Literal["inline", "namespace"] = "inline"
    """`inline`: send the pinned graph with its parameters filled in. `namespace`: refer to the UDP by its URL (the
    platform fetches it, so it floats if the URL does)."""
    job_options: dict[str, Any] = Field({})
    """Passed on as `job_options`, e.g. `{executor-memory: 4G}`. Not part of a tile's identity."""
    memory_levels: list[dict[str, Any]] = Field([])
    """Job options that are laid over `job_options`, one after another, when a job runs out of memory, e.g.
    `[{executor-memory: 4G}, {executor-memory: 8G}]`. Each try is a job of its own, and costs as one."""
    resubmit_lost: int = Field(2, ge=0, le=10)
    """Submit a tile again, so often in one run, when the platform lost its job (a node failed or was taken away, as its
    log says). Each try is a job of its own, and may cost as one."""
    plan: str | None = None
    """Billing plan, where the platform has several."""
    job_budget: float | None = Field(None, gt=0)
    """The most that one job may cost, sent to the platform with it; not every platform heeds it."""
    log_level: Literal["error", "warning", "info", "debug"] | None = None
    """Least severe entries that the platform should keep in a job's log; its own default when left out."""
    filename_prefix: bool = False
    """Ask the platform to begin the names of its result files with the tile's (option `filename_prefix` of
    `save_result`); the files of this run are named after their tile in any case."""
    export_workspace: ExportWorkspace | None = None
    """Leave the results on the platform, in a workspace there."""
    delete_after_download: bool = False
    """Delete a job and its results from the platform when its tile is done here. A tile whose files are lost after
    that is submitted, and paid for, again."""
    run_budget: float | None = Field(None, gt=0)
    """Launch no more tiles when the run has cost this much, in the platform's own credits or currency."""
    stop_after: int = Field(5, ge=0)
    """Launch no more tiles when this many failed for the same reason before any succeeded; 0 for never."""
    timeout_hours: float = Field(24.0, gt=0, le=87_600)
    """Give up waiting for a job after this time; the job itself is left alone and found again by the next run."""
    poll_seconds: PollSeconds = Field([1.0, 60.0])
    """Shortest and longest time between two questions about a job's state; it grows with the job's age. A list that
    answers for all jobs of the run is asked for twice as often, and more often for a moment while jobs end."""
    outage_hours: float = Field(12.0, gt=0, le=87_600)
    """Wait this long for a platform that is out of reach, overloaded or down before a tile is given up; its job is
    left alone and found again by the next run."""
    lag_seconds: float = Field(60.0, gt=0, le=86_400)
    """How long a job that was created or started may take to show as such on the platform. After a request whose
    outcome is unknown, this long is looked before it is sent again."""
    federation_without: list[str] = Field([], examples=[["vito"]])
    """Members of a federation that may be missing from the platform's job list for a run to start. Jobs of this run
    that only they know are not found, and would be paid twice."""
    request_seconds: float = Field(120.0, gt=0, le=86_400)
    """Give up a request that the platform does not answer for this long."""
    tile_gb: float = Field(20.0, gt=0, le=1e9)
    """The most that is downloaded for one tile, in GB."""


class Config(Block):
    """Configuration of a run."""

    run: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=80, examples=["bolzano-ndvi"])
    """Name of the run; everything it writes lies below `results/<run>/`."""
    algorithm: Algorithm
    area: Area | None = None
    """Where to run it; may be left out only with `for_each`, for algorithms that take no area."""
    time: Time | None = None
    """A time dimension."""
    for_each: ForEach | None = None
    """A dimension of parameter values."""
    stage_in: StageInBlocks | None = None
    """Items of a STAC catalogue as input of each tile; a list of such blocks where several inputs take items."""
    backend: Annotated[OpenEOBackendConfig | CwlBackendConfig | OgcApiBackendConfig, Field(discriminator="kind")]
    deadline: Deadline = "3 days"
    """When the run should be done: `3 days`, `36 hours`, or a date (`2026-12-24`). `upscaling estimate` says how likely
    that is; nothing is stopped. Changing it re-runs nothing."""
    budget: float | None = Field(None, gt=0)
    """What the run should cost at most, in the platform's own credits or currency: `upscaling estimate` says how likely
    that is; nothing is stopped. `backend.run_budget`, which stops a run, counts where this is left out."""
    collection: Collection = Collection()
    mosaic: Mosaic = Mosaic()
    publish: Publish | None = None
    """Where to publish the result."""
    pathvars: dict[str, str] = Field({})
    """Snakemake's own: other places for `results` and so on."""
    _sources: Sources = PrivateAttr(Sources(()))
    _notices: list[str] = PrivateAttr([])

    @property
    def sources(self) -> Sources:
        """Where the values came from, for messages."""
        return self._sources

    @property
    def notices(self) -> list[str]:
        """What the user should know of the keys that were read: those that have another name now."""
        return self._notices

    @property
    def stagings(self) -> dict[str, StageIn]:
        """The blocks of ``stage_in``, by their keys."""
        if isinstance(self.stage_in, list):
            return {f"stage_in.{number}": block for number, block in enumerate(self.stage_in)}
        return {"stage_in": self.stage_in} if self.stage_in else {}

    def folder(self, results: Path | None = None) -> Path:
        """Return the run's folder: below ``results``, else where Snakemake would put it (``pathvars.results``)."""
        place = str(results) if results is not None else self.pathvars.get("results", "results")
        for _ in self.pathvars:  # they may name each other
            place = re.sub(r"<(\w+)>", lambda found: self.pathvars.get(found[1], found[0]), place)
        return Path(place) / self.run

    @model_validator(mode="after")
    def _somewhere(self) -> Config:
        if self.area is None and self.for_each is None:
            raise PydanticCustomError(_MISSING_AREA, "is missing; only with for_each it may be left out")
        if self.area is not None and self.area.buffer and getattr(self.backend, "export_workspace", None):
            raise ValueError("backend.export_workspace leaves files as they are; with area.buffer they must be cut")
        return self

    @classmethod
    def parse(cls, values: Any, *, file: object = None, sources: Sources | None = None) -> Config:
        """Check ``values`` as read from YAML; the first fault is raised as one line with file and key.

        Parameters
        ----------
        values
            A mapping of the configuration's keys.
        file
            Where all of it came from.
        sources
            Instead: where each part of it came from.

        Raises
        ------
        ConfigError
            For an unknown key, a missing one, or a value out of its range.
        """
        if sources is None:
            sources = Sources(() if file is None else ((str(file), values),))
        if not isinstance(values, Mapping):
            raise sources.named(ConfigError("must be a mapping of run, algorithm, area and backend"))
        try:
            refuse_secrets(values)
            renamed, notices = with_new_names(plain(values))
            config = cls.model_validate(renamed)
        except ValidationError as error:
            raise sources.named(first_fault(error, cls)) from None
        except ConfigError as error:
            raise sources.named(error) from None
        config._sources, config._notices = sources, notices
        return config


def _location(error: ValidationError) -> list[str]:
    if error.errors()[0]["type"] == _MISSING_AREA:
        return ["area"]
    tags = {"openeo", "cwl", "ogcapi", "block", "list"}  # pydantic names the chosen union member; a user never wrote it
    branches = ("str", "list[", "constrained-")
    return [
        str(part)
        for position, part in enumerate(error.errors()[0]["loc"])
        if not (position == 1 and part in tags) and not str(part).startswith(branches)
    ]


def first_fault(error: ValidationError, model: type[Block], *, file: object = None) -> ConfigError:
    """Return the first fault that pydantic found in the values of a model, with its key and what would be right."""
    return ConfigError(_explain(error, model), key=".".join(_location(error)) or "(top level)", file=file)


def _explain(error: ValidationError, model: type[Block]) -> str:
    import difflib

    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        known = _keys_beside(first["loc"], model)
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return f"unknown key; {hint}"
    if first["type"] == "missing":
        return "is missing"
    if first["type"].startswith("union_tag"):
        return "kind must be one of: openeo, cwl, ogcapi"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if first["loc"] and first["loc"][-1] in {"url", "catalogue"}:  # may hold a password: it must not reach a log
        return message
    if isinstance(first["input"], Mapping):  # a whole block: the message says what is wrong in it
        return message
    shown = repr(first["input"])
    return f"{message} (found {shown if len(shown) < 80 else shown[:77] + '...'})"


def _keys_beside(location: tuple[int | str, ...], model: type[Block]) -> list[str]:
    """Return the keys of the block that a location leads into, from the block of ``model``."""
    blocks: list[type[Block]] = [model]
    for part in map(str, location[:-1]):
        fields = [block.model_fields[part] for block in blocks if part in block.model_fields]
        inner = [kind for field in fields for kind in types_in(field.annotation)]
        below = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, Block)]
        tagged = [block for block in blocks if part in _kinds(block)]
        blocks = below or tagged or blocks
    return list(blocks[0].model_fields)


def _kinds(block: type[Block]) -> tuple[Any, ...]:
    return get_args(block.model_fields["kind"].annotation) if "kind" in block.model_fields else ()


def load_config(*paths: Path) -> Config:
    """Read and check YAML configuration files; later ones are laid over earlier ones.

    Raises
    ------
    ConfigError
        If a file is missing, no YAML, or does not fit the model.
    """
    read = [(str(path), read_values(path)) for path in paths]
    values: dict[str, Any] = {}
    for _, more in read:
        merge(values, more)
    return Config.parse(values, sources=Sources(tuple(read)))
