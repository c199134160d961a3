"""Shapes of the documents in a run's folder: what all that read them rely on. Schemas ask for more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from upscaling.errors import UpscalingError
from upscaling.util.files import link_out

__all__ = ["FAILURES", "MOSAICS", "Document", "Item", "fault_of", "read_list", "read_mosaics", "read_stac"]

MOSAICS, FAILURES = "mosaics.json", "failures.json"
_ANEW = "delete the folder mosaic and run again, which makes it anew"

_Number = Annotated[float, Field(gt=-1e12, lt=1e12)]  # of a place, a size or a pixel
_Box = Annotated[list[_Number], Field(min_length=4, max_length=4)]


def _only_text(value: Any) -> Any:
    """Refuse numbers, also as text, which pydantic takes for seconds since 1970."""
    if not isinstance(value, str) or value[4:5] != "-":
        raise ValueError("must be a date and time with a zone")
    return value


# None: `datetime` is null where there is a start and an end
_Moment = Annotated[AwareDatetime, BeforeValidator(_only_text), Field(strict=False)] | None


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)


class _Placed(_Shape):
    bbox: _Box = []
    proj_bbox: Annotated[list[_Number], Field(min_length=4, max_length=6)] | None = Field(None, alias="proj:bbox")
    transform: Annotated[list[_Number], Field(min_length=6, max_length=9)] | None = Field(None, alias="proj:transform")
    shape: Annotated[list[_Number], Field(min_length=2, max_length=2)] | None = Field(None, alias="proj:shape")


class _Link(_Shape):
    rel: str
    href: str


class _Asset(_Placed):
    href: str
    roles: list[str] = []
    bands: list[dict[str, Any]] = []


class Document(_Placed):
    """What any STAC document is; what it lacks beyond that is for its schema to say."""

    links: list[_Link] = []
    assets: dict[str, _Asset] = {}
    properties: dict[str, Any] = {}
    stac_extensions: list[str] = []


class _Expression(_Shape):
    expression: Any


class _Properties(_Placed):
    datetime: _Moment = None
    start_datetime: _Moment = None
    end_datetime: _Moment = None
    created: _Moment = None
    processed: _Moment = Field(None, alias="processing:datetime")
    expression: _Expression | None = Field(None, alias="processing:expression")


class Item(_Placed):
    """An item of a run."""

    id: str
    geometry: dict[str, Any] | None
    links: list[_Link] = []
    assets: dict[str, _Asset]
    properties: _Properties
    stac_extensions: list[str] = []


class Mosaic(_Shape):
    """An entry of ``mosaics.json``, see ``upscaling.results.products.make_mosaics``."""

    asset: str
    step: str
    tiles: int
    index: str
    quicklook: str | None
    cog: str | None
    band_cogs: list[str]
    crs: str
    bounds: _Box
    bbox: _Box
    notices: list[str]


def fault_of(content: Any, shape: type[BaseModel] | None = None) -> str:
    """Return what is wrong with a document, and where, in one line; nothing if it is as its readers rely on it.

    Parameters
    ----------
    shape
        What it must be; an item, collection or catalogue by default.
    """
    if shape is None:
        shape = Item if isinstance(content, dict) and content.get("type") == "Feature" else Document
    try:
        shape.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        why = first["msg"].removeprefix("Value error, ").partition(" or instance of")[0]
        return ": ".join(filter(None, (".".join(map(str, first["loc"])), why)))
    return ""


def read_stac(path: Path, shape: type[BaseModel] | None = None, *, root: Path | None = None) -> dict[str, Any]:
    """Return an item, a collection or a catalogue of a run, see ``fault_of``.

    Raises
    ------
    UpscalingError
        It cannot be read, is not as its readers rely on it, or is a link that leads out of ``root``.
    """
    if root is not None and (outside := link_out(path, root)) is not None:
        raise UpscalingError(f"{path}: is a link to {outside}, outside the run's folder")
    try:
        content: dict[str, Any] = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise UpscalingError(f"{path}: cannot be read: {error}") from None
    if fault := fault_of(content, shape):
        raise UpscalingError(f"{path}: is not as in a STAC document: {fault}")
    return content


def read_mosaics(run_folder: Path, say: Callable[[str], Any] = lambda _: None) -> list[dict[str, Any]]:
    """Return what ``mosaics.json`` lists; nothing if there is none (yet).

    Parameters
    ----------
    say
        Is told a line for each entry that is damaged, and so left out.
    """
    path = run_folder / "mosaic" / MOSAICS
    faults = [(entry, fault_of(entry, Mosaic)) for entry in read_list(path, say)]
    for number, (_, fault) in enumerate(faults, 1):
        if fault:
            say(f"entry {number} of {len(faults)} in {path} is damaged ({fault}): {_ANEW}")
    return [entry for entry, fault in faults if not fault]


def read_list(path: Path, say: Callable[[str], Any]) -> list[dict[str, Any]]:
    """Return the list that a file beside the mosaics is, nothing without one; ``say`` is told if it is damaged."""
    try:
        found, why = orjson.loads(path.read_bytes()), "it is no list"
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        found, why = None, str(error)
    if not isinstance(found, list):
        say(f"{path} is damaged ({why}): {_ANEW}")
        return []
    return found
