"""Fill the inputs of an OGC process from a job's coordinates, in the standard's spelling, and refuse what cannot fit.

| input's schema                                                    | gets                                             |
|-------------------------------------------------------------------|--------------------------------------------------|
| `format: ogc-bbox`, an object with `bbox` and `crs`               | `{bbox, crs}`; CRS84 unless the schema's `crs`   |
|                                                                   | lists the tile's own                             |
| `format: geojson-geometry`, `-feature`, `-feature-collection`,    | the outline in EPSG:4326, as that kind           |
| `contentMediaType: application/geo+json`, or of that shape        |                                                  |
| string or four numbers named bbox, aoi, extent, …                 | west, south, east, north                         |
| string or integer named epsg, crs, srs                            | the tile's code; the four are then in it         |
| two dates or date-times in an array                               | the time step                                    |
| two dates or date-times named start… and end…                     | the time step's ends                             |
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from upscaling.algorithms.ogc_process import alternatives
from upscaling.binding.ogcapi_encodings import SPACE_FORMS, TIME_FORMS, space_form, time_forms, write_space, write_time
from upscaling.binding.openeo import Coordinates, refuse_unknown
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Parameter

__all__ = ["OgcBinder"]

_LARGEST_FILE = 10_000_000  # bytes of a file that is sent inside a request


class OgcBinder:
    """The inputs of every job of a run.

    Parameters
    ----------
    algorithm
        A pinned process.
    parameters
        The values from the configuration. An object with ``href`` (or ``value``) is sent as it is.
    bind
        Input -> form (``SPACE_FORMS``, ``TIME_FORMS``), for what the schema leaves open.
    space, time
        Whether the run has tiles, and time steps.
    each
        Inputs that a ``for_each`` dimension fills.
    qualified
        Whether objects are wrapped as ``{"value": …}``.

    Raises
    ------
    ConfigError
        For an unknown input, a value that does not fit its schema, a required input without one, or a dimension that
        nothing takes.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        parameters: Mapping[str, Any],
        bind: Mapping[str, str],
        *,
        space: bool = True,
        time: bool = False,
        each: Collection[str] = (),
        qualified: bool = True,
    ) -> None:
        self._known = {parameter.name: parameter for parameter in algorithm.parameters}
        self._qualified = qualified
        for names, key in ((parameters, "algorithm.parameters"), (bind, "algorithm.bind"), (each, "for_each")):
            refuse_unknown(algorithm, names, self._known, key)
        for name in set(parameters) & set(each):
            raise ConfigError("stands in for_each too; keep one", key=f"algorithm.parameters.{name}")
        self._fixed = {name: self._value(name, value, "algorithm.parameters") for name, value in parameters.items()}
        self.forms = _checked(bind, {*parameters, *each}, space=space, time=time)
        free = [p for p in algorithm.parameters if p.name not in {*parameters, *each, *bind}]
        if space:
            self._take_space(algorithm, free, parameters)
        if time:
            self._take_time(algorithm, free)
        for parameter in free:
            if parameter.name in self.forms:
                continue
            if parameter.required:
                key = "area" if not space and space_form(parameter) else f"algorithm.parameters.{parameter.name}"
                what = parameter.description.strip()
                raise ConfigError(f"is required by {algorithm.id}{f' ({what[:120]})' if what else ''}", key=key)
            # Servers differ in whether a default counts for an input that must occur: it is said.
            if parameter.default is not None and parameter.schema.get("x-minOccurs", 0) > 0:
                self._fixed[parameter.name] = self._spelled(parameter, parameter.default)

    def arguments(self, at: Coordinates) -> dict[str, Any]:
        """Return the ``inputs`` of one job's execution request.

        Raises
        ------
        ConfigError
            If a value of a ``for_each`` dimension, or a tile in the form that was bound, does not fit its schema.
        """
        given = {name: self._value(name, value, "for_each") for name, value in at.values.items()}
        filled = {name: self._filled(name, form, at) for name, form in self.forms.items()}
        return {**self._fixed, **given, **filled}

    def _filled(self, name: str, form: str, at: Coordinates) -> Any:
        parameter = self._known[name]
        if form in TIME_FORMS:
            assert at.step is not None  # noqa: S101 -- the constructor saw that the run has this dimension
            value = write_time(form, at.step, parameter)
        else:
            assert at.tile is not None  # noqa: S101 -- as above
            value = write_space(form, at.tile, parameter)
        _check(parameter, value, f"algorithm.bind.{name}")
        return self._spelled(parameter, value)

    def _take_space(self, algorithm: Algorithm, free: list[Parameter], parameters: Mapping[str, Any]) -> None:
        """Choose the inputs that the tile fills: those that must be, else the first that may be."""
        found = {p.name: form for p in free if (form := space_form(p))}
        required = {p.name for p in free if p.required}
        codes = [name for name, form in found.items() if form == "epsg"]
        areas = {name: form for name, form in found.items() if form != "epsg"}
        bound = any(form in SPACE_FORMS and form != "epsg" for form in self.forms.values())
        if bound or required & set(areas):
            areas = {name: form for name, form in areas.items() if name in required}
        elif areas:
            areas = dict(list(areas.items())[:1])
        else:
            fixed = [name for name in parameters if space_form(self._known[name])]
            held = f"; {fixed[0]} has a fixed value in algorithm.parameters" if fixed else ""
            raise ConfigError(
                f"no input of {algorithm.id} takes the tile{held}; name one and its form ({', '.join(SPACE_FORMS)}),"
                " or leave out the area and run it over a for_each dimension",
                key="algorithm.bind",
            )
        own_crs = bool(codes) or "epsg" in self.forms.values()
        for name, form in areas.items():
            in_degrees = not own_crs and form in {"bbox-array", "bbox-string"}
            self.forms[name] = f"{form}-lonlat" if in_degrees else form
        # A code is only told where the edges are in that CRS, or where it must be.
        told = any(form in {"bbox-array", "bbox-string"} for form in self.forms.values())
        self.forms |= {name: "epsg" for name in codes if told or name in required}

    def _take_time(self, algorithm: Algorithm, free: list[Parameter]) -> None:
        if any(form in TIME_FORMS for form in self.forms.values()):
            return
        found = time_forms(free)
        if not found:
            raise ConfigError(
                f"{algorithm.id} has no single interval, and no start and end date; name them in algorithm.bind"
                f" ({', '.join(TIME_FORMS)})",
                key="time",
            )
        self.forms |= found

    def _value(self, name: str, value: Any, key: str) -> Any:
        parameter = self._known[name]
        if isinstance(value, Mapping) and ("href" in value or "value" in value) and not _declares(parameter, value):
            if "value" in value:
                _check(parameter, value["value"], f"{key}.{name}")
            return dict(value)
        if isinstance(value, str) and (media_type := _media_type(parameter)):
            return _complex(value, media_type, f"{key}.{name}")
        _check(parameter, value, f"{key}.{name}")
        return self._spelled(parameter, value)

    def _spelled(self, parameter: Parameter, value: Any) -> Any:
        """Return a value as the request has it: objects are qualified, but for bounding boxes (1.0, 7.11.1.1)."""
        if isinstance(value, list):
            return [self._spelled(parameter, entry) for entry in value]
        if not isinstance(value, Mapping) or not self._qualified or set(value) <= {"bbox", "crs"}:
            return value
        geo = {"mediaType": "application/geo+json"} if value.get("type") and len(value) > 1 else {}
        return {"value": dict(value), **geo}


def _checked(bind: Mapping[str, str], given: Collection[str], *, space: bool, time: bool) -> dict[str, str]:
    for name, form in bind.items():
        key = f"algorithm.bind.{name}"
        if form not in {*SPACE_FORMS, *TIME_FORMS}:
            forms = ", ".join((*SPACE_FORMS, *TIME_FORMS))
            raise ConfigError(f"form must be one of {forms} (found {form!r})", key=key)
        if name in given:
            raise ConfigError("has a value elsewhere too; keep one", key=key)
        if form in TIME_FORMS and not time:
            raise ConfigError(f"{form} needs a time dimension", key=key)
        if form in SPACE_FORMS and not space:
            raise ConfigError(f"{form} needs an area", key=key)
    return dict(bind)


def _check(parameter: Parameter, value: Any, key: str) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(parameter.schema).iter_errors(value))
    if error is not None:
        path = "".join(f"[{part!r}]" for part in error.absolute_path)
        message = error.message if len(error.message) < 300 else f"{error.message[:297]}..."
        raise ConfigError(f"{message}{f' (at {path})' if path else ''}", key=key)


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
