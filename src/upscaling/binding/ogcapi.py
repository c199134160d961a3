"""Fill the inputs of an OGC process from a job's coordinates, as the standard writes them, and refuse what cannot fit.

| input's schema                                                    | gets                                             |
|-------------------------------------------------------------------|--------------------------------------------------|
| `format: ogc-bbox`, an object with `bbox` and `crs`               | `{bbox, crs}`; CRS84 unless the schema's `crs`   |
|                                                                   | lists the tile's own                             |
| `format: geojson-geometry`, `-feature`, `-feature-collection`,    | the outline in EPSG:4326, as that kind           |
| `contentMediaType: application/geo+json`, or of that shape        |                                                  |
| string or four numbers named bbox, aoi, extent, …                 | west, south, east, north; WKT or GeoJSON where   |
|                                                                   | its description says so                          |
| string or integer named epsg, crs, srs                            | the tile's code; the four are then in it         |
| two dates or date-times in an array                               | the time step                                    |
| two dates or date-times named start… and end…                     | the time step's ends                             |
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upscaling.algorithms.ogc_process import CRS84, types_of
from upscaling.binding.base import (
    BBOX_NAMES,
    CRS_NAMES,
    INTERVAL_NAMES,
    Binder,
    Choice,
    MomentKind,
    error_words,
    named_form,
    schema_error,
)
from upscaling.binding.forms import FORMS, Box
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Coordinates, Parameter, Tile
from upscaling.util.values import alternatives

__all__ = ["OgcBinder", "space_choice"]

_LARGEST_FILE = 10_000_000  # bytes of a file that is sent inside a request
_GEOJSON = {
    "geojson-geometry": "geojson",
    "geojson-feature": "feature",
    "geojson-feature-collection": "feature-collection",
}
_WHY = "its schema and name"


class OgcBinder(Binder):
    """The inputs of every job of a run of an OGC process.

    Parameters
    ----------
    qualified
        Whether objects are wrapped as ``{"value": …}``. An object with ``href`` (or ``value``) is sent as it is.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        parameters: Mapping[str, Any],
        bind: Mapping[str, str],
        *,
        qualified: bool = True,
        **run: Any,
    ) -> None:
        self._qualified = qualified
        super().__init__(algorithm, parameters, bind, **run)

    def given(self, parameter: Parameter, value: Any, key: str) -> Any:
        """Return a value by value or by reference, as the standard has it."""
        if isinstance(value, Mapping) and ("href" in value or "value" in value) and not _declares(parameter, value):
            if "value" in value:
                _check(parameter, value["value"], key)
            return dict(value)
        if isinstance(value, str) and (media_type := _media_type(parameter)):
            return _complex(value, media_type, key)
        _check(parameter, value, key)
        return self._qualify(value)

    def take_space(self, free: Sequence[Parameter]) -> dict[str, Choice]:
        """Return the inputs that the tile fills: those that must be, else the first that may be."""
        found = {p.name: choice for p in free if (choice := space_choice(p))}
        required = {p.name for p in free if p.required}
        codes = [name for name, choice in found.items() if choice.form == "epsg"]
        areas = {name: choice for name, choice in found.items() if choice.form != "epsg"}
        bound = {name: FORMS[form.form] for name, form in self.choices.items()}
        if any(form.of == "area" for form in bound.values()) or required & set(areas):
            areas = {name: choice for name, choice in areas.items() if name in required}
        else:
            areas = dict(list(areas.items())[:1])
        own_crs = bool(codes) or "epsg" in self.forms.values()
        for name, choice in areas.items():
            if choice.form in _OF_EDGES and not own_crs:
                areas[name] = Choice(f"{choice.form}-lonlat", choice.why)
        # A code is only told where the edges are in that CRS, or where it must be.
        told = any(choice.form in _OF_EDGES for choice in {**self.choices, **areas}.values())
        return areas | {name: found[name] for name in codes if told or name in required}

    @staticmethod
    def moment(parameter: Parameter) -> MomentKind | None:
        """Return what an input's schema says of time."""
        kinds: set[MomentKind] = set()
        for schema in alternatives(parameter.schema):
            items = schema.get("items") or {}
            if "array" in types_of(schema) and (
                str(items.get("format")).startswith("date")
                or (items.get("type") == "string" and INTERVAL_NAMES.fullmatch(parameter.name))
            ):
                return "interval"
            if "string" in types_of(schema) and "enum" not in schema:
                named = str(schema.get("format"))
                kinds.add("date-time" if named == "date-time" else "date" if named == "date" else "text")
        return next((kind for kind in ("date-time", "date", "text") if kind in kinds), None)

    def wants_moments(self, parameter: Parameter) -> bool:
        """Return whether the schema asks for date-times."""
        formats = {str(schema.get("format")) for schema in alternatives(parameter.schema)}
        formats |= {str((schema.get("items") or {}).get("format")) for schema in alternatives(parameter.schema)}
        return "date-time" in formats or super().wants_moments(parameter)

    def encode(self, parameter: Parameter, choice: Choice, value: Any, at: Coordinates) -> Any:
        """Return a form's value as this input writes it, checked against its schema."""
        types = set().union(*map(types_of, alternatives(parameter.schema)))
        if isinstance(value, Box):
            assert at.tile is not None  # noqa: S101 -- a box is of a tile
            value = _box(value, parameter, choice, at.tile)
        elif choice.form == "epsg":
            if not isinstance(value, int):
                raise ConfigError("the tiles' CRS has no EPSG code", key="algorithm.bind")
            if "integer" not in types:
                value = str(value) if str(parameter.default or "").isdigit() else f"EPSG:{value}"
        elif isinstance(value, dict) and types == {"string"}:
            value = json.dumps(value)
        _check(parameter, value, f"algorithm.bind.{parameter.name}")
        return self._qualify(value)

    def left_out(self, parameter: Parameter, *, space: bool) -> None:
        """Refuse a required input without a value; write a default where an input must occur."""
        if parameter.required:
            key = "area" if not space and space_choice(parameter) else f"algorithm.parameters.{parameter.name}"
            what = parameter.description.strip()
            raise ConfigError(f"is required by {self.algorithm.id}{f' ({what[:120]})' if what else ''}", key=key)
        # Servers differ in whether a default counts for an input that must occur: it is said.
        if parameter.default is not None and parameter.schema.get("x-minOccurs", 0) > 0:
            self.fixed[parameter.name] = self._qualify(parameter.default)

    def _qualify(self, value: Any) -> Any:
        """Return a value as the request has it: objects are qualified, but for bounding boxes (1.0, 7.11.1.1)."""
        if isinstance(value, list):
            return [self._qualify(entry) for entry in value]
        if not isinstance(value, Mapping) or not self._qualified or set(value) <= {"bbox", "crs"}:
            return value
        geo = {"mediaType": "application/geo+json"} if value.get("type") and len(value) > 1 else {}
        return {"value": dict(value), **geo}


