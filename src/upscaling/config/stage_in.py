"""The block ``stage_in`` of the configuration, and ``for_each.search``: which products of a STAC catalogue."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator

from upscaling.config.collection import Block

__all__ = ["COMPARISONS", "ItemSearch", "Search", "StageIn", "StageInBlocks"]

COMPARISONS = ("eq", "neq", "lt", "lte", "gt", "gte", "in")


class Search(Block):
    """Which items of a STAC catalogue, and how their files are brought here."""

    catalogue: str = Field(min_length=1, examples=["https://stac.dataspace.copernicus.eu/v1"])
    """Where the items are: address of a STAC API; path or URL of a catalogue, collection or item collection (JSON); or
    path of STAC GeoParquet."""
    collections: list[str] = Field(default_factory=list)
    """Ids of the collections; all when left out, which a large API refuses or takes long over."""
    time: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    """[start, end): first day, and first day that is no longer in it. With a time dimension each step is its own."""
    max_cloud_cover: float | None = Field(None, ge=0, le=100)
    """Largest `eo:cloud_cover`, in percent; items that do not state theirs are left out."""
    where: dict[str, Any] = Field(default_factory=dict)
    """Property -> what it must be: a value, a list of values, or comparisons as `{lt: 10}` (`eq`, `neq`, `lt`, `lte`,
    `gt`, `gte`, `in`)."""
    sort: str = Field("datetime", min_length=1)
    """Property that orders the items, with `-` before it from the largest down: `-datetime` is newest first,
    `eo:cloud_cover` clearest first."""
    limit: int | None = Field(None, ge=1)
    """The most items, the first in that order: for each tile and time step, or of `for_each` in all."""
    assets: list[str] = Field(default_factory=list)
    """Keys of the assets that a staged catalogue holds; all when left out. Not for item addresses."""
    cache: str | None = None
    """Folder for downloaded assets, on a file system that all nodes see; other runs may share it. Below the run's own
    folder, `stage/`, when left out; it may be deleted when a run is complete."""
    largest_gb: float = Field(20.0, gt=0, le=1e9)
    """Refuse assets that are larger, in GB."""

    @field_validator("catalogue")
    @classmethod
    def _without_password(cls, value: str) -> str:
        if value.lower().startswith(("http://", "https://")) and "@" in value.split("/")[2]:
            raise ValueError("must not hold credentials; a token comes from UPSCALING_STAGE_IN_TOKEN")
        return value.rstrip("/") if "://" in value else value

    @field_validator("where")
    @classmethod
    def _known_comparisons(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, wanted in value.items():
            unknown = [word for word in wanted if word not in COMPARISONS] if isinstance(wanted, dict) else []
            if unknown or wanted == {}:
                said = f"has no comparison {unknown[0]!r}" if unknown else "compares with nothing"
                raise ValueError(f"{name} {said}; known are {', '.join(COMPARISONS)}")
            if isinstance(wanted, dict) and not isinstance(wanted.get("in", []), list):
                raise ValueError(f"{name}: `in` takes a list")  # noqa: TRY004 -- pydantic wants this one
        return value


class StageIn(Search):
    """Items of a STAC catalogue as input of each tile. They are searched when the run is planned, and pinned."""

    input: str | None = None
    """Which input takes them; may be left out where only one can. `Directory` and `Directory[]` get a local catalogue
    with the files (one for all items, or one per item), `string` and `string[]` the addresses of the items."""


def _tag(value: Any) -> str:
    return "list" if isinstance(value, list) else "block"


StageInBlocks = Annotated[
    Annotated[StageIn, Tag("block")] | Annotated[list[StageIn], Field(min_length=1), Tag("list")],
    Discriminator(_tag),
]
"""One block, or a list of them: each fills an input of its own."""


class ItemSearch(Search):
    """Products as the dimension: one job per item, of the tiles (if there are any) that it lies in."""

    fill: dict[str, str] = Field(min_length=1, examples=[{"product": "item"}])
    """Parameter -> what of the item it gets: `item` (its address, or a local catalogue with its files for a
    `Directory`), `id`, `collection`, `datetime`, `bbox`, `geometry`, `asset:<key>` (an address), `property:<name>`."""
    aoi: str | Annotated[list[float], Field(min_length=4, max_length=4)] | None = None
    """Only items that touch this area, given as `area.aoi` is; that of the tiles when left out."""

    @field_validator("fill")
    @classmethod
    def _known_fields(cls, value: dict[str, str]) -> dict[str, str]:
        plain = ("item", "id", "collection", "datetime", "bbox", "geometry")
        for name, field in value.items():
            prefix, colon, rest = field.partition(":")
            if field not in plain and not (prefix in {"asset", "property"} and colon and rest):
                known = ", ".join(plain)
                raise ValueError(f"{name}: must be {known}, asset:<key> or property:<name> (found {field!r})")
        return value
