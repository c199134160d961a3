"""Whether two plain values (numbers, texts, times) are one, where a server writes what it was sent in its own way."""

from __future__ import annotations

import base64
import datetime as dt
import enum
import html
import math
import re
import struct
import unicodedata
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

__all__ = ["Match", "all_of", "compare_numbers", "compare_scalars", "crs_code", "moment_of", "number_of"]

_CLOSE = 1e-6  # relative, and absolute: beyond, two numbers are two; within, one may be the other as a server rounds it
_SAME = 1e-9  # relative: what is left of a number that is written in decimals
_NOTHING = 1e-9  # absolute: noise of a sum that should be 0
# To how many decimals servers cut; from the second number on nothing of note is lost.
_FEWEST_DECIMALS, _DECIMALS, _MOST_DECIMALS = 3, 6, 16
_CRS = re.compile(
    r"(?:urn:ogc:def:crs:|https?://www\.opengis\.net/def/crs/)?"
    r"(?:epsg[:/](?:[\d.]*[:/])?(\d+)|(?:ogc[:/])?[\d.]*[:/]?crs84)",
    re.IGNORECASE,
)
_DAY = re.compile(r"(\d{4})[-/.]?(\d\d)[-/.]?(\d\d)")
_DEFAULT_PORTS = re.compile(r"^(http://[^/:]+):80(?=/|$)|^(https://[^/:]+):443(?=/|$)", re.IGNORECASE)
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?\s*(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)
_WHOLE = re.compile(r"[-+]?\d+")
_HIDDEN = re.compile(r"^[*•x.…<\[(]*$|^<.*>$|^\[.*(redacted|hidden|omitted|truncated).*\]$|…$|\.\.\.$", re.IGNORECASE)
_OFFSETS = dt.timedelta(hours=14)  # by which a time without a zone may be off


class Match(enum.IntEnum):
    """What a comparison could tell; of several together, the largest counts."""

    SAME = 0
    UNKNOWN = 1
    OTHER = 2


def all_of(found: Iterable[Match]) -> Match:
    """Return what several comparisons tell together."""
    return max(found, default=Match.SAME)


def number_of(value: Any) -> float | None:
    """Return the number that a value is, or is the text of; else None."""
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


def compare_numbers(sent: float, told: float) -> Match:
    """Compare numbers: whole ones count, name or date something, so that only an equal one is the same.

    Of others a server may cut the decimals, or keep them in 32 bits.
    """
    if sent == told or abs(sent - told) <= _NOTHING:
        return Match.SAME
    if abs(sent - told) > max(abs(sent) * _CLOSE, abs(told) * _CLOSE, 10.0**-_FEWEST_DECIMALS):
        return Match.OTHER
    is_close = math.isclose(sent, told, rel_tol=_CLOSE, abs_tol=_CLOSE)
    if sent.is_integer() and told.is_integer():
        return Match.UNKNOWN if is_close else Match.OTHER
    if math.isclose(sent, told, rel_tol=_SAME) or _in_32_bits(sent) == told:
        return Match.SAME
    decimals = next((n for n in range(_MOST_DECIMALS, _FEWEST_DECIMALS - 1, -1) if round(sent, n) == told), 0)
    if decimals >= _DECIMALS and math.isclose(sent, told, rel_tol=_CLOSE):
        return Match.SAME
    return Match.UNKNOWN if decimals or is_close else Match.OTHER


def _in_32_bits(number: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", number))[0])
    except OverflowError:
        return math.inf


def compare_scalars(sent: Any, told: Any) -> Match:
    """Compare two values that are neither lists nor objects."""
    if sent is None or told is None:
        return Match.SAME if sent is told else Match.UNKNOWN
    if isinstance(sent, bool) or isinstance(told, bool):
        truths = _truth(sent), _truth(told)
        return Match.UNKNOWN if None in truths else Match.SAME if truths[0] == truths[1] else Match.OTHER
    if not isinstance(sent, str) or not isinstance(told, str):
        one, other = number_of(sent), number_of(told)
        if (one is None) != (other is None):
            return _compare_with_number(*((sent, other) if one is None else (told, one)))
        if isinstance(sent, int) and isinstance(told, int) and sent != told and one == other:
            return Match.UNKNOWN  # beyond 2^53 a server's numbers may be rounded
        return Match.UNKNOWN if one is None or other is None else compare_numbers(one, other)
    return _compare_texts(sent, told)


def _compare_with_number(text: Any, number: Any) -> Match:
    """Compare a text with the number that it may be another word for: a CRS, or seconds since 1970."""
    code, moment = crs_code(str(text)), moment_of(text)
    if code is not None:
        return Match.SAME if code == f"epsg:{number:.0f}" else Match.UNKNOWN
    seconds = moment.timestamp() if moment else math.nan
    return Match.SAME if abs(seconds - number) < 1 or abs(seconds * 1000 - number) < 1 else Match.UNKNOWN


def crs_code(text: str) -> str | None:
    """Return ``epsg:<n>`` or ``crs84`` for a CRS, however it is named; else None."""
    found = _CRS.fullmatch(text.strip())
    return None if found is None else f"epsg:{found[1]}" if found[1] else "crs84"


def _compare_texts(sent: str, told: str) -> Match:
    as_written = _common(sent), _common(told)
    one, other = (text.casefold() for text in as_written)
    codes = crs_code(one), crs_code(other)
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
    """Compare two texts as what they are the text of: intervals, times, a number; None if they are not alike."""
    if "/" in one and one.count("/") == other.count("/") and moment_of(one.split("/", maxsplit=1)[0]):
        return all_of(_compare_texts(*parts) for parts in zip(one.split("/"), other.split("/"), strict=True))
    days, moments = [_DAY.fullmatch(text) for text in (one, other)], [moment_of(text) for text in (one, other)]
    if days[0] and days[1]:
        if days[0].groups() != days[1].groups():
            return Match.OTHER
        return Match.SAME if any(moments) else Match.UNKNOWN  # eight digits may be no day
    if moments[0] and moments[1]:
        return _compare_moments(one, other, moments[0], moments[1])
    return _compare_texts_of_numbers(one, other)


def _compare_texts_of_numbers(one: str, other: str) -> Match | None:
    """Compare two texts that are the text of a number each, but may be names; None if they are not."""
    values = number_of(one), number_of(other)
    if values[0] is None or values[1] is None:
        return None
    if _WHOLE.fullmatch(one) and _WHOLE.fullmatch(other):
        return Match.UNKNOWN if int(one) == int(other) else Match.OTHER  # 007 and 7
    # As texts 1.10 and 1.1 are two versions, 1e5 and 100000 two names.
    return Match.OTHER if compare_numbers(values[0], values[1]) is Match.OTHER else Match.UNKNOWN


def moment_of(value: Any) -> dt.datetime | None:
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
    if apart < dt.timedelta(seconds=1):  # cut to seconds, or to milliseconds
        is_cut = other.microsecond == 0 or apart < dt.timedelta(milliseconds=1)
        return Match.SAME if is_cut else Match.UNKNOWN
    zoned = [re.search(r"(Z|[+-]\d\d:?\d\d)$", text.strip()[10:], re.IGNORECASE) is not None for text in (sent, told)]
    in_another_zone = zoned[0] != zoned[1] and apart <= _OFFSETS
    return Match.UNKNOWN if in_another_zone else Match.OTHER
