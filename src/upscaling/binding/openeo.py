"""Fill an openEO process's parameters from a job's coordinates, and refuse what would go wrong silently."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from upscaling.algorithms.udp import subtypes
from upscaling.binding.openeo_encodings import (
    SPACE_FORMS,
    TIME_FORMS,
    Spelling,
    alternatives,
    date_pair,
    space_form,
    takes_polygons,
    time_spelling,
)
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Parameter, Step, Tile
from upscaling.util.files import read_json

__all__ = [
    "FORMS",
    "TIME_FORMS",
    "Binder",
    "Coordinates",
    "check_arguments",
    "check_value",
    "refuse_unknown",
    "temporal_extent",
    "time_forms",
]


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where a job stands in each dimension of its run."""

    tile: Tile | None
    step: Step | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


FORMS = (*SPACE_FORMS, *TIME_FORMS)
"""What a parameter can take from a job's coordinates; ``algorithm.bind`` chooses by these names."""


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
        self._known = {parameter.name: parameter for parameter in algorithm.parameters}
        self._graph = read_json(algorithm.path)["process_graph"]
        refuse_unknown(algorithm, parameters, self._known, "algorithm.parameters")
        refuse_unknown(algorithm, bind, self._known, "algorithm.bind")
        refuse_unknown(algorithm, each, self._known, "for_each")
        for name, value in parameters.items():
            check_value(self._known[name], value, self._graph, key=f"algorithm.parameters.{name}")
        _check_forms(bind, [*parameters, *each], space=space, time=time)
        self._fixed = dict(parameters)
        taken = {*parameters, *each, *bind}
        free = [parameter for parameter in algorithm.parameters if parameter.name not in taken]
        self.spellings = {name: self._bound(name, form) for name, form in bind.items()}
        self._take_space(algorithm, free, parameters, space=space)
        if time:
            self._take_time(algorithm, free, parameters)
        for name in each:
            if name in parameters:
                raise ConfigError("stands in for_each too; keep one", key=f"algorithm.parameters.{name}")
        for parameter in free:
            if parameter.required and parameter.name not in self.spellings:
                raise ConfigError(_wanted(algorithm, parameter), key=f"algorithm.parameters.{parameter.name}")

    @property
    def forms(self) -> dict[str, str]:
        """The form that each parameter gets which a coordinate fills."""
        return {name: spelling.form for name, spelling in self.spellings.items()}

    def _bound(self, name: str, form: str) -> Spelling:
        parameter = self._known[name]
        if form in TIME_FORMS:
            return time_spelling(form, parameter, "algorithm.bind")
        own = space_form(parameter, self._graph)
        return own if own and own.form == form else Spelling(form, SPACE_FORMS[form])

    def _take_space(
        self, algorithm: Algorithm, free: list[Parameter], parameters: Mapping[str, Any], *, space: bool
    ) -> None:
        spatial = {p.name: spelling for p in free if (spelling := space_form(p, self._graph))}
        if not space:
            if spatial:
                name = next(iter(spatial))
                stays = "has no value" if self._known[name].required else "would stay on its default"
                raise ConfigError(f"{name} of {algorithm.id} {stays}: give an area", key="area")
            return
        self.spellings |= spatial
        if any(spelling.form in SPACE_FORMS for spelling in self.spellings.values()):
            return
        fixed = [name for name in parameters if space_form(self._known[name], self._graph)]
        if fixed:
            raise ConfigError(
                f"{fixed[0]} is the area of {algorithm.id} and comes from the tile: leave it out here",
                key=f"algorithm.parameters.{fixed[0]}",
            )
        has = ", ".join(self._known) or "none"
        raise ConfigError(
            f"{algorithm.id} has no spatial parameter that a tile could fill (it has: {has}); leave out the area and"
            " run it over a for_each dimension, or name a parameter in algorithm.bind",
            key="area",
        )

    def _take_time(self, algorithm: Algorithm, free: list[Parameter], parameters: Mapping[str, Any]) -> None:
        if any(spelling.form in TIME_FORMS for spelling in self.spellings.values()):
            return
        found = time_forms(free)
        if found:
            self.spellings |= found
            return
        given = [p.name for p in algorithm.parameters if p.name in parameters and _is_interval(p)]
        if given:
            raise ConfigError(
                "comes from the time dimension: leave it out here", key=f"algorithm.parameters.{given[0]}"
            )
        intervals = [parameter.name for parameter in free if _is_interval(parameter)]
        if intervals:
            raise ConfigError(
                f"{algorithm.id} has {len(intervals)} temporal intervals ({', '.join(intervals)}): bind `time` to the"
                " one that takes the steps, and give the others a value",
                key="algorithm.bind",
            )
        raise ConfigError(
            f"{algorithm.id} has no temporal interval, and no start and end date; name them in algorithm.bind"
            f" ({', '.join(TIME_FORMS)})",
            key="time",
        )

    def arguments(self, at: Coordinates) -> dict[str, Any]:
        """Return the arguments of one job: what is sent, and what its key is made of.

        Raises
        ------
        ConfigError
            If a value of a ``for_each`` dimension does not fit its schema, or a tile cannot be said in a form.
        """
        for name, value in at.values.items():
            check_value(self._known[name], value, self._graph, key=f"for_each.{name}")
        filled = {name: _fill(spelling, at) for name, spelling in self.spellings.items()}
        return {**self._fixed, **at.values, **filled}


