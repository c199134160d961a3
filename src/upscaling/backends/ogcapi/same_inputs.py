"""Whether a job was sent certain inputs, though its server repeats them in an encoding of its own.

Servers fill in defaults, wrap values (``{"value": …}``), write 2.0 as 2 or "2", cut or add time zones, turn outlines
round, add fields, and hide or shorten what is large. Three answers are possible; ``OTHER`` only where two plain values
differ for certain.
"""

from __future__ import annotations

import base64
import datetime as dt
import enum
import html
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

__all__ = ["Match", "as_mapping", "canonical", "same_inputs"]

_CLOSE = 1e-6  # relative, and absolute: servers round; tiles differ by more than a micrometre, or 0.1 m in degrees
_INNER = ("value", "data", "inlineValue", "literal", "literalData", "input")
_WRAPPING = {*_INNER, "mediaType", "format", "schema", "encoding", "type", "dataType", "uom", "id", "title"}
_OF_A_LINK = {"type", "mediaType", "format", "rel", "title", "length", "hreflang", "class", "basename"}
_ADDRESSES = ("href", "location", "path", "url")
_CRS = re.compile(
    r"(?:urn:ogc:def:crs:|https?://www\.opengis\.net/def/crs/)?epsg[:/](?:[\d.]*[:/])?(\d+)", re.IGNORECASE
)
_CRS84 = re.compile(r".*\bcrs84", re.IGNORECASE)
_DAY = re.compile(r"(\d{4})[-/.]?(\d\d)[-/.]?(\d\d)")
_DEFAULT_PORTS = re.compile(r"^(http://[^/:]+):80(?=/|$)|^(https://[^/:]+):443(?=/|$)", re.IGNORECASE)
_SHAPES = {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"}
_WKT = re.compile(r"\s*(?:SRID=\d+;)?\s*(?:MULTI)?(?:POINT|LINESTRING|POLYGON)\s*Z?\s*\(", re.IGNORECASE)
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?\s*(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)
_NUMBERS = re.compile(r"\s*[-+]?\d[\d.eE+-]*(\s*[,;\s]\s*[-+]?\d[\d.eE+-]*)+\s*")
_HIDDEN = re.compile(r"^[*•x.…<\[(]*$|^<.*>$|^\[.*(redacted|hidden|omitted|truncated).*\]$|…$|\.\.\.$", re.IGNORECASE)
_LARGEST_DEGREE = 400
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
    plain = {str(name).casefold(): value for name, value in known.items()}
    for name, value in sent.items():
        if name in known or name.casefold() in plain:
            found.append(_compare(value, known[name] if name in known else plain[name.casefold()]))
        elif value is None:
            found.append(Match.SAME)
        else:
            is_default = defaults is not None and name in defaults and _compare(value, defaults[name]) is Match.SAME
            found.append(Match.SAME if is_default else Match.UNKNOWN)
    return _all(found)


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
    while isinstance(value, Mapping) and set(value) <= _WRAPPING:
        inner = next((name for name in _INNER if name in value), None)
        if inner is None:
            break
        value = value[inner]
    return value


def _compare(sent: Any, told: Any) -> Match:
    sent, told = _unwrapped(sent), _unwrapped(told)
    sent, told = _parsed(sent, told), _parsed(told, sent)
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
    return _compare_scalars(sent, told)


def _compare_forms(sent: Any, told: Any) -> Match | None:
    """Compare outlines, and boxes and addresses of which one is in an object; None for anything else."""
    ours, theirs = _coordinates(sent), _coordinates(told)
    if ours is not None and theirs is not None:
        return _compare_points(ours, theirs)
    plain = _opposite(sent, told), _opposite(told, sent)
    if plain[0] is not sent or plain[1] is not told:  # an object for what was none may be a reference to it
        return Match.SAME if _compare(*plain) is Match.SAME else Match.UNKNOWN
    return None


def _opposite(value: Any, other: Any) -> Any:
    """Return the box or the address in an object, where the other value is that alone."""
    if isinstance(value, Mapping) and isinstance(other, list | tuple) and isinstance(value.get("bbox"), list):
        return value["bbox"]
    is_link = isinstance(other, Mapping) and any(name in other for name in _ADDRESSES[1:])  # of CWL
    if isinstance(value, Mapping) and (isinstance(other, str) or is_link) and set(value) <= {*_OF_A_LINK, *_ADDRESSES}:
        return next((value[name] for name in _ADDRESSES if name in value), value)
    return value


def _coordinates(value: Any) -> list[tuple[float, ...]] | None:
    """Return the points of one shape: GeoJSON (also as a feature, or a collection of one), or WKT; else None."""
    if isinstance(value, str) and _WKT.match(value):
        import shapely

        try:
            shape = shapely.from_wkt(value.partition(";")[2] or value)
        except (shapely.errors.GEOSException, ValueError):
            return None
        return [tuple(map(float, point)) for point in shapely.get_coordinates(shape).tolist()]
    while isinstance(value, Mapping) and value.get("type") not in _SHAPES:
        features = value.get("features")
        if value.get("type") == "FeatureCollection" and isinstance(features, list) and len(features) == 1:
            value = features[0]
        elif value.get("type") == "Feature":
            value = value.get("geometry")
        else:
            return None
    return _points([value["coordinates"]]) if isinstance(value, Mapping) and "coordinates" in value else None


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
    if isinstance(other, list | tuple) and len(other) > 1 and all(isinstance(part, str) for part in other):
        for sign in "/,;":
            if text.count(sign) == len(other) - 1:
                return [part.strip() for part in text.split(sign)]
    return value


def _compare_objects(sent: Mapping[str, Any], told: Mapping[str, Any]) -> Match:
    if any(name in sent for name in _ADDRESSES):  # what else is said of it is the server's to say
        sent = {name: value for name, value in sent.items() if name not in _OF_A_LINK}
    return _all(_compare(value, told[name]) if name in told else Match.UNKNOWN for name, value in sent.items())


def _compare_lists(sent: list[Any], told: list[Any]) -> Match:
    ours, theirs = _points(sent), _points(told)
    if ours is not None and theirs is not None:
        return _compare_points(ours, theirs)
    if len(sent) != len(told):
        return Match.UNKNOWN
    found = _all(_compare(one, other) for one, other in zip(sent, told, strict=True))
    if found is Match.OTHER and len(sent) == 4 and all(isinstance(part, int | float) for part in (*sent, *told)):
        turned = [told[place] for place in (1, 0, 3, 2)]  # a box with its latitudes first
        return Match.UNKNOWN if all(map(_is_close, sent, turned)) else found
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
    turned = len(boxes[0]) == 4 and all(map(_is_close, [*boxes[0][2:], *boxes[0][:2]], boxes[1]))  # latitude first
    systems = [max(map(abs, box)) > _LARGEST_DEGREE for box in boxes]  # one in degrees, one in metres
    return Match.UNKNOWN if alike or turned or systems[0] != systems[1] else Match.OTHER


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
    return {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}.get(
        str(value).strip().lower()
    )


def _compare_scalars(sent: Any, told: Any) -> Match:
    if sent is None or told is None:
        return Match.SAME if sent is told else Match.UNKNOWN
    if isinstance(sent, bool) or isinstance(told, bool):
        truths = _truth(sent), _truth(told)
        return Match.UNKNOWN if None in truths else _known(truths[0] == truths[1])
    if not isinstance(sent, str) or not isinstance(told, str):
        one, other = _number(sent), _number(told)
        if (one is None) != (other is None):
            return _compare_with_number(*((sent, other) if one is None else (told, one)))
        return Match.UNKNOWN if one is None or other is None else _known(_is_close(one, other))
    return _compare_texts(sent, told)


def _compare_with_number(text: Any, number: Any) -> Match:
    """Compare a text with the number that it may be another word for: a CRS, or seconds since 1970."""
    code, moment = _crs(str(text)), _moment(text)
    if code is not None:
        return Match.SAME if code == f"epsg:{number:.0f}" else Match.UNKNOWN
    seconds = moment.timestamp() if moment else math.nan
    return Match.SAME if abs(seconds - number) < 1 or abs(seconds * 1000 - number) < 1000 else Match.UNKNOWN


def _crs(text: str) -> str | None:
    if found := _CRS.fullmatch(text.strip()):
        return f"epsg:{found[1]}"
    return "crs84" if _CRS84.fullmatch(text.strip()) else None


def _compare_texts(sent: str, told: str) -> Match:
    as_written = _common(sent), _common(told)
    one, other = (text.casefold() for text in as_written)
    codes = _crs(one), _crs(other)
    if codes[0] is not None and codes[0] == codes[1]:
        return Match.SAME
    if one == other:  # two names that differ in case may be two things, or one to this server
        return Match.SAME if as_written[0] == as_written[1] or _truth(one) is not None else Match.UNKNOWN
    if (
        set(codes) == {"crs84", "epsg:4326"}
        or one.replace("+", " ") == other.replace("+", " ")
        or _is_base64(told, sent)
    ):
        return Match.UNKNOWN
    read = _compare_readings(one, other)
    if read is not None:
        return read
    if _HIDDEN.search(other) or one.startswith(other) or other.startswith(one):
        return Match.UNKNOWN
    structured = any(text[:1] in {"{", "["} or "(" in text for text in (one, other))  # JSON, or WKT
    return Match.UNKNOWN if structured else Match.OTHER


def _common(text: str) -> str:
    """Return a text without what servers write otherwise: escapes, blanks, forms of accents, usual ports."""
    plain = unicodedata.normalize("NFC", html.unescape(unquote(text)))
    return _DEFAULT_PORTS.sub(r"\1\2", " ".join(plain.split())).rstrip("/")


def _is_base64(text: str, plain: str) -> bool:
    try:
        return base64.b64decode(text, validate=True) == plain.encode()
    except ValueError:
        return False


def _compare_readings(one: str, other: str) -> Match | None:
    """Compare two texts as what they are the text of: JSON, intervals, times, numbers; None if they are not alike."""
    texts = (one, other)
    if all(text[:1] in {"{", "["} for text in texts):
        parsed = [_parsed(text, None) for text in texts]
        return None if any(isinstance(value, str) for value in parsed) else _compare(*parsed)
    if "/" in one and one.count("/") == other.count("/") and _moment(one.split("/", maxsplit=1)[0]):
        return _all(_compare_texts(*parts) for parts in zip(one.split("/"), other.split("/"), strict=True))
    days = [_DAY.fullmatch(text) for text in texts]
    moments = [_moment(text) for text in texts]
    if days[0] and days[1] and any(moments):
        return _known(days[0].groups() == days[1].groups())
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
