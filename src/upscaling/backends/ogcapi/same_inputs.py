"""Whether a job was sent certain inputs, though its server repeats them in an encoding of its own.

Servers fill in defaults, wrap values (``{"value": …}``), write 2.0 as 2 or "2", cut or add time zones, turn outlines
round, add fields, and hide or shorten what is large. Three answers are possible; ``OTHER`` only where two plain values
differ for certain.
"""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

__all__ = ["Match", "as_mapping", "canonical", "same_inputs"]

_CLOSE = 1e-6  # relative, and absolute: servers round; tiles differ by more than a micrometre, or 0.1 m in degrees
_WRAPPING = {"value", "mediaType", "format", "schema", "encoding", "type", "dataType", "uom", "id", "title"}
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?\s*(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)
_NUMBERS = re.compile(r"\s*[-+]?\d[\d.eE+-]*(\s*[,;\s]\s*[-+]?\d[\d.eE+-]*)+\s*")
_HIDDEN = re.compile(r"^[*•x.…<\[(]*$|^<.*>$|^\[.*(redacted|hidden|omitted|truncated).*\]$|…$|\.\.\.$", re.IGNORECASE)
_OFFSETS = dt.timedelta(hours=14)  # by which a time without a zone may be off


class Match(enum.Enum):
    """What a comparison could tell."""

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"


def same_inputs(sent: Mapping[str, Any], told: Any, defaults: Mapping[str, Any] | None = None) -> Match:
    """Compare what was to be sent with what a server says that a job was sent.

    Parameters
    ----------
    told
        What more it names, it filled in.
    defaults
        Of the process: a server may leave them out.
    """
    known = as_mapping(told)
    if known is None:
        return Match.UNKNOWN
    found = []
    for name, value in sent.items():
        if name in known:
            found.append(_compare(value, known[name]))
        else:
            is_default = defaults is not None and name in defaults and _compare(value, defaults[name]) is Match.SAME
            found.append(Match.SAME if is_default else Match.UNKNOWN)
    return _all(found)


def as_mapping(told: Any) -> Mapping[str, Any] | None:
    """Return inputs as input -> value, also where they are a list of objects with an id each; else None."""
    if isinstance(told, Mapping):
        return told
    if isinstance(told, list) and told and all(isinstance(entry, Mapping) and "id" in entry for entry in told):
        found: dict[str, list[Any]] = {}
        for entry in told:
            value = next((entry[name] for name in ("value", "data", "href") if name in entry), None)
            found.setdefault(str(entry["id"]), []).append({"href": value} if "href" in entry else value)
        return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
    return None