_OF_EDGES = {"bbox-array", "bbox-spaces", "bbox-string"}


def space_choice(parameter: Parameter) -> Choice | None:
    """Return the form of the tile that an input's schema and name ask for; None if it is no place."""
    name = parameter.name.lower().replace("-", "_")
    for schema in alternatives(parameter.schema):
        if choice := _choice_of(schema, name, parameter):
            return choice
    return None


def _choice_of(schema: Mapping[str, Any], name: str, parameter: Parameter) -> Choice | None:
    members = set(schema.get("properties") or ())
    kinds = types_of(schema)
    form = None
    if schema.get("format") == "ogc-bbox" or {"bbox", "crs"} <= members:
        form = "bbox-auto"
    elif schema.get("format") in _GEOJSON:
        form = _GEOJSON[str(schema["format"])]
    elif "geo+json" in str(schema.get("contentMediaType")) or {"type", "coordinates"} <= members:
        form = "geojson"
    elif {"type", "geometry"} <= members:
        form = "feature"
    elif {"type", "features"} <= members:
        form = "feature-collection"
    elif "object" in kinds and name == "intersects":
        form = "geojson"
    elif "array" in kinds and name in BBOX_NAMES and (schema.get("items") or {}).get("type") in {"number", "integer"}:
        form = "bbox-array"
    elif "string" in kinds and "enum" not in schema and "format" not in schema:
        form = named_form(name, parameter.description, parameter.default)
    if form is None and kinds & {"string", "integer"} and name in CRS_NAMES and "enum" not in schema:
        form = "epsg"
    return Choice(form, _WHY) if form else None


