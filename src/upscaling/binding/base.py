"""What all bindings share: the names that ask for a tile or a time step, the checks, and the binder itself."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from upscaling.binding.forms import FORMS
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Coordinates, Parameter, Tile

__all__ = [
    "BBOX_NAMES",
    "CRS_NAMES",
    "GEOMETRY_NAMES",
    "INTERVAL_NAMES",
    "Binder",
    "Choice",
    "MomentKind",
    "date_pair",
    "error_words",
    "named_form",
    "refuse_unknown",
    "schema_error",
    "time_choices",
]

BBOX_NAMES = {
    *("aoi", "area_of_interest", "bbox", "bounding_box", "boundingbox", "bounds", "extent", "region_of_interest"),
    *("roi", "spatial_extent"),
}
GEOMETRY_NAMES = BBOX_NAMES | {"feature", "footprint", "geojson", "geometry", "intersects", "polygon", "wkt"}
CRS_NAMES = {"aoi_crs", "bbox_crs", "crs", "epsg", "epsg_code", "srs"}
INTERVAL_NAMES = re.compile(
    r"(temporal|time|date)_?(extent|interval|range|period)|datetime|toi|time_of_interest", re.IGNORECASE
)
_BEFORE = r"((acquisition|date|datetime|period|search|sensing|temporal|time)[_\W]?)?"
_AFTER = r"([_\W]?(date|datetime|time|day|utc))*"
_START = re.compile(rf"{_BEFORE}(start|begin|from){_AFTER}", re.IGNORECASE)
_END = re.compile(rf"{_BEFORE}(end|stop|until|to){_AFTER}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Choice:
    """The form that a parameter gets, and why.

    Attributes
    ----------
    detail
        What the platform's ``encode`` has to know beyond the form.
    """

    form: str
    why: str = "algorithm.bind"
    detail: Any = None


def refuse_unknown(algorithm: Algorithm, given: Collection[str], known: Collection[str], key: str) -> None:
    """Raise ConfigError for the first name in ``given`` that the algorithm does not know."""
    import difflib

    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(known) or 'none'}"
            raise ConfigError(f"{algorithm.id} has no such parameter; {hint}", key=f"{key}.{name}")


def named_form(name: str, text: str, default: Any) -> str | None:
    """Return the form that an input of type text asks for by its name, description and default; None for none.

    A box stands in the tile's CRS where the algorithm is told that CRS, else in degrees: the binder decides.
    """
    name, text = name.lower().replace("-", "_"), text.lower()
    if name not in GEOMETRY_NAMES:
        return None
    if name == "wkt" or "wkt" in text or "well-known" in text:
        return "wkt"
    if "geojson" in text or name not in BBOX_NAMES:
        return "feature" if "feature" in text or name == "feature" else "geojson"
    by_default = isinstance(default, str) and re.fullmatch(r"\s*-?[\d.]+(\s+-?[\d.]+){3}\s*", default)
    by_words = re.search(r"(space|blank)s?[ -](separ|delim)|(separ|delim)\w+ by (a )?(white)?(space|blank)", text)
    return "bbox-spaces" if by_default or by_words else "bbox-string"


def schema_error(schema: Any, value: Any, *, draft7: bool = False) -> Any:
    """Return what of a value does not fit a JSON schema (a ``ValidationError``), or None.

    A schema that is not valid, or refers to elsewhere, checks nothing: the platform does.
    """
    import jsonschema
    from jsonschema.exceptions import SchemaError, UnknownType, best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    kind = jsonschema.Draft7Validator if draft7 else jsonschema.Draft202012Validator
    try:
        return best_match(kind(schema, registry=Registry()).iter_errors(value))
    except (SchemaError, UnknownType, Unresolvable, re.error, TypeError, ValueError):
        return None


def error_words(error: Any) -> str:
    """Return a validation error as one line, with the path to what is wrong."""
    path = "".join(f"[{part!r}]" for part in error.absolute_path)
    message = error.message if len(error.message) < 300 else f"{error.message[:297]}..."
    return f"{message}{f' (at {path})' if path else ''}"


MomentKind = Literal["interval", "date", "date-time", "text"]
"""What a parameter's type says of time: two moments, a date, a date-time, or any text."""


def date_pair(kinds: Mapping[str, MomentKind | None]) -> tuple[str, str] | None:
    """Return the parameters for the first and the last day, if exactly one of each is among those given."""
    starts, ends = ([name for name, kind in kinds.items() if _is_date(name, kind, p)] for p in (_START, _END))
    return (starts[0], ends[0]) if len(starts) == len(ends) == 1 else None