def canonical(inputs: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return some of a job's inputs in one encoding, to look them up by; those that are not told are None."""
    return {name: _plain(inputs.get(name)) for name in names}


def _plain(value: Any) -> Any:
    value = _unwrapped(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(f"{value:.9g}") if math.isfinite(value) else str(value)
    moment = _moment(value)
    return moment.isoformat() if moment else value


def _all(found: Iterable[Match]) -> Match:
    listed = list(found)
    if Match.OTHER in listed:
        return Match.OTHER
    return Match.UNKNOWN if Match.UNKNOWN in listed else Match.SAME


def _known(same: bool) -> Match:
    return Match.SAME if same else Match.OTHER


def _unwrapped(value: Any) -> Any:
    """Return the value in ``{"value": …}``, however often it is wrapped."""
    while isinstance(value, Mapping) and "value" in value and set(value) <= _WRAPPING:
        value = value["value"]
    return value


def _compare(sent: Any, told: Any) -> Match:
    sent, told = _unwrapped(sent), _unwrapped(told)
    sent, told = _parsed(sent, told), _parsed(told, sent)
    if isinstance(sent, Mapping):
        return _compare_objects(sent, told) if isinstance(told, Mapping) else Match.UNKNOWN
    if isinstance(sent, Sequence) and not isinstance(sent, str):
        if not isinstance(told, list | tuple):
            return _compare(sent[0], told) if len(sent) == 1 else Match.UNKNOWN
        return _compare_lists(list(sent), list(told))
    if isinstance(told, list | tuple):  # a single value as a list of one
        return _compare(sent, told[0]) if len(told) == 1 else Match.UNKNOWN
    return _compare_scalars(sent, told)


def _parsed(value: Any, other: Any) -> Any:
    """Return the object or list that a text is the JSON of, or its numbers, where the other value is none of text."""
    if not isinstance(value, str) or isinstance(other, str):
        return value
    text = value.strip()
    if text[:1] in {"{", "["}:
        try:
            return _unwrapped(json.loads(text))
        except (ValueError, RecursionError):
            return value
    if isinstance(other, list | tuple) and _NUMBERS.fullmatch(text):
        numbers = [_number(part) for part in re.split(r"[,;\s]+", text)]
        return numbers if None not in numbers else value
    return value


def _compare_objects(sent: Mapping[str, Any], told: Mapping[str, Any]) -> Match:
    return _all(_compare(value, told[name]) if name in told else Match.UNKNOWN for name, value in sent.items())


def _compare_lists(sent: list[Any], told: list[Any]) -> Match:
    ours, theirs = _points(sent), _points(told)
    if ours is not None and theirs is not None:
        return _compare_points(ours, theirs)
    if len(sent) != len(told):
        return Match.UNKNOWN
    found = _all(_compare(one, other) for one, other in zip(sent, told, strict=True))
    if found is Match.OTHER and not all(isinstance(part, int | float) for part in sent):  # in another order, perhaps
        left = list(told)
        for one in sent:
            match = next((other for other in left if _compare(one, other) is Match.SAME), None)
            if match is None:
                return found
            left.remove(match)
        return Match.SAME
    return found


def _points(value: Any) -> list[tuple[float, ...]] | None:
    """Return the points of nested lists of coordinates; None for anything else, a plain list of numbers too."""
    if not isinstance(value, list) or not value or not all(isinstance(part, list) and part for part in value):
        return None
    found: list[tuple[float, ...]] = []
    for part in value:
        if all(isinstance(number, int | float) and not isinstance(number, bool) for number in part):
            found.append(tuple(map(float, part[:2])))
        else:
            inner = _points(part)
            if inner is None:
                return None
            found += inner
    return found


def _compare_points(sent: list[tuple[float, ...]], told: list[tuple[float, ...]]) -> Match:
    """Compare outlines: where they begin, and which way round they go, is a matter of taste; where they lie is not."""

    def near(point: tuple[float, ...], others: list[tuple[float, ...]]) -> bool:
        return any(all(map(_is_close, point, other)) for other in others)

    if all(near(point, told) for point in sent) and all(near(point, sent) for point in told):
        return Match.SAME
    boxes = [[pick(axis) for axis in zip(*points, strict=False) for pick in (min, max)] for points in (sent, told)]
    alike = len(boxes[0]) == len(boxes[1]) and all(map(_is_close, *boxes))
    return Match.UNKNOWN if alike else Match.OTHER


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _truth(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False, "1": True, "0": False}.get(str(value).strip().lower())


def _compare_scalars(sent: Any, told: Any) -> Match:
    if sent is None or told is None:
        return Match.SAME if sent is told else Match.UNKNOWN
    if isinstance(sent, bool) or isinstance(told, bool):
        truths = _truth(sent), _truth(told)
        return Match.UNKNOWN if None in truths else _known(truths[0] == truths[1])
    if not isinstance(sent, str) or not isinstance(told, str):
        one, other = _number(sent), _number(told)
        return Match.UNKNOWN if one is None or other is None else _known(_is_close(one, other))
    return _compare_texts(sent, told)


def _compare_texts(sent: str, told: str) -> Match:
    one, other = (" ".join(unquote(text).split()).rstrip("/").casefold() for text in (sent, told))
    if one == other:
        return Match.SAME
    read = _compare_readings(one, other)
    if read is not None:
        return read
    if _HIDDEN.search(other) or one.startswith(other) or other.startswith(one):
        return Match.UNKNOWN
    structured = any(text[:1] in {"{", "["} or "(" in text for text in (one, other))  # JSON, or WKT
    return Match.UNKNOWN if structured else Match.OTHER


def _compare_readings(one: str, other: str) -> Match | None:
    """Compare two texts as what they are the text of: JSON, intervals, times, numbers; None if they are not alike."""
    texts = (one, other)
    if all(text[:1] in {"{", "["} for text in texts):
        parsed = [_parsed(text, None) for text in texts]
        return None if any(isinstance(value, str) for value in parsed) else _compare(*parsed)
    if "/" in one and one.count("/") == other.count("/") and _moment(one.split("/", maxsplit=1)[0]):
        return _all(_compare_texts(*parts) for parts in zip(one.split("/"), other.split("/"), strict=True))
    moments = [_moment(text) for text in texts]
    if moments[0] and moments[1]:
        return _compare_moments(one, other, moments[0], moments[1])
    if all(_NUMBERS.fullmatch(text) for text in texts):
        return _compare_lists(*([_number(part) for part in re.split(r"[,;\s]+", text)] for text in texts))
    values = [_number(text) for text in texts]
    return None if values[0] is None or values[1] is None else _known(_is_close(values[0], values[1]))


def _moment(value: Any) -> dt.datetime | None:
    """Return the time that a text is, as UTC where it names no zone; None for anything else."""
    if not isinstance(value, str) or not _TIME.fullmatch(value.strip()):
        return None
    try:
        moment = dt.datetime.fromisoformat(value.strip().upper())
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)


def _compare_moments(sent: str, told: str, one: dt.datetime, other: dt.datetime) -> Match:
    apart = abs(one - other)
    if apart < dt.timedelta(seconds=1):
        return Match.SAME
    zoned = [re.search(r"(Z|[+-]\d\d:?\d\d)$", text.strip()[10:], re.IGNORECASE) is not None for text in (sent, told)]
    in_another_zone = zoned[0] != zoned[1] and apart <= _OFFSETS
    return Match.UNKNOWN if in_another_zone else Match.OTHER
