"""Fill an openEO process's parameters from a job's coordinates, and refuse what would go wrong silently."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from upscaling.dimensions import Step
from upscaling.errors import ConfigError
from upscaling.tiles import Algorithm, Parameter, Tile
from upscaling.udp import subtypes

__all__ = ["FORMS", "TIME_FORMS", "Binder", "Coordinates", "refuse_unknown", "temporal_extent"]


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where a job stands in each dimension of its run."""

    tile: Tile | None
    step: Step | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def _bbox(tile: Tile) -> dict[str, Any]:
    # Projected bounds with their CRS: a lon/lat box of a UTM tile grows by up to a fifth when it is projected back.
    west, south, east, north = tile.bounds
    return {"west": west, "south": south, "east": east, "north": north, "crs": tile.epsg or tile.crs}


def _bbox_lonlat(tile: Tile) -> dict[str, Any]:
    from pyproj import Transformer

    transformer = Transformer.from_crs(tile.crs, "EPSG:4326", always_xy=True)
    west, south, east, north = transformer.transform_bounds(*tile.bounds, densify_pts=21)
    return {"west": west, "south": south, "east": east, "north": north, "crs": 4326}


def _geojson(tile: Tile) -> dict[str, Any]:
    if tile.geometry is None:
        raise ConfigError(f"tile {tile.id} has no outline", key="area.grid")
    return tile.geometry


_SPACE_FORMS: dict[str, Callable[[Tile], Any]] = {
    "bbox": _bbox,
    "bbox-lonlat": _bbox_lonlat,
    "geojson": _geojson,
    "epsg": lambda tile: tile.epsg or tile.crs,
    "tile-id": lambda tile: tile.id,
}
TIME_FORMS: dict[str, Callable[[Step], Any]] = {
    "time": lambda step: [step.start, step.end],
    "time-start": lambda step: step.start,
    "time-end": lambda step: step.end,
    "time-last-day": lambda step: (dt.date.fromisoformat(step.end) - dt.timedelta(days=1)).isoformat(),
}
FORMS = (*_SPACE_FORMS, *TIME_FORMS)
"""What a parameter can take from a job's coordinates; ``algorithm.bind`` chooses by these names."""

_BY_SUBTYPE = {"bounding-box": "bbox", "geojson": "geojson"}  # in order of preference


