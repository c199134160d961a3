"""What a catalogue record says of its cost, read: a number and a free text such as `platform credits per km²`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from upscaling.util.text import plain_text

__all__ = ["Price", "StatedCost", "Unit", "price_of", "record_cost"]

Unit = Literal["km2", "observation", "product", "s2_tile", "month"]

_CURRENCIES = {
    "credits": r"(?:platform |cdse |openeo |processing |cloud )*credits?",
    "EUR": r"€|eur(?:os?)?\b",
    "USD": r"\$|us\$|usd\b|(?:us )?dollars?",
    "GBP": r"£|gbp\b",
    "CHF": r"chf\b",
    "processing units": r"(?:sentinel hub )?(?:processing units?|pus?\b)",
}
_CURRENCY = re.compile("|".join(f"(?P<c{n}>{pattern})" for n, pattern in enumerate(_CURRENCIES.values())))
_NUMBER = r"(?P<count>\d+(?:\.\d+)?)?\s*"
_AREA = r"(?P<km2>km²|km2|km\^2|sq\.? ?km|square kilomet(?:re|er)s?)"
_HECTARE = r"(?P<ha>ha|hectares?)"
_DIVISORS: list[tuple[str, Unit, float]] = [
    (_AREA, "km2", 1.0),
    (_HECTARE, "km2", 0.01),
    (r"(?:observations?|acquisitions?|time ?steps?|dates?)", "observation", 1.0),
    (r"months?(?: of (?:observations?|data|input))?", "month", 1.0),
    (r"years?(?: of (?:observations?|data|input))?", "month", 12.0),
    (r"quarters?", "month", 3.0),
    (r"weeks?", "month", 12 / 52),
    (r"days?(?: of (?:observations?|data|input))?", "month", 12 / 365.25),
    (r"(?:regions? corresponding to )?(?:an? |one )?(?:s2|sentinel-2|mgrs) tiles?(?: extents?)?", "s2_tile", 1.0),
    (r"(?:input )?(?:products?|scenes?|granules?|images?)", "product", 1.0),
    # what kinds of products, but nothing that could be another unit
    (r"[a-z0-9/ ,-]{1,60}? (?:input )?(?:products?|scenes?|granules?)", "product", 1.0),
]
_WHOLE = re.compile(r"(?:job|run|execution|request|service call|call|order)s?")
_FREE = re.compile(r"(?:free(?: of charge)?|no cost|none|gratis)")
_SEPARATOR = re.compile(r"\s*(?:,|\band\b|&)?\s*(?:\bper\b|/(?=\s*[a-z0-9])|,|\band\b|\bfor each\b|\beach\b)\s*")
_UNIT_WORDS = re.compile(r"\b(?:km|ha|hectare|month|year|day|week|observation|pixel|hour|core|gb|tile)")


class Price(BaseModel):
    """An amount of a currency, per units that multiply.

    Attributes
    ----------
    per
        Unit -> how many of it the amount is for: ``{"km2": 1, "month": 12}`` is per km² and year. Empty: per job.
    """

    model_config = ConfigDict(allow_inf_nan=False, frozen=True)

    amount: float
    currency: str
    per: dict[Unit, float] = {}

    def __str__(self) -> str:
        """Return it as people write it."""
        parts = [_in_words(unit, count) for unit, count in self.per.items()]
        return f"{self.amount:g} {self.currency} per " + (" and ".join(parts) or "job")


class StatedCost(BaseModel):
    """What a record says of its cost.

    Attributes
    ----------
    price
        None if nothing is stated, or it cannot be read.
    text
        One line: the price, or why there is none, with the record's own words.
    """

    model_config = ConfigDict(allow_inf_nan=False, frozen=True)

    price: Price | None
    text: str


def record_cost(record: Any) -> StatedCost:
    """Return what a catalogue record states of its cost; never raises, as records are written by hand."""
    properties = record.get("properties") if isinstance(record, Mapping) else None
    found = properties if isinstance(properties, Mapping) else {}
    amount, unit = found.get("cost_estimate"), found.get("cost_unit", found.get("cost_units"))
    if amount is None and unit is None:
        return StatedCost(price=None, text="no cost is stated")
    words = plain_text(f"{'' if amount is None else amount} {'' if unit is None else unit}")
    if isinstance(unit, str) and _FREE.fullmatch(_normal(unit)) and not _number(amount):
        return StatedCost(price=Price(amount=0.0, currency="credits"), text="free, as the record states")
    number = _number(amount)
    if number is None:
        return StatedCost(price=None, text=f"cost cannot be read, the amount is no number: {words!r}")
    if not isinstance(unit, str) or not unit.strip():
        return StatedCost(price=None, text=f"cost cannot be read, it has no unit: {words!r}")
    price = price_of(number, unit)
    if price is None:
        return StatedCost(price=None, text=f"cost cannot be read: {words!r}")
    doubt = "; 0 may also mean that it was not measured" if number == 0 else ""
    return StatedCost(price=price, text=f"{price}{doubt}")


def price_of(amount: float, unit: str) -> Price | None:
    """Return the price that a number and a text state, or None where any word of the text is not understood."""
    text = re.sub(r"\([^)]*\)", " ", _normal(unit)).strip(" .;")
    currency = _CURRENCY.match(text)
    if currency is None:
        return None
    name = list(_CURRENCIES)[int(str(currency.lastgroup)[1:])]
    per: dict[Unit, float] = {}
    rest = text[currency.end() :].strip()
    while rest:
        separator = _SEPARATOR.match(rest)
        if separator is None or not separator.group().strip():
            return None
        found = _divisor(rest[separator.end() :])
        if found is None:
            return None
        divisor, count, rest = found
        if divisor is not None:
            if divisor in per:
                return None
            per[divisor] = count
    return Price(amount=amount, currency=name, per=per)


def _divisor(text: str) -> tuple[Unit | None, float, str] | None:
    """Read one unit at the start of a text; return it, how many of it, and the rest of the text."""
    end = r"(?=$|\s*(?:,|\bper\b|\band\b|&|/|\bfor each\b))"
    whole = re.match(_WHOLE.pattern + end, text)
    if whole:
        return None, 1.0, text[whole.end() :].strip(" .")
    for pattern, unit, factor in _DIVISORS:
        match = re.match(_NUMBER + "(?:" + pattern + ")" + end, text)
        if match is None or (unit == "product" and _UNIT_WORDS.search(match.group())):
            continue
        count = float(match["count"] or 1.0) * factor
        return (unit, count, text[match.end() :].strip(" .")) if count > 0 else None
    return None


def _normal(text: str) -> str:
    return " ".join(plain_text(text).lower().split())


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


_NAMES: dict[Unit, str] = {"km2": "km²", "s2_tile": "Sentinel-2 tile"}
_WORDS: dict[tuple[Unit, float], str] = {("month", 12.0): "year", ("month", 3.0): "3 months", ("km2", 0.01): "hectare"}


def _in_words(unit: Unit, count: float) -> str:
    name = _NAMES.get(unit, unit)
    if (unit, count) in _WORDS:
        return _WORDS[unit, count]
    if count == 1:
        return name
    return f"{count:g} {name}" if unit == "km2" else f"{count:.4g} {name}s"