def _is_date(name: str, kind: MomentKind | None, pattern: re.Pattern[str]) -> bool:
    """Whether a parameter is a date by its type, or a plain text by the whole of its name."""
    if kind in {"date", "date-time"}:
        return any(pattern.fullmatch(part) for part in (name, *re.split(r"[_\W]", name)))
    return kind == "text" and pattern.fullmatch(name) is not None


class Binder(ABC):
    """The arguments of every job of a run.

    Parameters
    ----------
    algorithm
        A pinned algorithm.
    parameters
        The values from the configuration.
    bind
        Parameter -> form (``FORMS``), for what the schema leaves open.
    space, time
        Whether the run has tiles, and time steps.
    each
        Parameters that another dimension fills: ``for_each``, or staged items.
    searched
        Whether the time steps may be there for a search of items alone.

    Raises
    ------
    ConfigError
        If the configuration names a parameter that the algorithm does not have, a value does not fit, a required one
        is missing, or a dimension has no parameter to go to. All of it before anything is sent: 21 processes of the
        APEx catalogue run silently over their default area if their spatial parameter is misspelled.
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
        searched: bool = False,
    ) -> None:
        self.algorithm, self.parameters, self.each = algorithm, parameters, each
        self.known = {parameter.name: parameter for parameter in algorithm.parameters}
        for names, key in ((parameters, "algorithm.parameters"), (bind, "algorithm.bind"), (each, "for_each")):
            refuse_unknown(algorithm, names, self.known, key)
        for name in parameters:
            if name in each:
                raise ConfigError("stands in for_each too; keep one", key=f"algorithm.parameters.{name}")
        self.fixed = {
            name: self.given(self.known[name], value, f"algorithm.parameters.{name}")
            for name, value in parameters.items()
        }
        _check_forms(bind, {*parameters, *each}, space=space, time=time)
        self.choices = {name: self.bound(self.known[name], form) for name, form in bind.items()}
        free = [p for p in algorithm.parameters if p.name not in {*parameters, *each, *bind}]
        if space:
            self.choices |= self.take_space(free)
            if not self._takes("area"):
                self.refuse_space()
        else:
            self.without_space(free)
        if time and not self._takes("step"):
            self.choices |= self._time(free, searched=searched)
        for parameter in free:
            if parameter.name not in self.choices:
                self.left_out(parameter, space=space)

    # --- what a platform decides ---

    @abstractmethod
    def given(self, parameter: Parameter, value: Any, key: str) -> Any:
        """Return a value of the configuration as it is sent; raise ConfigError if it does not fit."""

    @abstractmethod
    def take_space(self, free: Sequence[Parameter]) -> dict[str, Choice]:
        """Return which of the free parameters the tile fills."""

    @staticmethod
    @abstractmethod
    def moment(parameter: Parameter) -> MomentKind | None:
        """Return what a parameter's type says of time; None if it takes no time."""

    @classmethod
    def time_choices(cls, parameters: Iterable[Parameter]) -> dict[str, Choice]:
        """Return which parameters a time step fills: the one interval, else a start and an end; else nothing."""
        return time_choices({parameter.name: cls.moment(parameter) for parameter in parameters})

    def wants_moments(self, parameter: Parameter) -> bool:
        """Return whether a parameter takes date-times, and no dates."""
        kind = self.moment(parameter)
        return kind == "date-time" or (kind == "text" and "datetime" in parameter.name.lower())

    @abstractmethod
    def encode(self, parameter: Parameter, choice: Choice, value: Any, at: Coordinates) -> Any:
        """Return a form's value as this parameter's type wants it; raise ConfigError if it does not fit."""

    @abstractmethod
    def left_out(self, parameter: Parameter, *, space: bool) -> None:
        """Raise ConfigError if a parameter that nothing fills needs a value."""

    def is_area(self, parameter: Parameter) -> bool:
        """Return whether a parameter asks for a place."""
        return any(FORMS[choice.form].of == "area" for choice in self.take_space([parameter]).values())

    def bound(self, parameter: Parameter, form: str) -> Choice:  # noqa: ARG002 -- platforms look at it
        """Return the choice for a form that the configuration names."""
        return Choice(form)

    def without_space(self, free: Sequence[Parameter]) -> None:  # noqa: B027 -- most leave it to left_out
        """Refuse a run without an area where a parameter needs one."""

    def tile_for(self, choice: Choice, tile: Tile | None) -> Tile | None:  # noqa: ARG002 -- platforms look at it
        """Return the tile that a form is written of."""
        return tile

    # --- the common part ---

    @property
    def forms(self) -> dict[str, str]:
        """The form that each parameter gets which a tile or time step fills."""
        return {name: choice.form for name, choice in self.choices.items()}

    def _takes(self, what: str) -> bool:
        return any(FORMS[choice.form].of == what for choice in self.choices.values())

    def refuse_space(self) -> None:
        """Say that no parameter takes the tile."""
        fixed = [name for name in self.parameters if self.is_area(self.known[name])]
        if fixed:
            raise ConfigError(
                f"{fixed[0]} is the area of {self.algorithm.id} and comes from the tile: leave it out here",
                key=f"algorithm.parameters.{fixed[0]}",
            )
        raise ConfigError(
            f"{self.algorithm.id} has no spatial parameter that a tile could fill (it has:"
            f" {', '.join(self.known) or 'none'}); leave out the area and run it over a for_each dimension, or name a"
            " parameter in algorithm.bind",
            key="area",
        )

    def _time(self, free: Sequence[Parameter], *, searched: bool) -> dict[str, Choice]:
        """Return which parameters a time step fills: the only interval, else the start and end dates."""
        kinds = {p.name: self.moment(p) for p in free if p.name not in self.choices and (p.required or not searched)}
        found = time_choices(kinds)
        if found or searched:
            return found
        name = self.algorithm.id
        taken = [p for p in self.parameters if self.moment(self.known[p]) == "interval"]
        if taken:
            raise ConfigError(
                "comes from the time dimension: leave it out here", key=f"algorithm.parameters.{taken[0]}"
            )
        intervals = [parameter for parameter, kind in kinds.items() if kind == "interval"]
        if intervals:
            raise ConfigError(
                f"{name} has {len(intervals)} temporal intervals ({', '.join(intervals)}): bind `time` to the one that"
                " takes the steps, and give the others a value",
                key="algorithm.bind",
            )
        forms = ", ".join(name for name, form in FORMS.items() if form.of == "step")
        raise ConfigError(
            f"{name} has no temporal interval, and no start and end date; name them in algorithm.bind ({forms})",
            key="time",
        )

    def arguments(self, at: Coordinates) -> dict[str, Any]:
        """Return the arguments of one job: what is sent, and what its key is made of.

        Raises
        ------
        ConfigError
            If a value of a ``for_each`` dimension does not fit, or a tile or step cannot be written in its form.
        """
        given = {name: self.given(self.known[name], value, f"for_each.{name}") for name, value in at.values.items()}
        at = Coordinates(at.tile, at.step, {**self.fixed, **given})
        return {**self.fixed, **given, **{name: self._filled(name, at) for name in self.choices}}

    def _filled(self, name: str, at: Coordinates) -> Any:
        choice, parameter = self.choices[name], self.known[name]
        form = FORMS[choice.form]
        where = at.step if form.of == "step" else self.tile_for(choice, at.tile)
        assert where is not None  # noqa: S101 -- the constructor saw that the run has this dimension
        value = form.write(where)
        if form.of == "step" and self.wants_moments(parameter):
            value = _as_moments(value)
        return self.encode(parameter, choice, value, at)


