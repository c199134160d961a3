"""CWL types as plain JSON, and values that fit them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = [
    "REMOTE_SCHEMES",
    "TypeMismatchError",
    "coerce",
    "describe",
    "is_optional",
    "members",
    "plain_type",
    "short_name",
]

REMOTE_SCHEMES = {"http", "https", "ftp", "s3", "gs"}


class TypeMismatchError(ValueError):
    """A value does not fit its CWL type; says what would."""


def short_name(identifier: str) -> str:
    """Return the name a person wrote: ``#main/bbox`` → ``bbox``, ``#ogc.yaml/BBox`` → ``BBox``."""
    return identifier.rpartition("#")[2].rpartition("/")[2]


def plain_type(cwl_type: Any, named: Mapping[str, Any]) -> Any:
    """Return a CWL type without references: names shortened, ``SchemaDefRequirement`` types put in place.

    Parameters
    ----------
    cwl_type
        The ``type`` of an input in a packed document.
    named
        Identifier → definition, of every ``SchemaDefRequirement`` of the document.

    Returns
    -------
    str, dict or list
        A primitive's name; ``{"type": "array" | "record" | "enum", …}``; or a list of alternatives.
    """
    if isinstance(cwl_type, str):
        return plain_type(named[cwl_type], named) if cwl_type in named else short_name(cwl_type)
    if isinstance(cwl_type, list):
        return [plain_type(member, named) for member in cwl_type]
    kind = short_name(cwl_type["type"])
    name = {"name": short_name(cwl_type["name"])} if "name" in cwl_type else {}
    if kind == "array":
        return {"type": "array", "items": plain_type(cwl_type["items"], named)}
    if kind == "enum":
        return {"type": "enum", **name, "symbols": [short_name(symbol) for symbol in cwl_type["symbols"]]}
    if kind == "record":
        fields = {short_name(f["name"]): plain_type(f["type"], named) for f in cwl_type.get("fields", [])}
        return {"type": "record", **name, "fields": fields}
    return plain_type(cwl_type["type"], named)


def members(schema: Any) -> Iterator[Any]:
    """Yield the alternatives of a type, ``null`` left out."""
    for member in schema if isinstance(schema, list) else [schema]:
        if isinstance(member, list):
            yield from members(member)
        elif member != "null":
            yield member


def is_optional(schema: Any) -> bool:
    """Return True if null is a value of the type."""
    return schema == "null" or (isinstance(schema, list) and any(is_optional(member) for member in schema))


def describe(schema: Any) -> str:
    """Return a type in the words of CWL: ``string``, ``int[]``, ``File or Directory``, ``BBox``."""
    if isinstance(schema, list):
        return " or ".join(describe(member) for member in members(schema))
    if isinstance(schema, str):
        return schema
    if schema["type"] == "array":
        inner = describe(schema["items"])
        return f"({inner})[]" if " or " in inner else f"{inner}[]"
    if schema["type"] == "enum":
        return "one of " + ", ".join(schema["symbols"])
    return str(schema.get("name") or "record of " + ", ".join(schema["fields"]))


def coerce(value: Any, schema: Any) -> Any:
    """Return ``value`` as the job order spells it if it fits the type.

    A path given for a File or a Directory becomes ``{"class": …, "path": …}``, absolute; a date given for a string its
    ISO 8601 spelling; a string given for a record whose only field is ``value`` (eoap ``string_format``) that record.

    Raises
    ------
    TypeMismatchError
        Saying what would fit, without the input's name.
    """
    if value is None:
        if is_optional(schema):
            return None
        raise TypeMismatchError(f"must be {describe(schema)}, not null")
    alternatives = list(members(schema))
    reasons = []
    for member in alternatives:
        try:
            return _conform_one(value, member)
        except TypeMismatchError as error:
            reasons.append(str(error))
    if len(alternatives) == 1:
        raise TypeMismatchError(reasons[0])
    missing = [reason for reason in reasons if reason.startswith("no such")]
    raise TypeMismatchError(missing[0] if missing else f"must be {describe(schema)}, not {_shown(value)}")


def _conform_one(value: Any, schema: Any) -> Any:
    if isinstance(schema, dict):
        return {"array": _array, "enum": _enum, "record": _record}[schema["type"]](value, schema)
    if schema in ("File", "Directory"):
        return _file(value, schema)
    if schema == "Any":
        return value
    if schema == "string" and isinstance(value, date | datetime):
        return value.isoformat()
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "int": number and isinstance(value, int) and abs(value) < 2**31,
        "long": number and isinstance(value, int),
        "float": number,
        "double": number,
    }
    if not fits.get(schema, False):
        raise TypeMismatchError(f"must be {schema}, not {_shown(value)}")
    return value


def _array(value: Any, schema: dict[str, Any]) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise TypeMismatchError(f"must be {describe(schema)}, not {_shown(value)}")
    result = []
    for index, element in enumerate(value):
        try:
            result.append(coerce(element, schema["items"]))
        except TypeMismatchError as error:
            raise TypeMismatchError(f"element {index}: {error}") from None
    return result


def _enum(value: Any, schema: dict[str, Any]) -> str:
    if value not in schema["symbols"]:
        raise TypeMismatchError(f"must be {describe(schema)}, not {_shown(value)}")
    return str(value)


def _record(value: Any, schema: dict[str, Any]) -> dict[str, Any]:
    fields = schema["fields"]
    if isinstance(value, str | date) and list(fields) == ["value"]:
        value = {"value": value}
    if not isinstance(value, Mapping):
        raise TypeMismatchError(f"must be {describe(schema)}, not {_shown(value)}")
    unknown = [name for name in value if name not in fields and name != "class"]
    if unknown:
        raise TypeMismatchError(f"{describe(schema)} has no field {unknown[0]}; it has {', '.join(fields)}")
    result = {}
    for name, field in fields.items():
        try:
            result[name] = coerce(value.get(name), field)
        except TypeMismatchError as error:
            raise TypeMismatchError(f"field {name}: {error}") from None
    return result


def _file(value: Any, kind: str) -> dict[str, Any]:
    """Return a CWL File or Directory object; a local one must exist, a remote one is left to the runner."""
    if isinstance(value, Mapping):
        if value.get("class") != kind:
            raise TypeMismatchError(f"must be {kind}, not {_shown(value.get('class'))}")
        if "contents" in value or "listing" in value:
            return dict(value)
        extra = {key: entry for key, entry in value.items() if key not in ("class", "path", "location")}
        value = value.get("path") or value.get("location")
    else:
        extra = {}
    if not isinstance(value, str | Path) or not str(value):
        raise TypeMismatchError(f"must be the path of a {kind}, not {_shown(value)}")
    parts = urlsplit(str(value))
    if parts.scheme in REMOTE_SCHEMES:
        return {"class": kind, "location": str(value), **extra}
    path = Path(unquote(parts.path) if parts.scheme == "file" else value).expanduser().absolute()
    if not (path.is_dir() if kind == "Directory" else path.is_file()):
        raise TypeMismatchError(f"no such {kind.lower()}: {path}")
    # A runner takes what follows a # in a path for the name of a part; an address has it escaped.
    place = {"location": path.as_uri()} if "#" in str(path) else {"path": str(path)}
    return {"class": kind, **place, **extra}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
