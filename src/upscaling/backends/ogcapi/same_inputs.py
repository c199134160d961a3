"""Whether a job was sent certain inputs, though its server repeats them in an encoding of its own.

Servers fill in defaults, wrap values (``{"value": …}``), write 2.0 as 2 or "2", cut or add time zones, turn outlines
round, add fields, and hide or shorten what is large. Three answers are possible; ``OTHER`` only where two plain values
differ for certain.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from upscaling.backends.ogcapi.same_values import (
    Match,
    all_of,
    compare_numbers,
    compare_scalars,
    crs_code,
    moment_of,
    number_of,
)

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["Match", "as_mapping", "canonical", "same_inputs"]

_INNER = ("value", "data", "inlineValue", "literal", "literalData", "input")
_WRAPPING = {*_INNER, "mediaType", "format", "schema", "encoding", "type", "dataType", "uom", "id", "title"}
_MEANINGS = ("uom", "format")  # without which a value says little
_OF_A_LINK = {"type", "mediaType", "format", "rel", "title", "length", "hreflang", "class", "basename"}
_ADDRESSES = ("href", "location", "path", "url")
_SHAPES = {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"}
_WKT = re.compile(r"\s*(?:SRID=\d+;)?\s*(?:MULTI)?(?:POINT|LINESTRING|POLYGON)\s*Z?\s*\(", re.IGNORECASE)
_NUMBERS = re.compile(r"\s*[-+]?\d[\d.eE+-]*(\s*[,;\s]\s*[-+]?\d[\d.eE+-]*)+\s*")
_LARGEST_DEGREE = 400
_LATITUDE_FIRST = (1, 0, 3, 2)  # of a box


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
    try:
        return all_of(_compare_all(sent, known, defaults or {}))
    except RecursionError:  # nested deeper than any request of this package
        return Match.UNKNOWN


def _compare_all(sent: Mapping[str, Any], known: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[Match]:
    plain = {str(name).casefold(): value for name, value in known.items()} | dict(known)
    for name, value in sent.items():
        alike = next((alike for alike in (name, name.casefold()) if alike in plain), None)
        if alike is not None:
            yield _compare(value, plain[alike])
        elif value is not None:  # one that is its default may have been left out
            yield Match.SAME if _compare(value, defaults.get(name)) is Match.SAME else Match.UNKNOWN
    for name in defaults.keys() & known.keys() - sent.keys():  # filled in, or it was sent another value
        if defaults[name] is not None and _compare(defaults[name], known[name]) is Match.OTHER:
            yield Match.UNKNOWN


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
    value, _ = _unwrapped(value)
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


def _unwrapped(value: Any) -> tuple[Any, dict[str, Any]]:
    """Return the value in ``{"value": …}``, however often it is wrapped, and its unit and format."""
    facts: dict[str, Any] = {}
    while isinstance(value, Mapping):
        facts |= {name: value[name] for name in _MEANINGS if value.get(name)}
        inner = next((name for name in _INNER if name in value), None)
        if inner is None or not set(value) <= _WRAPPING:
            break
        value = value[inner]
    return value, facts


def _compare(sent: Any, told: Any) -> Match:
    if sent == told:
        return Match.SAME
    (sent, facts), (told, told_facts) = _unwrapped(sent), _unwrapped(told)
    return _with_facts(_compare_bare(sent, told), facts, told_facts)


def _with_facts(found: Match, sent: Mapping[str, Any], told: Mapping[str, Any]) -> Match:
    """Return what a comparison of values told; values that are the same may be two by what is said of them."""
    if found is Match.SAME and any(_compare(fact, told.get(name)) is not found for name, fact in sent.items()):
        return Match.UNKNOWN
    return found


def _compare_bare(sent: Any, told: Any) -> Match:
    read = _parsed(sent, None), _parsed(told, None)  # two texts that are JSON, or lists of numbers
    if any(isinstance(value, str) for value in read):
        read = _parsed(sent, told), _parsed(told, sent)
    if read[0] is not sent or read[1] is not told:
        return _compare(*read)
    otherwise = _compare_forms(sent, told)
    if otherwise is not None:
        return otherwise
    if isinstance(sent, list | tuple) or isinstance(told, list | tuple):  # a single value may be a list of one
        return _compare_lists(*(list(value) if isinstance(value, list | tuple) else [value] for value in (sent, told)))
    if isinstance(sent, Mapping):
        return _compare_objects(sent, told) if isinstance(told, Mapping) else Match.UNKNOWN
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
    """An outline, and what else is said of it."""

    geometry: BaseGeometry
    facts: Mapping[str, Any]


def _shape(value: Any) -> _Shape | None:
    """Return one shape: GeoJSON (also as a feature, or a collection of one), or WKT; None for anything else."""
    from shapely import GEOSException, from_wkt
    from shapely.geometry import shape

    facts: dict[str, Any] = {}
    while isinstance(value, Mapping) and value.get("type") not in _SHAPES:
        facts |= {name: value[name] for name in ("properties", "crs") if value.get(name)}
        match value:
            case {"type": "FeatureCollection", "features": [one]}:
                value = one
            case {"type": "Feature", "geometry": geometry}:
                value = geometry
            case _:
                return None
    try:
        if isinstance(value, Mapping) and "coordinates" in value:
            return _Shape(shape(dict(value)), facts | ({"crs": value["crs"]} if value.get("crs") else {}))
        if isinstance(value, str) and _WKT.match(value):
            head, _, tail = value.rpartition(";")
            return _Shape(from_wkt(tail), {"srid": head} if head else {})
    except (GEOSException, AttributeError, IndexError, TypeError, ValueError):  # whatever stands in place of numbers
        pass
    return None


def _compare_shapes(sent: _Shape, told: _Shape) -> Match:
    """Compare outlines: where they begin, and which way round they go, is a matter of taste; where they lie is not."""
    if _are_same_outlines(sent.geometry, told.geometry):
        return _with_facts(Match.SAME, sent.facts, told.facts)
    boxes = sent.geometry.bounds, told.geometry.bounds
    alike = all(map(_is_close, *boxes))
    turned = all(map(_is_close, [boxes[0][place] for place in _LATITUDE_FIRST], boxes[1]))
    systems = [max(map(abs, box)) > _LARGEST_DEGREE for box in boxes]  # one in degrees, one in metres
    return Match.UNKNOWN if alike or turned or systems[0] != systems[1] else Match.OTHER


def _are_same_outlines(sent: BaseGeometry, told: BaseGeometry) -> bool:
    from shapely import get_parts

    ours, theirs = list(get_parts(sent)), list(get_parts(told))
    if sent.geom_type.removeprefix("Multi") != told.geom_type.removeprefix("Multi") or len(ours) != len(theirs):
        return False
    if ours and ours[0].geom_type == "Polygon":
        return _pair_up(ours, theirs, _is_same_polygon)
    return all(_are_near(_points(one), _points(other)) for one, other in zip(ours, theirs, strict=True))


def _is_same_polygon(one: Any, other: Any) -> bool:
    holes = list(one.interiors), list(other.interiors)
    return _is_same_ring(one.exterior, other.exterior) and _pair_up(*holes, _is_same_ring)


def _is_same_ring(one: BaseGeometry, other: BaseGeometry) -> bool:
    ours, theirs = _points(one)[:-1], _points(other)[:-1]
    return any(
        _are_near(ours, order[start:] + order[:start])
        for order in (theirs, theirs[::-1])
        for start, point in enumerate(order)
        if _are_near(ours[:1], [point])
    )


def _pair_up(ours: list[Any], theirs: list[Any], is_same: Callable[[Any, Any], bool]) -> bool:
    """Return whether each of one list has another one of the other list that is the same."""
    left = list(theirs)
    for one in ours:
        match = next((place for place, other in enumerate(left) if is_same(one, other)), None)
        if match is None:
            return False
        del left[match]
    return not left


def _points(shape: BaseGeometry) -> list[list[float]]:
    from shapely import get_coordinates

    points: list[list[float]] = get_coordinates(shape, include_z=shape.has_z).tolist()
    return points


def _are_near(ours: list[list[float]], theirs: list[list[float]]) -> bool:
    """Return whether points are the same, one by one; a height that is told of one alone was left out."""
    return len(ours) == len(theirs) and all(
        compare_numbers(one, two) is Match.SAME
        for point, other in zip(ours, theirs, strict=True)
        for one, two in zip(point, other, strict=False)
    )


def _parsed(value: Any, other: Any) -> Any:
    """Return the object or list that a text is the JSON of, or its numbers, where the other value is none of text."""
    if not isinstance(value, str) or isinstance(other, str):
        return value
    text = value.strip()
    if text[:1] in {"{", "["}:
        try:
            return json.loads(text)
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
    if len(sent) != len(told):
        return Match.UNKNOWN
    found = all_of(_compare(one, other) for one, other in zip(sent, told, strict=True))
    if found is not Match.OTHER:
        return found
    if all(isinstance(part, int | float) for part in (*sent, *told)):  # a box with its latitudes first?
        is_turned = len(sent) == 4 and all(map(_is_close, sent, [told[place] for place in _LATITUDE_FIRST]))
    else:  # in another order: of bands it matters, of a set it does not
        is_turned = _pair_up(sent, told, lambda one, other: _compare(one, other) is Match.SAME)
    return Match.UNKNOWN if is_turned else found


def _is_close(one: float, other: float) -> bool:
    return compare_numbers(float(one), float(other)) is not Match.OTHER
