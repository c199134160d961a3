"""Bind an application package's inputs: a form's value is written as the input's CWL type wants it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from upscaling.algorithms.cwl.types import TypeMismatchError, coerce, describe, members
from upscaling.binding.base import (
    BBOX_NAMES,
    CRS_NAMES,
    GEOMETRY_NAMES,
    INTERVAL_NAMES,
    Binder,
    Choice,
    MomentKind,
    named_form,
)
from upscaling.binding.forms import FORMS, Box, number_text
from upscaling.errors import ConfigError
from upscaling.model import Bounds, Coordinates, Parameter, Tile

__all__ = ["CwlBinder", "space_choice"]

_TYPE, _NAME = "its type", "its name and type"


class CwlBinder(Binder):
    """The job order of every tile of a run of a package.

    Bounds are passed as they are, in the tile's CRS, where the package is told that CRS; else as the envelope in
    degrees, which is larger than a projected tile. A path stands for a File or a Directory.
    """

    def given(self, parameter: Parameter, value: Any, key: str) -> Any:
        """Return a value as its type has it; raise ConfigError if it does not fit, or a file is not there."""
        if value is None and not parameter.required:
            return None
        try:
            return coerce(value, parameter.schema)
        except TypeMismatchError as error:
            raise ConfigError(str(error), key=key) from None

    def take_space(self, free: Sequence[Parameter]) -> dict[str, Choice]:
        """Return every input whose type, or type and name, say that it holds a place or its CRS."""
        found = {p.name: choice for p in free if (choice := space_choice(p))}
        areas = [*self.choices.values(), *(choice for choice in found.values() if choice.detail != "text")]
        enough = any(FORMS[choice.form].of == "area" for choice in areas)
        # An optional WKT beside another area would say the same twice.
        return {n: c for n, c in found.items() if c.detail != "text" or self.known[n].required or not enough}

    def bound(self, parameter: Parameter, form: str) -> Choice:  # noqa: ARG002 -- as the base has it
        """Return the choice for a form; `bbox` and `bbox-array` follow the CRS that the package is told."""
        return Choice(form, detail="by CRS" if form in {"bbox", "bbox-array", "bbox-auto"} else None)

    @staticmethod
    def moment(parameter: Parameter) -> MomentKind | None:
        """Return what an input's type says of time."""
        for member in members(parameter.schema):
            if isinstance(member, dict) and member["type"] == "array":
                if INTERVAL_NAMES.fullmatch(parameter.name) and all(_is_text(one) for one in members(member["items"])):
                    return "interval"
            elif isinstance(member, dict) and _is_text(member):
                # eoap/schemas string_format.yaml: Date and DateTime are records of one field
                named = str(member.get("name", "")).rpartition("#")[2].lower()
                return "date" if named == "date" else "date-time" if named == "datetime" else "text"
            elif member == "string":
                return "text"
        return None

    def encode(self, parameter: Parameter, choice: Choice, value: Any, at: Coordinates) -> Any:
        """Return the first way to write a value that its type takes."""
        key, reason, tile = f"algorithm.bind.{parameter.name}", "", at.tile
        if choice.form == "epsg" and not isinstance(value, int):
            raise ConfigError(f"the tiles' CRS has no EPSG code, which {parameter.name} takes", key=key)
        if tile is not None and choice.detail == "by CRS" and not self._is_projected(at, tile):
            value = FORMS["bbox-spaces-lonlat" if choice.form == "bbox-spaces" else "bbox-lonlat"].write(tile)
        for member in members(parameter.schema):
            for written in _written(value, member, choice.form, parameter, tile):
                try:
                    return coerce(written, member)
                except TypeMismatchError as error:
                    reason = reason or str(error)
        raise ConfigError(f"the form {choice.form} does not fit {describe(parameter.schema)}: {reason}", key=key)

    def left_out(self, parameter: Parameter, *, space: bool) -> None:  # noqa: ARG002 -- as the base has it
        """Refuse a required input without a value."""
        if parameter.required:
            kind = describe(parameter.schema)
            hint = ", or a block of stage_in that fills it" if "Directory" in kind else ""
            raise ConfigError(
                f"{self.algorithm.id} needs a value of type {kind}{hint}",
                key=f"algorithm.parameters.{parameter.name}",
            )

    def _is_projected(self, at: Coordinates, tile: Tile) -> bool:
        """Return whether the package is told the tile's CRS, by the tile or by a value of the configuration."""
        if "epsg" in self.forms.values():
            return True
        for name, value in at.values.items():
            choice = space_choice(self.known[name])
            if choice is None or choice.form != "epsg" or value is None:
                continue
            if str(value) in (tile.crs, str(tile.epsg)):
                return True
            if str(value).rpartition(":")[2] not in ("4326", "CRS84"):
                raise ConfigError(
                    f"is {value}, but the tile is in {tile.crs}: leave it out", key=f"algorithm.parameters.{name}"
                )
        return False