def time_choices(kinds: Mapping[str, MomentKind | None]) -> dict[str, Choice]:
    """Return which parameters a time step fills, by what their types say of time.

    Empty if there is none, or more than one interval: a service that compares two periods must not get one twice.
    """
    intervals = [name for name, kind in kinds.items() if kind == "interval"]
    if intervals:
        return {intervals[0]: Choice("time", "its type is a temporal interval")} if len(intervals) == 1 else {}
    pair = date_pair(kinds)
    forms = zip(pair or (), ("time-start", "time-end"), strict=False)
    return {name: Choice(form, "its name and type") for name, form in forms}


def _as_moments(value: Any) -> Any:
    if isinstance(value, list):
        return [f"{day}T00:00:00Z" for day in value]
    return "/".join(f"{day}T00:00:00Z" for day in value.split("/"))


def _check_forms(bind: Mapping[str, str], given: Collection[str], *, space: bool, time: bool) -> None:
    for name, form in bind.items():
        key = f"algorithm.bind.{name}"
        if form not in FORMS:
            raise ConfigError(f"form must be one of {', '.join(FORMS)} (found {form!r})", key=key)
        if name in given:
            raise ConfigError("has a value elsewhere too; keep one", key=key)
        if FORMS[form].of == "step" and not time:
            raise ConfigError(f"{form} needs a time dimension", key=key)
        if FORMS[form].of != "step" and not space:
            raise ConfigError(f"{form} needs an area", key=key)
