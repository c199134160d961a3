"""Whether a job was sent certain inputs, though its server repeats them in an encoding of its own.

Servers fill in defaults, wrap values (``{"value": …}``), write 2.0 as 2 or "2", cut or add time zones, turn outlines
round, add fields, and hide or shorten what is large. Three answers are possible; ``OTHER`` only where two plain values
differ for certain.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from upscaling.backends.ogcapi.same_values import (
    Match,
    all_of,
    compare_numbers,
    compare_scalars,
    crs_code,
    moment_of,
    number_of,
)

__all__ = ["Match", "as_mapping", "canonical", "same_inputs"]

_INNER = ("value", "data", "inlineValue", "literal", "literalData", "input")
_WRAPPING = {*_INNER, "mediaType", "format", "schema", "encoding", "type", "dataType", "uom", "id", "title"}
_OF_A_LINK = {"type", "mediaType", "format", "rel", "title", "length", "hreflang", "class", "basename"}
_ADDRESSES = ("href", "location", "path", "url")
_SHAPES = {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"}
_WKT = re.compile(r"\s*(?:SRID=\d+;)?\s*(?:MULTI)?(?:POINT|LINESTRING|POLYGON)\s*Z?\s*\(", re.IGNORECASE)
_NUMBERS = re.compile(r"\s*[-+]?\d[\d.eE+-]*(\s*[,;\s]\s*[-+]?\d[\d.eE+-]*)+\s*")
_LARGEST_DEGREE = 400


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
    plain = {str(name).casefold(): value for name, value in known.items()}
    for name, value in sent.items():
        if name in known or name.casefold() in plain:
            found.append(_compare(value, known[name] if name in known else plain[name.casefold()]))
        elif value is None:
            found.append(Match.SAME)
        else:
            is_default = defaults is not None and name in defaults and _compare(value, defaults[name]) is Match.SAME
            found.append(Match.SAME if is_default else Match.UNKNOWN)
    for name in (defaults or {}).keys() & known.keys() - sent.keys():  # filled in, or it was sent another value
        if defaults and defaults[name] is not None and _compare(defaults[name], known[name]) is Match.OTHER:
            found.append(Match.UNKNOWN)
    return all_of(found)


def as_mapping(told: Any) -> Mapping[str, Any] | None:
    """Return inputs as input -> value, also where they are a list of objects with an id each; else None."""
    if isinstance(told, Mapping):
        return told
    for key in ("id", "name", "identifier"):
        if not isinstance(told, list) or not told or not all(isinstance(e, Mapping) and key in e for e in told):
            continue
        found: dict[str, list[Any]] = {}
        for entry in told:
            value = next((entry[name] for name in (*_INNER, "href") if name in entry), None)
            found.setdefault(str(entry[key]), []).append({"href": value} if "href" in entry else value)
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
        if not math.isfinite(value):
            return str(value)
        return float(value) if float(value).is_integer() else float(f"{value:.9g}")  # whole numbers name things
    moment = moment_of(value)
    return moment.isoformat() if moment else value


def _unwrapped(value: Any) -> Any:
    """Return the value in ``{"value": …}``, however often it is wrapped."""
    while isinstance(value, Mapping) and set(value) <= _WRAPPING:
        inner = next((name for name in _INNER if name in value), None)
        if inner is None:
            break
        value = value[inner]
    return value


def _compare(sent: Any, told: Any) -> Match:
    sent, told = _unwrapped(sent), _unwrapped(told)
    sent, told = _parsed(sent, told), _parsed(told, sent)
    both = _parsed(sent, None), _parsed(told, None)
    if not any(isinstance(value, str) for value in both):  # two texts that are JSON, or lists of numbers
        sent, told = both
    otherwise = _compare_forms(sent, told)
    if otherwise is not None:
        return otherwise
    if isinstance(sent, Mapping):
        return _compare_objects(sent, told) if isinstance(told, Mapping) else Match.UNKNOWN
    if isinstance(sent, Sequence) and not isinstance(sent, str):
        if not isinstance(told, list | tuple):
            return _compare(sent[0], told) if len(sent) == 1 else Match.UNKNOWN
        return _compare_lists(list(sent), list(told))
    if isinstance(told, list | tuple):  # a single value as a list of one
        return _compare(sent, told[0]) if len(told) == 1 else Match.UNKNOWN
    return compare_scalars(sent, told)


def _compare_forms(sent: Any, told: Any) -> Match | None:
    """Compare outlines, and boxes and addresses of which one is in an object; None for anything else."""
    ours, theirs = _shape(sent), _shape(told)
    if ours is not None and theirs is not None:
        return _compare_shapes(ours, theirs)
    plain = _opposite(sent, told), _opposite(told, sent)
    if plain[0] is not sent or plain[1] is not told:  # an object for what was none may be a reference to it
        # The same numbers are another place in another zone.
        crs = str(sent.get("crs") or "CRS84") if isinstance(sent, Mapping) and "bbox" in sent else "CRS84"
        in_degrees = crs_code(crs) in {"crs84", "epsg:4326"}
        return Match.SAME if _compare(*plain) is Match.SAME and in_degrees else Match.UNKNOWN
    return None


def _opposite(value: Any, other: Any) -> Any:
    """Return the box or the address in an object, where the other value is that alone."""
    if isinstance(value, Mapping) and isinstance(other, list | tuple) and isinstance(value.get("bbox"), list):
        return value["bbox"]
    is_link = isinstance(other, Mapping) and any(name in other for name in _ADDRESSES[1:])  # of CWL
    if isinstance(value, Mapping) and (isinstance(other, str) or is_link) and set(value) <= {*_OF_A_LINK, *_ADDRESSES}:
        return next((value[name] for name in _ADDRESSES if name in value), value)
    return value


class _Shape(NamedTuple):
    """An outline: its kind, its points, and what else is said of it."""

    kind: str
    points: list[tuple[float, ...]]
    facts: Mapping[str, Any]


def _shape(value: Any) -> _Shape | None:
    """Return one shape: GeoJSON (also as a feature, or a collection of one), or WKT; else None."""
    if isinstance(value, str) and _WKT.match(value):
        import shapely

        head, _, tail = value.partition(";")
        try:
            shape = shapely.from_wkt(tail or value)
        except (shapely.errors.GEOSException, ValueError):
            return None
        points = [tuple(map(float, p)) for p in shapely.get_coordinates(shape, include_z=shape.has_z).tolist()]
        return _Shape(shape.geom_type.removeprefix("Multi"), points, {"srid": head} if tail else {})
    facts: dict[str, Any] = {}
    while isinstance(value, Mapping) and value.get("type") not in _SHAPES:
        facts |= {name: value[name] for name in ("properties", "crs") if value.get(name)}
        features = value.get("features")
        if value.get("type") == "FeatureCollection" and isinstance(features, list) and len(features) == 1:
            value = features[0]
        elif value.get("type") == "Feature":
            value = value.get("geometry")
        else:
            return None
    if not isinstance(value, Mapping) or "coordinates" not in value:
        return None
    facts |= {"crs": value["crs"]} if value.get("crs") else {}
    read = _points([[value["coordinates"]]])
    return None if read is None else _Shape(str(value["type"]).removeprefix("Multi"), read, facts)


def _compare_shapes(sent: _Shape, told: _Shape) -> Match:
    found = _compare_points(sent.points, told.points)
    if found is not Match.SAME:
        return found
    in_order = len(sent.points) == len(told.points) and all(map(_is_near, sent.points, told.points))
    known = all(name in told.facts and _compare(sent.facts[name], told.facts[name]) is found for name in sent.facts)
    is_same = known and sent.kind == told.kind and (in_order or sent.kind == "Polygon")
    return found if is_same else Match.UNKNOWN


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
    if (other is None or isinstance(other, list | tuple)) and _NUMBERS.fullmatch(text):
        numbers = [number_of(part) for part in re.split(r"[,;\s]+", text)]
        return numbers if None not in numbers else value
    if isinstance(other, list | tuple) and len(other) > 1 and all(isinstance(part, str) for part in other):
        for sign in "/,;":
            if text.count(sign) == len(other) - 1:
                return [part.strip() for part in text.split(sign)]
    return value


def _compare_objects(sent: Mapping[str, Any], told: Mapping[str, Any]) -> Match:
    if any(name in sent for name in _ADDRESSES):  # what else is said of it is the server's to say
        sent = {name: value for name, value in sent.items() if name not in _OF_A_LINK}
    return all_of(_compare(value, told[name]) if name in told else Match.UNKNOWN for name, value in sent.items())


def _compare_lists(sent: list[Any], told: list[Any]) -> Match:
    ours, theirs = _points(sent), _points(told)
    if ours is not None and theirs is not None and _are_rings(sent) and _are_rings(told):
        return _compare_points(ours, theirs)
    if len(sent) != len(told):
        return Match.UNKNOWN
    found = all_of(_compare(one, other) for one, other in zip(sent, told, strict=True))
    is_numbers = all(isinstance(part, int | float) for part in (*sent, *told))
    if found is Match.OTHER and len(sent) == 4 and is_numbers:
        turned = [told[place] for place in (1, 0, 3, 2)]  # a box with its latitudes first
        return Match.UNKNOWN if all(map(_is_close, sent, turned)) else found
    if found is Match.OTHER and not is_numbers:  # in another order: of bands it matters, of a set it does not
        left = list(told)
        for one in sent:
            match = next((other for other in left if _compare(one, other) is Match.SAME), None)
            if match is None:
                return found
            left.remove(match)
        return Match.UNKNOWN
    return found


def _are_rings(value: list[Any]) -> bool:
    """Return whether nested lists are closed outlines; others are tables, kernels or lists of names."""
    if all(isinstance(part, list) and part and not isinstance(part[0], list) for part in value):
        return len(value) >= 4 and value[0] == value[-1]
    return all(isinstance(part, list) and _are_rings(part) for part in value)


def _points(value: Any) -> list[tuple[float, ...]] | None:
    """Return the points of nested lists of coordinates; None for anything else, a plain list of numbers too."""
    if not isinstance(value, list) or not value or not all(isinstance(part, list) and part for part in value):
        return None
    found: list[tuple[float, ...]] = []
    for part in value:
        if all(isinstance(number, int | float) and not isinstance(number, bool) for number in part):
            found.append(tuple(map(float, part)))
        else:
            inner = _points(part)
            if inner is None:
                return None
            found += inner
    return found


def _compare_points(sent: list[tuple[float, ...]], told: list[tuple[float, ...]]) -> Match:
    """Compare outlines: where they begin, and which way round they go, is a matter of taste; where they lie is not."""
    ours_found = all(any(_is_near(point, other) for other in told) for point in sent)
    if ours_found and all(any(_is_near(point, other) for point in sent) for other in told):
        return Match.SAME
    boxes = [[pick(axis) for axis in zip(*points, strict=False) for pick in (min, max)] for points in (sent, told)]
    alike = len(boxes[0]) == len(boxes[1]) and all(map(_is_close, *boxes))
    turned = len(boxes[0]) == 4 and all(map(_is_close, [*boxes[0][2:], *boxes[0][:2]], boxes[1]))  # latitude first
    systems = [max(map(abs, box)) > _LARGEST_DEGREE for box in boxes]  # one in degrees, one in metres
    return Match.UNKNOWN if alike or turned or systems[0] != systems[1] else Match.OTHER


def _is_near(point: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Return whether two points are one; a height that is told of one alone was left out."""
    return all(compare_numbers(one, two) is Match.SAME for one, two in zip(point, other, strict=False))


def _is_close(one: float, other: float) -> bool:
    return compare_numbers(float(one), float(other)) is not Match.OTHER
