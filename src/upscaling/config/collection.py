"""The block ``collection`` of the configuration: what the result says of itself, and what its tiles must be like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "AssetDescription",
    "Band",
    "Block",
    "ClassValue",
    "Collection",
    "Expect",
    "PollSeconds",
    "Prr",
    "Render",
    "ServerUrl",
    "WebUrl",
    "types_in",
]

ESA_THEMES = Literal["atmosphere", "cryosphere", "land", "magnetosphere-ionosphere", "oceans", "solid-earth"]
DataType = Literal[
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"
]
WebUrl = Annotated[str, Field(pattern=r"^https?://[^\s@]+$")]

_LONGEST_POLL = 86_400  # seconds: a day


def _of_a_server(value: str) -> str:
    if not value.startswith(("https://", "http://")):
        raise ValueError("must start with https:// (or http://)")
    if "@" in value.split("/")[2]:
        raise ValueError("must not hold credentials; they come from the environment (see auth)")
    return value.rstrip("/")


def _ordered(value: list[float]) -> list[float]:
    if not 0 < value[0] <= value[1] <= _LONGEST_POLL:
        raise ValueError(f"must be [shortest, longest] with 0 < shortest <= longest <= {_LONGEST_POLL}")
    return value


def types_in(annotation: object) -> set[object]:
    """Return the types in an annotation, at any depth."""
    return {annotation}.union(*(types_in(inner) for inner in get_args(annotation)))


def _as_text(value: object) -> object:
    if isinstance(value, list):
        return [_as_text(part) for part in value]
    return str(value).lower() if isinstance(value, bool) else value


ServerUrl = Annotated[str, AfterValidator(_of_a_server)]
PollSeconds = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_ordered)]


class Block(BaseModel):
    """A block of the configuration: unknown keys are errors, values never change after reading."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, values: object) -> object:
        """Return the values with true and false as text where a number is meant: pydantic takes them for 1 and 0."""
        if not isinstance(values, Mapping):
            return values
        types = {key: types_in(field.annotation) for key, field in cls.model_fields.items()}
        numbers = {key for key, of in types.items() if of & {int, float} and not of & {bool, str, Any}}
        return {key: _as_text(value) if key in numbers else value for key, value in values.items()}


class ClassValue(Block):
    """One class of a categorical band (STAC classification extension)."""

    value: int
    """The pixels' value."""
    title: str = Field(min_length=1)
    """What it means, for a legend."""
    name: str | None = Field(None, pattern=r"^[0-9A-Za-z_-]+$")
    """Short machine-readable name; made from the title when left out."""
    description: str | None = None
    """A longer text."""
    color_hint: str = Field(pattern=r"^[0-9A-Fa-f]{6}$", examples=["2ca02c"])
    """Colour for a map, six hexadecimal digits without `#`."""
    nodata: bool = False
    """The class stands for missing pixels."""


class Band(Block):
    """What a band of a raster is; the n-th entry is the file's n-th band."""

    name: str | None = None
    """Name; the platform's or the file's when left out."""
    description: str | None = None
    """Description."""
    unit: str | None = None
    """Unit of the values, after scale and offset (UCUM or udunits)."""
    scale: float | None = None
    """value = scale * pixel + offset. Only said, not applied."""
    offset: float | None = None
    """See scale."""
    classes: list[ClassValue] = []
    """Classes of a categorical band."""

    @field_validator("classes")
    @classmethod
    def _told_apart(cls, classes: list[ClassValue]) -> list[ClassValue]:
        values = [entry.value for entry in classes]
        if len(values) != len(set(values)):
            raise ValueError("two classes have the same value")
        return classes


class AssetDescription(Block):
    """One file that every tile gives: the key it has in every item, and what it is."""

    match: str | None = None
    """Pattern for the name that the platform gave the file, e.g. `*_ndvi_*`; every file that fits gets this key, so
    one per tile may fit. When left out, the key itself is looked for."""
    title: str | None = None
    """Title."""
    description: str | None = None
    """Description."""
    roles: list[str] | None = None
    """STAC roles; `[data]` unless the platform says otherwise."""
    bands: list[Band] = []
    """Its bands, in the file's order."""


