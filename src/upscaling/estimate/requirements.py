"""What a project wants of an upscaling, as one structured form: checked, and turned into a configuration."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator

from upscaling.algorithms.catalogue import is_package, parse, read_source
from upscaling.algorithms.records import is_record, ogc_process, runs_on_ogcapi
from upscaling.config import Algorithm, Config
from upscaling.config.collection import Block
from upscaling.config.deadline import Deadline
from upscaling.config.described import descriptions
from upscaling.config.model import first_fault
from upscaling.config.values import read_values
from upscaling.errors import ConfigError

__all__ = ["Requirements", "form", "load_requirements", "to_config"]

ADVISE = "advise"


class Contact(Block):
    """Who asks, and who is to be asked."""

    name: str = Field(min_length=1, examples=["A. Person"])
    """Name of a person."""
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", examples=["a.person@example.org"])
    """E-mail address."""
    organisation: str = ""
    """Project or organisation."""


class WantedAlgorithm(Block):
    """What is to run."""

    source: str = Field(min_length=1, examples=["max_ndvi_composite"])
    """An openEO process (JSON), a package (CWL), or a catalogue record: a path, a URL, or an id with `catalogue`."""
    catalogue: str | None = None
    """Folder or URL of an algorithm catalogue that has the id."""
    version: str = ""
    """Version that is wanted, in words; what runs is pinned and named by its sha256."""
    parameters: dict[str, Any] = Field({})
    """Values for its own parameters; not its area and not its period."""
    bind: dict[str, str] = Field({})
    """As `algorithm.bind` of a configuration, where it is needed."""


class Period(Block):
    """When."""

    start: str = Field(examples=["2023-06-01"])
    """First day."""
    end: str = Field(examples=["2023-09-01"])
    """First day that is no longer in it."""
    step: str | None = None
    """One result each `day`, `dekad`, `month`, `year` or `<n> days`; one for the whole period when left out."""


class Output(Block):
    """What the results should be, and where."""

    format: str = "GTiff"
    """File format."""
    crs: str | None = Field(None, pattern=r"^EPSG:\d+$", examples=["EPSG:3035"])
    """CRS of the mosaic; as the tiles have it when left out."""
    place: str = "download"
    """`download`, a bucket (`s3://bucket/prefix`), or `platform`: a workspace there (named in `workspace`)."""
    workspace: str | None = None
    """Id of a workspace on the platform."""
    long_term_storage: Literal["no", "yes", "undecided"] = "undecided"
    """Whether somebody must keep the results for years."""
    licence: str = Field("other", examples=["CC-BY-4.0"])
    """Licence of the results (SPDX)."""

    @field_validator("place")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in {"download", "platform"} and not value.startswith("s3://"):
            raise ValueError("must be download, platform or s3://bucket/prefix")
        return value


class Requirements(Block):
    """Requirements of an upscaling, as a project hands them to a platform operator."""

    title: str = Field(min_length=1, max_length=120, examples=["Maximum NDVI of Kenya, summer 2023"])
    """What it is, in a line; the name of the run is made of it."""
    purpose: str = ""
    """What the results are for."""
    contact: Contact
    algorithm: WantedAlgorithm
    area: str | Annotated[list[float], Field(min_length=4, max_length=4)] = Field(examples=["kenya.geojson"])
    """A vector file, WKT, or `[west, south, east, north]` in degrees."""
    grid: str = "utm-20km"
    """Grid of the tiles; `upscaling grids` lists them."""
    period: Period | None = None
    """When; left out for algorithms without time."""
    platform: str = ADVISE
    """Address of a platform, or `advise`: each that the catalogue offers is compared."""
    slots: int = Field(2, ge=1, le=1000)
    """Jobs at the same time that the account may run."""
    quality: list[str] = Field([])
    """What is wanted of the results, a line each: completeness, seams, accuracy, validation."""
    deadline: Deadline = "3 days"
    """`3 days`, `36 hours`, or a date."""
    budget: float | None = Field(None, gt=0)
    """The most that it may cost."""
    currency: str = "credits"
    """Of the budget: the platform's credits, or a currency."""
    output: Output = Output()
    notes: str = ""
    """Anything else."""

    @property
    def run(self) -> str:
        """Name of the run."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")[:60].strip("-") or "upscaling"


def load_requirements(path: Path) -> Requirements:
    """Read requirements from a YAML or JSON file.

    Raises
    ------
    ConfigError
        One line with file and key, if it cannot be read or does not fit.
    """
    values = read_values(path)
    try:
        return Requirements.model_validate(values)
    except ValidationError as error:
        raise first_fault(error, Requirements, file=path) from None


def to_config(wanted: Requirements, *, file: Path | None = None) -> Config:
    """Return the configuration that runs what is wanted.

    With the platform `advise` it is the one that the algorithm's catalogue record names.

    Raises
    ------
    ConfigError
        If the algorithm cannot be read, or no platform is named anywhere.
    """
    return Config.parse(config_values(wanted), file=file)


def config_values(wanted: Requirements) -> dict[str, Any]:
    """Return the keys of that configuration, without defaults."""
    output = wanted.output
    algorithm = wanted.algorithm.model_dump(exclude={"version"}, exclude_defaults=True)
    if output.format != "GTiff":
        algorithm["output_format"] = output.format
    values: dict[str, Any] = {
        "run": wanted.run,
        "algorithm": algorithm,
        "area": {"aoi": wanted.area, "grid": wanted.grid},
        "backend": _backend(wanted),
        "deadline": wanted.deadline,
        "collection": {"title": wanted.title, "license": output.licence},
    }
    if wanted.budget is not None:
        values["budget"] = wanted.budget
    if wanted.period is not None:
        start, end, step = wanted.period.start, wanted.period.end, wanted.period.step
        values["time"] = {"start": start, "end": end, "step": step} if step else {"intervals": [[start, end]]}
    if output.crs:
        values["mosaic"] = {"cog": True, "crs": output.crs}
    if output.place.startswith("s3://"):
        values["publish"] = {"s3": output.place}
    return values


def _backend(wanted: Requirements) -> dict[str, Any]:
    source = wanted.algorithm
    if is_package(source.source):
        return {"kind": "cwl", "slots": wanted.slots}
    named = {} if wanted.platform == ADVISE else {"url": wanted.platform}
    if ogc_process(source.source):
        return {"kind": "ogcapi", "slots": wanted.slots, **named}
    text, place = read_source(Algorithm(source=source.source, catalogue=source.catalogue))
    content = parse(text, place)
    if not named and not is_record(content):
        raise ConfigError("name a platform: the algorithm is in no catalogue that names one", key="platform")
    if is_record(content) and runs_on_ogcapi(content):
        return {"kind": "ogcapi", "slots": wanted.slots, **named}
    backend: dict[str, Any] = {"kind": "openeo", "slots": wanted.slots, **named}
    if wanted.output.place == "platform":
        if not wanted.output.workspace:
            raise ConfigError("is required where the results stay on the platform", key="output.workspace")
        backend["export_workspace"] = {"workspace": wanted.output.workspace}
    return backend


def form() -> str:
    """Return an empty form: YAML with a comment on every field, and examples where something must stand."""
    head = "# Requirements of an upscaling. Keys behind `#` show their defaults.\n"
    return head + "\n".join(_lines(Requirements, "")) + "\n"


def _lines(block: type[BaseModel], indent: str) -> list[str]:
    lines = []
    for name, field in block.model_fields.items():
        inner = _inner(field.annotation)
        text = " ".join(descriptions(block).get(name, (inner and inner.__doc__) or "").split())
        lines += textwrap.wrap(text, 100, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        required = field.is_required()
        if inner is not None:
            shown = [f"{indent}{name}:", *_lines(inner, f"{indent}  ")]
            lines += shown if required or name == "period" else [f"# {line}" for line in shown]
            continue
        value = (field.examples or [""])[0] if required else field.get_default(call_default_factory=True)
        written = value if isinstance(value, str) and value and ":" not in value else json.dumps(value)
        lines.append(f"{indent}{'' if required else '# '}{name}: {written}")
    return lines


def _inner(annotation: Any) -> type[BaseModel] | None:
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