def _listed_crs(parameter: Parameter) -> list[str]:
    return [
        str(name)
        for schema in alternatives(parameter.schema)
        for crs in alternatives((schema.get("properties") or {}).get("crs"))
        for name in crs.get("enum") or []
    ]


def _box(box: Box, parameter: Parameter, choice: Choice, tile: Tile) -> Any:
    """Return a bounding box with its CRS by the name that the schema lists, else by its address."""
    listed, automatic = _listed_crs(parameter), choice.form == "bbox-auto"
    if choice.form in {"bbox", "bbox-auto"}:
        own = [name for name in listed if re.search(rf"EPSG\W+(\d*\W+)?{tile.epsg}$", name, re.IGNORECASE)]
        if not automatic and tile.epsg is None:
            raise ConfigError("the tiles' CRS has no EPSG code; use the form bbox-lonlat", key="algorithm.bind")
        if not automatic or own:
            crs = own[0] if automatic else f"http://www.opengis.net/def/crs/EPSG/0/{tile.epsg}"
            return {"bbox": list(box.edges), "crs": crs}
        box = FORMS["bbox-lonlat"].write(tile)
    # Servers made from CWL know the name without its address.
    degrees = [name for name in listed if name.endswith("CRS84")]
    return {"bbox": list(box.edges), "crs": degrees[0] if degrees else CRS84}


def _check(parameter: Parameter, value: Any, key: str) -> None:
    if error := schema_error(parameter.schema, value):
        raise ConfigError(error_words(error), key=key)


def _declares(parameter: Parameter, value: Mapping[str, Any]) -> bool:
    """Whether the process's own objects have these members, so that they are not the standard's."""
    return any(set(value) <= set(schema.get("properties") or ()) for schema in alternatives(parameter.schema))


def _media_type(parameter: Parameter) -> str:
    found = (str(schema.get("contentMediaType") or "") for schema in alternatives(parameter.schema))
    return next(filter(None, found), "")


def _complex(text: str, media_type: str, key: str) -> Any:
    """Return a complex value by reference for an address, by value for a file, else the text itself."""
    if text.startswith(("http://", "https://", "s3://")):
        return {"href": text, "type": media_type}
    path = Path(text)
    try:
        is_file = path.is_file()
    except OSError:
        is_file = False
    if not is_file:
        if re.fullmatch(r"[\w./~-]+\.\w{1,8}", text):
            raise ConfigError(f"no such file: {text}", key=key)
        return {"value": text, "mediaType": media_type}
    if path.stat().st_size > _LARGEST_FILE:
        raise ConfigError(f"{text} is too large to be sent in a request; give its URL", key=key)
    content = path.read_bytes()
    if "json" in media_type:
        try:
            return {"value": json.loads(content), "mediaType": media_type}
        except ValueError:
            raise ConfigError(f"{text} is not JSON", key=key) from None
    if media_type.startswith("text/") or "xml" in media_type:
        return {"value": content.decode("utf-8", "replace"), "mediaType": media_type}
    return {"value": base64.b64encode(content).decode(), "encoding": "base64", "mediaType": media_type}
