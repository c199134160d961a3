"""Which input of an algorithm takes items, and in which form: addresses, or local catalogues."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from upscaling.algorithms.cwl import images
from upscaling.algorithms.cwl.types import describe, members
from upscaling.errors import ConfigError
from upscaling.http.address import is_private, is_web
from upscaling.model import Algorithm, Parameter
from upscaling.stage_in.choose import Pinned
from upscaling.stage_in.web import is_remote
from upscaling.util.files import read_json

if TYPE_CHECKING:
    from upscaling.config import Config

__all__ = ["ITEMS", "Form", "form_of", "input_of", "staged_words", "unreachable", "written"]

Form = Literal["folder", "folders", "address", "addresses", "reference", "references"]
ITEMS = "upscaling:items"
"""Key of a CWL Directory in a plan that stands for a local catalogue: digests of the items that it is to hold."""
WORDS = {
    "folder": "a local catalogue",
    "folders": "a local catalogue per item",
    "address": "an item's address",
    "addresses": "the items' addresses",
    "reference": "an item by reference",
    "references": "the items by reference",
}
# The whole name must say it: product_type, image_format and input_count hold a part of these words, and no items.
_NAMES = re.compile(
    r"((eo|input|post|pre|reference|secondary|source|s[123]|sentinel\d?|stac)_?)?"
    r"(stac_?)?(acquisition|granule|image|input|item|product|reference|scene|stac)s?"
    r"(_?(address|href|link|list|reference|ur[il])(e?s)?)?",
    re.IGNORECASE,
)


def form_of(parameter: Parameter, kind: str) -> Form | None:
    """Return the form in which a parameter takes items, by its type alone; None if it cannot."""
    return _cwl_form(parameter.schema) if kind == "cwl" else _json_form(parameter.schema)


def staged_words(parameter: Parameter) -> str | None:
    """Return what an input of a package would get from ``stage_in``, if its type or name say that it takes items."""
    form = _cwl_form(parameter.schema)
    if form is None or not (form in {"folder", "folders"} or _says_items(parameter)):
        return None
    return WORDS[form]


def _says_items(parameter: Parameter) -> bool:
    """Return whether an input of text asks for items: by a type of addresses, or by the whole of its name.

    One whose default is a plain word (product: NDVI) does not.
    """
    if isinstance(parameter.default, str) and parameter.default and not set(parameter.default) & set("/:."):
        return False
    return bool(_NAMES.fullmatch(parameter.name.replace("-", "_"))) or "URI" in str(parameter.schema)


def _cwl_form(schema: Any) -> Form | None:
    for member in members(schema):
        if member == "Directory":
            return "folder"
        if _is_text(member):
            return "address"
        if isinstance(member, dict) and member["type"] == "array":
            inner = list(members(member["items"]))
            if "Directory" in inner:
                return "folders"
            if any(_is_text(one) for one in inner):
                return "addresses"
    return None


def _is_text(member: Any) -> bool:
    # eoap/schemas string_format.yaml#URI is a record of one field
    record = isinstance(member, dict) and member["type"] == "record" and list(member["fields"]) == ["value"]
    return member == "string" or (record and "URI" in str(member.get("name", "URI")))


def _json_form(schema: Any) -> Form | None:
    for one in schema if isinstance(schema, list) else [schema]:
        if not isinstance(one, Mapping):
            continue
        for alternative in [one, *one.get("oneOf", []), *one.get("anyOf", [])]:
            kinds = [] if "enum" in alternative else _types(alternative)
            if "array" in kinds:
                return "references" if _types(alternative.get("items")) == ["object"] else "addresses"
            if "string" in kinds or "object" in kinds:
                return "address" if "string" in kinds else "reference"
    return None


def _types(schema: Any) -> list[Any]:
    given = schema.get("type") if isinstance(schema, Mapping) else None
    return given if isinstance(given, list) else [given]


def input_of(algorithm: Algorithm, wanted: str | None, taken: Collection[str], *, key: str) -> tuple[str, Form]:
    """Return the input that takes the items, and the form.

    Parameters
    ----------
    wanted
        Its name in the configuration.
    taken
        Inputs that get their value otherwise.

    Raises
    ------
    ConfigError
        If there is none, or more than one could be meant.
    """
    known = {parameter.name: parameter for parameter in algorithm.parameters}
    if wanted is not None:
        if wanted not in known:
            raise ConfigError(f"{algorithm.id} has no input {wanted}; it has {', '.join(known) or 'none'}", key=key)
        if wanted in taken:
            raise ConfigError(f"{wanted} gets its value otherwise too; keep one", key=key)
        form = form_of(known[wanted], algorithm.kind)
        if form is None:
            told = describe(known[wanted].schema) if algorithm.kind == "cwl" else known[wanted].schema
            raise ConfigError(f"{wanted} takes no items: it is {told}", key=key)
        return wanted, form
    forms = {
        name: form
        for name, parameter in known.items()
        if name not in taken and (form := form_of(parameter, algorithm.kind))
    }
    for fits in (
        [name for name, form in forms.items() if form in {"folder", "folders"} and known[name].required],
        [name for name, form in forms.items() if form in {"folder", "folders"}],
        [name for name in forms if _says_items(known[name]) and known[name].required],
        [name for name in forms if _says_items(known[name])],
    ):
        if len(fits) == 1:
            return fits[0], forms[fits[0]]
        if fits:
            raise ConfigError(
                f"name the one of {', '.join(fits)} that takes the items; a list of blocks fills several", key=key
            )
    raise ConfigError(
        f"no input of {algorithm.id} seems to take items; name one of {', '.join(forms) or 'none'}", key=key
    )


def unreachable(config: Config, algorithm: Algorithm) -> str:
    """Return why the algorithm cannot read files of this machine by their paths; empty if it can."""
    backend = config.backend
    if backend.kind != "cwl":
        url = backend.url or str((algorithm.record or {}).get("service") or "")
        return "which the platform cannot read" if is_web(url) and not is_private(url) else ""
    if backend.container != "none" and images(read_json(algorithm.path)):
        return "which a container does not see"
    return ""


def written(items: Sequence[Pinned], form: Form, parameter: Parameter, *, key: str, closed: str = "") -> Any:
    """Return the value of an input that takes these items.

    Parameters
    ----------
    closed
        Why paths of this machine are of no use, or empty.

    Raises
    ------
    ConfigError
        If they are several and it takes one, or one has no address, or none of use, and it takes addresses.
    """
    if form == "folder":
        return _folder("items", items)
    if form == "folders":
        return [_folder(f"item-{number}", [item]) for number, item in enumerate(items)]
    if form in {"address", "reference"} and len(items) > 1:
        raise ConfigError(
            f"{parameter.name} takes one item, and a tile has {len(items)}; set limit: 1, and sort to choose which",
            key=f"{key}.limit",
        )
    addresses = [_address(item, parameter, key, closed) for item in items]
    values: list[Any] = list(addresses)
    if form in {"reference", "references"}:
        values = [{"href": address, "type": "application/geo+json"} for address in addresses]
    if form in {"addresses", "references"}:
        return values
    return values[0] if values else "" if parameter.required else None


def _folder(name: str, items: Sequence[Pinned]) -> dict[str, Any]:
    return {"class": "Directory", "basename": name, "listing": [], ITEMS: [item.digest for item in items]}


def _address(item: Pinned, parameter: Parameter, key: str, closed: str) -> str:
    if item.href is None:
        raise ConfigError(
            f"item {item.id} has no address (self link), which {parameter.name} takes; only a Directory can be filled"
            " from this catalogue",
            key=f"{key}.catalogue",
        )
    if is_remote(item.href):
        return item.href
    if closed:
        raise ConfigError(
            f"{parameter.name} takes addresses, and item {item.id} is a file of this machine, {closed}; only a"
            " Directory can be filled from this catalogue",
            key=f"{key}.catalogue",
        )
    as_uri = "record" in str(parameter.schema)
    return Path(item.href).as_uri() if as_uri else item.href