class Render(Block):
    """How to show it (STAC render extension)."""

    title: str | None = None
    """Title of the view."""
    assets: list[str] = Field(min_length=1)
    """Keys of the assets that it shows."""
    rescale: list[Annotated[list[float], Field(min_length=2, max_length=2)]] | None = None
    """[lowest, highest] value per band."""
    colormap_name: str | None = None
    """Name of a colour ramp, e.g. `viridis`."""
    colormap: dict[str, Any] | None = None
    """Or the colours themselves: value -> colour."""
    bidx: list[int] | None = None
    """Numbers of the bands that are shown, from 1."""
    expression: str | None = None
    """Band arithmetic."""
    nodata: float | str | None = None
    """Value that is transparent."""
    resampling: str | None = None
    """Resampling method."""


class Expect(Block):
    """What every raster must be like; what is left out must be as in the first tile."""

    dtype: DataType | None = None
    """Data type of the pixels."""
    bands: int | None = Field(None, ge=1)
    """Number of bands."""
    nodata: float | Literal["nan", "none"] | None = None
    """Nodata value; `nan`, or `none` for rasters without one."""
    valid: float | None = Field(None, ge=0, le=1)
    """Least share of valid pixels in a tile, 0 to 1."""


class Prr(Block):
    """For ESA's Project Results Repository: the fields that it requires of a collection."""

    project: str = Field(min_length=1)
    """`osc:project`: id of the project."""
    initiative: str = "apex"
    """`osc:initiative`."""
    contract_number: str = Field(min_length=1)
    """`osc:contract-number`."""
    project_website: WebUrl
    """`osc:project_website`."""
    project_description: str = Field(min_length=1)
    """`osc:project_description`."""
    variables: list[str] = Field(min_length=1)
    """`osc:variables`."""
    missions: list[str] = Field(min_length=1)
    """`osc:missions`."""
    parameters: list[dict[str, str]] = Field(min_length=1)
    """`cf:parameter`: objects with `name` (and `unit`), CF standard names where there are some."""

    @field_validator("parameters")
    @classmethod
    def _named(cls, parameters: list[dict[str, str]]) -> list[dict[str, str]]:
        if any(not entry.get("name") for entry in parameters):
            raise ValueError("each parameter needs a name")
        return parameters


class Collection(Block):
    """What the resulting STAC collection says of itself. Changing it re-runs no tile; items are brought up to date."""

    title: str | None = None
    """Title; the algorithm's title when left out."""
    description: str | None = None
    """Description; the algorithm's description when left out."""
    license: str = "other"
    """SPDX identifier of the result's licence, or `other`."""
    license_url: WebUrl | None = None
    """Address of the licence's text; with `other` the record's license link counts when left out."""
    keywords: list[str] = []
    """Keywords for search; those of the algorithm's record when left out."""
    providers: list[dict[str, Any]] = []
    """STAC provider objects (`name`, `roles`, `url`)."""
    themes: list[ESA_THEMES] = []
    """ESA's themes."""
    doi: str | None = Field(None, pattern=r"^10\.\d{4,9}/\S+$")
    """DOI of the product, without an address."""
    citation: str | None = None
    """How to cite it."""
    assets: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")], AssetDescription] = {}
    """Asset key -> what that file of every tile is; keys in config/README.md."""
    renders: dict[str, Render] = {}
    """Name -> how to show it; keys in config/README.md."""
    expect: Expect | None = None
    """What every raster must be like (dtype, bands, nodata, valid); keys in config/README.md."""
    prr: Prr | None = None
    """Fields of ESA's Project Results Repository; keys in config/README.md."""
    extra: dict[str, Any] = {}
    """Further fields of the collection, as they are to be written; under `stac_extensions` their schemas."""
    exact: bool = True
    """Every raster must cover exactly its tile. Set it to false for algorithms that reproject, or whose pixels do not
    divide a tile; rasters then stay where they lie, and need only touch their tile. Tiles of grid `file` and `none`
    are never required to fit."""
    parts_from: int = Field(30_000, ge=1)
    """With more jobs than this the collection is made of sub-collections, one per 100 km square, each of which can be
    run by itself: `snakemake results/<run>/parts/<part>/collection.json`."""

    @model_validator(mode="after")
    def _own_fields(self) -> Collection:
        ours = {"type", "id", "stac_version", "links", "assets", "item_assets", "extent", "summaries", "license"}
        taken = sorted(ours & set(self.extra))
        if taken:
            raise ValueError(f"extra must not hold {', '.join(taken)}")
        return self