class Binder:
    """The arguments of every job of a run.

    Parameters
    ----------
    algorithm
        A pinned openEO process.
    parameters
        The values from the configuration.
    bind
        Parameter -> form, for what the schema's subtype leaves open.
    space, time
        Whether the run has tiles, and time steps.
    each
        Parameters that a ``for_each`` dimension fills.

    Raises
    ------
    ConfigError
        If the configuration names a parameter that the process does not have, a value does not fit its schema, a
        required one is missing, or a dimension has no parameter to go to. All of it before anything is sent: 21
        processes of the APEx catalogue run silently over their default area if their spatial parameter is misspelled.
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
    ) -> None:
        known = {parameter.name: parameter for parameter in algorithm.parameters}
        refuse_unknown(algorithm, parameters, known, "algorithm.parameters")
        refuse_unknown(algorithm, bind, known, "algorithm.bind")
        refuse_unknown(algorithm, each, known, "for_each")
        for name, value in parameters.items():
            _check_value(known[name], value)
        _check_forms(bind, [*parameters, *each], space=space, time=time)
        self._fixed = dict(parameters)
        taken = {*parameters, *each, *bind}
        free = [parameter for parameter in algorithm.parameters if parameter.name not in taken]
        self.forms = dict(bind)
        self._take_space(algorithm, free, parameters, space=space)
        if time:
            self._take_time(algorithm, free, parameters)
        for name in each:
            if name in parameters:
                raise ConfigError("stands in for_each too; keep one", key=f"algorithm.parameters.{name}")
        for parameter in free:
            if parameter.required and parameter.name not in self.forms:
                hint = f" ({parameter.description.strip()})" if parameter.description.strip() else ""
                raise ConfigError(f"is required by {algorithm.id}{hint}", key=f"algorithm.parameters.{parameter.name}")

    def _take_space(
        self, algorithm: Algorithm, free: list[Parameter], parameters: Mapping[str, Any], *, space: bool
    ) -> None:
        spatial = {
            parameter.name: form
            for parameter in free
            if (form := _form_by_subtype(parameter)) and parameter.name not in self.forms
        }
        if not space:
            if spatial:
                name = next(iter(spatial))
                raise ConfigError(f"{name} of {algorithm.id} would stay on its default: give an area", key="area")
            return
        self.forms |= spatial
        if not any(form in _SPACE_FORMS for form in self.forms.values()):
            raise ConfigError(_no_spatial(algorithm, parameters), key="algorithm.parameters")

    def _take_time(self, algorithm: Algorithm, free: list[Parameter], parameters: Mapping[str, Any]) -> None:
        if any(form in TIME_FORMS for form in self.forms.values()):
            return
        intervals = [parameter for parameter in free if "temporal-interval" in subtypes(parameter.schema)]
        if intervals:
            self.forms |= {parameter.name: "time" for parameter in intervals}
            return
        dates = [parameter.name for parameter in free if _is_date(parameter)]
        starts, ends = ([name for name in dates if word in name.lower()] for word in ("start", "end"))
        if len(starts) == len(ends) == 1:
            self.forms |= {starts[0]: "time-start", ends[0]: "time-end"}
            return
        given = [
            p.name for p in algorithm.parameters if p.name in parameters and "temporal-interval" in subtypes(p.schema)
        ]
        if given:
            raise ConfigError(
                "comes from the time dimension: leave it out here", key=f"algorithm.parameters.{given[0]}"
            )
        raise ConfigError(
            f"{algorithm.id} has no temporal interval, and no start and end date; name them in algorithm.bind"
            f" ({', '.join(TIME_FORMS)})",
            key="time",
        )

    def arguments(self, at: Coordinates) -> dict[str, Any]:
        """Return the arguments of one job: what is sent, and what its key is made of."""
        filled = {name: _fill(form, at) for name, form in self.forms.items()}
        return {**self._fixed, **at.values, **filled}


def _fill(form: str, at: Coordinates) -> Any:
    if form in TIME_FORMS:
        assert at.step is not None  # noqa: S101 -- _check_forms saw that the run has a time dimension
        return TIME_FORMS[form](at.step)
    assert at.tile is not None  # noqa: S101 -- and tiles
    return _SPACE_FORMS[form](at.tile)


def refuse_unknown(algorithm: Algorithm, given: Collection[str], known: Collection[str], key: str) -> None:
    """Raise ConfigError for the first name in ``given`` that the algorithm does not know."""
    import difflib

    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(known) or 'none'}"
            raise ConfigError(f"{algorithm.id} has no such parameter; {hint}", key=f"{key}.{name}")


def _check_forms(bind: Mapping[str, str], given: Collection[str], *, space: bool, time: bool) -> None:
    for name, form in bind.items():
        key = f"algorithm.bind.{name}"
        if form not in FORMS:
            raise ConfigError(f"form must be one of {', '.join(FORMS)} (found {form!r})", key=key)
        if name in given:
            raise ConfigError("has a value elsewhere too; keep one", key=key)
        if form in TIME_FORMS and not time:
            raise ConfigError(f"{form} needs a time dimension", key=key)
        if form in _SPACE_FORMS and not space:
            raise ConfigError(f"{form} needs an area", key=key)


def _check_value(parameter: Parameter, value: Any) -> None:
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import best_match

    schemas = parameter.schema if isinstance(parameter.schema, list) else [parameter.schema]
    error = best_match(Draft7Validator({"anyOf": schemas}).iter_errors(value))
    if error is not None:
        path = "".join(f"[{part!r}]" for part in error.absolute_path)
        message = f"{error.message}{f' (at {path})' if path else ''}"
        raise ConfigError(message, key=f"algorithm.parameters.{parameter.name}")


def _form_by_subtype(parameter: Parameter) -> str | None:
    admitted = subtypes(parameter.schema)
    return next((form for subtype, form in _BY_SUBTYPE.items() if subtype in admitted), None)


def _is_date(parameter: Parameter) -> bool:
    schemas = parameter.schema if isinstance(parameter.schema, list) else [parameter.schema]
    return any(schema.get("type") == "string" and "enum" not in schema for schema in schemas)


def _no_spatial(algorithm: Algorithm, parameters: Mapping[str, Any]) -> str:
    fixed = [p.name for p in algorithm.parameters if p.name in parameters and _form_by_subtype(p)]
    if fixed:
        return f"{fixed[0]} is the area of {algorithm.id} and comes from the tile: leave it out here"
    return (
        f"{algorithm.id} has no spatial parameter (bounding-box or geojson) that a tile could fill;"
        " run it over a for_each dimension, without area"
    )


def temporal_extent(algorithm: Algorithm, arguments: Mapping[str, Any]) -> tuple[str | None, str | None] | None:
    """Return the first temporal interval among arguments and defaults, for items where nothing better is known.

    Returns
    -------
    (start, end) as openEO has them (half-open), or None if the process has no temporal interval.
    """
    for parameter in algorithm.parameters:
        if "temporal-interval" in subtypes(parameter.schema):
            value = arguments.get(parameter.name, parameter.default)
            if isinstance(value, list) and len(value) == 2:
                return value[0], value[1]
    return None