def time_forms(parameters: Sequence[Parameter]) -> dict[str, Spelling]:
    """Return which parameters a time dimension fills: the only temporal interval, else the start and end dates.

    Empty if there is none, or more than one interval: a service that compares two periods must not get one twice.
    """
    intervals = [parameter for parameter in parameters if _is_interval(parameter)]
    if intervals:
        why = "its type is temporal-interval"
        return {p.name: time_spelling("time", p, why) for p in intervals} if len(intervals) == 1 else {}
    pair = date_pair(parameters)
    if pair is None:
        return {}
    forms = zip(pair, ("time-start", "time-end"), strict=True)
    return {parameter.name: time_spelling(form, parameter, "its name and type") for parameter, form in forms}


def _is_interval(parameter: Parameter) -> bool:
    return "temporal-interval" in subtypes(parameter.schema)


def _is_geojson(value: Any) -> bool:
    kinds = {"Polygon", "MultiPolygon", "GeometryCollection", "Feature", "FeatureCollection"}
    return isinstance(value, Mapping) and value.get("type") in kinds


def _wanted(algorithm: Algorithm, parameter: Parameter) -> str:
    description = " ".join(parameter.description.split())
    short = textwrap.shorten(description, 120, placeholder=" …")
    also = "; a time dimension fills it too" if _is_interval(parameter) else ""
    return f"is required by {algorithm.id}{f' ({short})' if short else ''}{also}"


def _fill(spelling: Spelling, at: Coordinates) -> Any:
    where = at.step if spelling.form in TIME_FORMS else at.tile
    assert where is not None  # noqa: S101 -- the constructor saw that the run has this dimension
    return spelling.write(where)


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
        if form in SPACE_FORMS and not space:
            raise ConfigError(f"{form} needs an area", key=key)


def check_arguments(algorithm: Algorithm, arguments: Mapping[str, Any], *, key: str) -> None:
    """Check the arguments of one call, as a benchmark scenario makes it.

    Raises
    ------
    ConfigError
        For a name that the process does not have, a value that does not fit, or a required one that is missing.
        A value from another node of the scenario's graph is not looked at.
    """
    known = {parameter.name: parameter for parameter in algorithm.parameters}
    graph = read_json(algorithm.path)["process_graph"]
    refuse_unknown(algorithm, arguments, known, key)
    for name, value in arguments.items():
        if not (isinstance(value, Mapping) and "from_node" in value):
            check_value(known[name], value, graph, key=f"{key}.{name}")
    for parameter in algorithm.parameters:
        if parameter.required and parameter.name not in arguments:
            raise ConfigError(_wanted(algorithm, parameter), key=f"{key}.{parameter.name}")


def check_value(parameter: Parameter, value: Any, graph: Mapping[str, Any], *, key: str) -> None:
    """Check a value against a parameter's schema; of several alternatives it must fit one.

    GeoJSON is taken for a bounding box where the parameter goes to a process of ``graph`` that takes polygons.

    Raises
    ------
    ConfigError
        Names ``key`` and what is wrong; intervals must also be dates, in order.
    """
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import best_match

    if _is_geojson(value) and takes_polygons(parameter, graph):
        return
    schemas = list(alternatives(parameter.schema))
    failures = [best_match(Draft7Validator(schema).iter_errors(value)) for schema in schemas]
    if failures and all(failures):
        fitting = [error for error in failures if error.absolute_path or error.validator != "type"]
        error = (fitting or failures)[0]
        path = "".join(f"[{part!r}]" for part in error.absolute_path)
        kinds = [str(schema.get("subtype") or schema.get("type")) for schema in schemas]
        if fitting or len(schemas) == 1:
            raise ConfigError(f"{error.message}{f' (at {path})' if path else ''}", key=key)
        raise ConfigError(f"{value!r} is none of: {', '.join(kinds)}", key=key)
    if _is_interval(parameter) and isinstance(value, list) and len(value) == 2:
        _check_interval(value, key)


def _check_interval(value: Sequence[Any], key: str) -> None:
    moments = [_moment(text, key) for text in value]
    if moments == [None, None]:
        raise ConfigError("is open at both ends", key=key)
    if None not in moments and moments[0] >= moments[1]:  # type: ignore[operator]  # neither is None
        raise ConfigError(f"must be [start, end) with start before end (found {list(value)})", key=key)


def _moment(text: Any, key: str) -> str | None:
    """Return a date or date-time as a string that sorts; a year or a month stands for its first day."""
    if text is None:
        return None
    try:
        whole = str(text) + "-01-01"[len(str(text)) - 4 :] if len(str(text)) in (4, 7) else str(text)
        found = dt.datetime.fromisoformat(whole)
    except ValueError:
        raise ConfigError(f"{text!r} is no date (2023-06-01) or date-time (2023-06-01T00:00:00Z)", key=key) from None
    return found.astimezone(dt.UTC).isoformat() if found.tzinfo else f"{found.isoformat()}+00:00"


def temporal_extent(algorithm: Algorithm, arguments: Mapping[str, Any]) -> tuple[str | None, str | None] | None:
    """Return the first temporal interval among arguments and defaults, for items where nothing better is known.

    Returns
    -------
    (start, end) as openEO has them (half-open), or None if the process has no temporal interval, and no start and
    end date.
    """
    for parameter in algorithm.parameters:
        if _is_interval(parameter):
            value = arguments.get(parameter.name, parameter.default)
            if isinstance(value, list) and len(value) == 2:
                return value[0], value[1]
    pair = date_pair(algorithm.parameters)
    if pair is None:
        return None
    start, end = (arguments.get(parameter.name, parameter.default) for parameter in pair)
    return (start, end) if isinstance(start, str) and isinstance(end, str) else None
