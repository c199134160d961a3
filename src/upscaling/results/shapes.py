"""Shapes of the documents in a run's folder: what all that read them rely on. Schemas ask for more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, NotRequired

import orjson
from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

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


def _shape(name: str, needed: dict[str, Any], optional: dict[str, Any] | None = None) -> Any:
    """Return what checks objects with these members; others may be there. No models: these are ten thousands."""
    members = {member: NotRequired[kind] for member, kind in (optional or {}).items()} | needed
    made: Any = TypedDict  # of members that are known here only
    return with_config(ConfigDict(strict=True))(made(name, members))


_PLACED = {
    "bbox": _Box,
    "proj:bbox": Annotated[list[_Number], Field(min_length=4, max_length=6)] | None,
    "proj:transform": Annotated[list[_Number], Field(min_length=6, max_length=9)] | None,
    "proj:shape": Annotated[list[_Number], Field(min_length=2, max_length=2)] | None,
}
_MOMENTS = ("datetime", "start_datetime", "end_datetime", "created", "processing:datetime")
_LINK = _shape("Link", {"rel": str, "href": str})
_LINKS = {"links": GenericAlias(list, (_LINK,)), "stac_extensions": list[str]}
_ASSET = _shape("Asset", {"href": str}, {**_PLACED, "roles": list[str], "bands": list[dict[str, Any]]})
_ASSETS = GenericAlias(dict, (str, _ASSET))
_EXPRESSION = {"processing:expression": _shape("Expression", {"expression": Any}) | None}
_PROPERTIES = _shape("Properties", {}, {**_PLACED, **dict.fromkeys(_MOMENTS, _Moment), **_EXPRESSION})
# What any STAC document is; what it lacks beyond that is for its schema to say.
Document: TypeAdapter[Any] = TypeAdapter(
    _shape("Document", {}, {**_PLACED, **_LINKS, "assets": _ASSETS, "properties": dict[str, Any]})
)
# An item of a run.
Item: TypeAdapter[Any] = TypeAdapter(
    _shape(
        "Item",
        {"id": str, "geometry": dict[str, Any] | None, "assets": _ASSETS, "properties": _PROPERTIES},
        {**_PLACED, **_LINKS},
    )
)


# An entry of ``mosaics.json``, see ``upscaling.results.products.make_mosaics``.
Mosaic: TypeAdapter[Any] = TypeAdapter(
    _shape(
        "Mosaic",
        {
            **dict.fromkeys(("asset", "step", "index", "crs"), str),
            **dict.fromkeys(("quicklook", "cog"), str | None),
            **dict.fromkeys(("bounds", "bbox"), _Box),
            **dict.fromkeys(("band_cogs", "notices"), list[str]),
            "tiles": int,
        },
    )
)


def fault_of(content: Any, shape: TypeAdapter[Any] | None = None) -> str:
    """Return what is wrong with a document, and where, in one line; nothing if it is as its readers rely on it.

    Parameters
    ----------
    shape
        What it must be; an item, collection or catalogue by default.
    """
    if shape is None:
        shape = Item if isinstance(content, dict) and content.get("type") == "Feature" else Document
    try:
        shape.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        why = first["msg"].removeprefix("Value error, ").partition(" or instance of")[0]
        return ": ".join(filter(None, (".".join(map(str, first["loc"])), why)))
    return ""


def read_stac(path: Path, shape: TypeAdapter[Any] | None = None, *, root: Path | None = None) -> dict[str, Any]:
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