def space_choice(parameter: Parameter) -> Choice | None:
    """Return the form that an input's type and name ask for, or None."""
    name = parameter.name.lower().replace("-", "_")
    choices = (_choice_of(member, name, parameter) for member in members(parameter.schema))
    return next((choice for choice in choices if choice), None)


def _choice_of(member: Any, name: str, parameter: Parameter) -> Choice | None:  # noqa: PLR0911 -- one a type
    if isinstance(member, dict):
        fields = member.get("fields", {})
        if {"bbox", "crs"} <= set(fields):
            return Choice("eoap-bbox", _TYPE)
        if {"type", "geometry"} <= set(fields):
            return Choice("feature", _TYPE)
        if {"type", "coordinates"} <= set(fields) and "Polygon" in describe(fields["type"]):
            return Choice("geojson", _TYPE)
        numbers = member.get("items") in ("double", "float")
        return Choice("bbox-array", _NAME, "by CRS") if name in BBOX_NAMES and numbers else None
    if name in CRS_NAMES:
        text = member == "string" and _is_epsg(parameter.default)
        return Choice("epsg", _NAME) if text or member in ("int", "long") else None
    if member == "File" and name in GEOMETRY_NAMES:
        return Choice("geojson", _NAME)
    form = named_form(name, parameter.description, parameter.default) if member == "string" else None
    if form == "bbox-string":
        return Choice("bbox", _NAME, "by CRS")
    detail = {"wkt": "text", "bbox-spaces": "by CRS"}.get(form or "")
    return Choice(form, "its name and description", detail) if form else None


def _is_epsg(default: Any) -> bool:
    """Return True if a default (or its absence) allows for EPSG codes."""
    return default is None or str(default).isdigit() or str(default).upper().startswith("EPSG:")


def _is_text(member: Any) -> bool:
    return member == "string" or (
        isinstance(member, dict) and member["type"] == "record" and list(member["fields"]) == ["value"]
    )


def _written(value: Any, member: Any, form: str, parameter: Parameter, tile: Tile | None) -> Iterator[Any]:
    """Yield the ways to write a form's value for one type, in order; ``coerce`` says which fits."""
    if isinstance(value, Box):
        yield from _boxes(value.edges, member)
    elif form == "bbox-array" and isinstance(value, list):
        yield [number_text(edge) for edge in value] if _items(member) == "string" else value
    elif form == "epsg" and member == "string":
        yield str(value) if str(parameter.default or "").isdigit() else f"EPSG:{value}"
    elif form == "geojson":
        yield from _geometries(value, member, tile)
    elif form == "feature" and isinstance(member, dict) and "geometry" in member.get("fields", {}):
        plain = _as_type(value, member, tile)
        for inner in members(member["fields"]["geometry"]):
            if isinstance(inner, dict) and "Polygon" in describe(inner.get("fields", {}).get("type", "null")):
                yield from ({**plain, "geometry": one} for one in _geometries(value["geometry"], inner, tile))
    elif isinstance(value, dict) or (form == "wkt" and member == "File"):
        yield _as_type(value, member, tile)
    else:
        yield value


def _items(member: Any) -> Any:
    return member.get("items") if isinstance(member, dict) else None


def _boxes(edges: Bounds, member: Any) -> Iterator[Any]:
    if isinstance(member, dict) and member["type"] == "record":
        # eoap/schemas ogc.yaml knows CRS84 only, and by its short name in a job order
        yield {"bbox": list(edges), "crs": "CRS84"}
    elif isinstance(member, dict):
        yield [number_text(edge) for edge in edges] if _items(member) == "string" else list(edges)
    else:
        yield ",".join(map(number_text, edges))


def _geometries(geometry: dict[str, Any], member: Any, tile: Tile | None) -> Iterator[Any]:
    if not isinstance(member, dict):
        yield _as_type(geometry, member, tile)
        return
    assert tile is not None  # noqa: S101 -- an outline is of a tile
    whole = {**geometry, "bbox": FORMS["feature"].write(tile)["bbox"]}
    yield _as_type(whole, member, tile)
    # eoap/schemas geojson.yaml types the coordinates of a Polygon as one ring, without the list of rings
    yield _as_type({**whole, "coordinates": geometry["coordinates"][0]}, member, tile)


def _as_type(value: Any, member: Any, tile: Tile | None) -> Any:
    """Return a GeoJSON object (or WKT) as the record, text or File that the type asks for."""
    text = value if isinstance(value, str) else json.dumps(value)
    if member == "string":
        return text
    if member == "File" and tile is not None:
        ending = "wkt" if isinstance(value, str) else "geojson"
        return {"class": "File", "basename": f"{tile.id}.{ending}", "contents": text}
    if isinstance(member, dict) and member["type"] == "record" and isinstance(value, dict):
        return {name: value.get(name) for name in member["fields"]}
    return value
