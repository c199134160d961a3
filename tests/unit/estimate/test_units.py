"""Cost texts of catalogue records: read rightly, or said in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from upscaling.estimate.evidence.units import price_of, record_cost

CREDITS, KM2 = "credits", {"km2": 1.0}
PER_OBSERVATION = {"km2": 1.0, "observation": 1.0}
PER_S2_MONTH = {"s2_tile": 1.0, "month": 1.0}
PRODUCT = {"product": 1.0}
# every record of the catalogue: amount, currency, per what; None: nothing is stated
RECORDS: dict[str, tuple[float, str, dict[str, float]] | None] = {
    "sen4cap_l3_basic_markers": (0.5, "EUR", PRODUCT),
    "sen4cap_l3b_biophysical_indicators": (1.25, "EUR", PRODUCT),
    "sen4cap_l3b_spectral_indices": (0.75, "EUR", PRODUCT),
    "sen4cap_l4c_agricultural_practices": (15, "EUR", PER_S2_MONTH),
    "sen4cap_l4d_bare_soil": (18, "EUR", PER_S2_MONTH),
    "sen4cap_l4e_parcel_heterogeneity": (18, "EUR", PER_S2_MONTH),
    "RAMONA-herbaceous_rangeland_biomass-country-mosaick": (0.05, CREDITS, KM2),
    "efast": (16, CREDITS, KM2),
    "wind_turbine_detection": (7, CREDITS, KM2),
    "scmap": (0.2, CREDITS, {"km2": 1.0, "month": 12.0}),
    "gep_DinSAR": (6, "EUR", PRODUCT),
    "gep_api_ost": (1.5, "EUR", PRODUCT),
    "gep_ost": (1.5, "EUR", PRODUCT),
    "sar_coin": (2.5, "EUR", PRODUCT),
    "bap_composite": (0.2, CREDITS, KM2),
    "biopar": (0.1, CREDITS, PER_OBSERVATION),
    "cropsar1d": (45, CREDITS, {}),
    "cropsar2d": (45, CREDITS, {}),
    "max_ndvi_composite": (0.1, CREDITS, PER_OBSERVATION),
    "mogpr_s1s2": (12, CREDITS, KM2),
    "parcel_delineation": (0.11, CREDITS, KM2),
    "phenology": (10, CREDITS, KM2),
    "sentinel1_stats": (0.1, CREDITS, KM2),
    "timeseries_statistics": (0.1, CREDITS, KM2),
    "variabilitymap": (4, CREDITS, KM2),
}


def test_every_record_of_the_catalogue(shared_data: Path) -> None:
    read = {}
    for path in sorted((shared_data / "apex_catalogue").glob("*/*/records/*.json")):
        record = json.loads(path.read_text())
        stated = record_cost(record)
        price = stated.price
        if price is None:
            assert stated.text == "no cost is stated"
            assert "cost_estimate" not in record["properties"]
        else:
            read[record["id"]] = (price.amount, price.currency, price.per)
    assert read == RECORDS
    scenarios = sorted((shared_data / "apex_catalogue").glob("*/*/benchmark*/*.json"))
    assert len(scenarios) == 16
    for path in scenarios:
        assert record_cost(json.loads(path.read_text())).text == "no cost is stated"


@pytest.mark.parametrize(
    ("unit", "currency", "per"),
    [
        ("platform credits per km² and 3 months of  observation.", CREDITS, {"km2": 1, "month": 3}),
        ("€ per input product (Amplitude or Coherence)", "EUR", PRODUCT),
        ("EUR / 100 km2", "EUR", {"km2": 100}),
        ("euros per hectare", "EUR", {"km2": 0.01}),
        ("€/km²/year", "EUR", {"km2": 1, "month": 12}),
        ("US$ per km2, per observation", "USD", PER_OBSERVATION),
        ("credits per square kilometer per quarter", CREDITS, {"km2": 1, "month": 3}),
        ("processing units", "processing units", {}),
        ("€ per job", "EUR", {}),
        ("€ per month per Sentinel-2 tile", "EUR", PER_S2_MONTH),
    ],
)
def test_other_ways_to_write_it(unit: str, currency: str, per: dict[str, float]) -> None:
    price = price_of(2.0, unit)
    assert price is not None
    assert (price.currency, price.per) == (currency, per)


@pytest.mark.parametrize(
    ("amount", "unit", "told"),
    [
        (1, None, "cost cannot be read, it has no unit: '1'"),
        (1, "credits per megapixel", "cost cannot be read: '1 credits per megapixel'"),
        (1, "credits per core hour", "cost cannot be read: '1 credits per core hour'"),
        (1, "credits per tile", "cost cannot be read: '1 credits per tile'"),
        (1, "credits per km² per km²", "cost cannot be read: '1 credits per km² per km²'"),
        (1, "credits per km² or so", "cost cannot be read: '1 credits per km² or so'"),
        (1, "apples per km²", "cost cannot be read: '1 apples per km²'"),
        (1, "credits per 0 km²", "cost cannot be read: '1 credits per 0 km²'"),
        (1, 7, "cost cannot be read, it has no unit: '1 7'"),
        ("ask us", "€", "cost cannot be read, the amount is no number: 'ask us €'"),
        (True, "€", "cost cannot be read, the amount is no number: 'True €'"),
        (-1, "€", "cost cannot be read, the amount is no number: '-1 €'"),
        (float("nan"), "€", "cost cannot be read, the amount is no number: 'nan €'"),
        (None, "€ per km²", "cost cannot be read, the amount is no number: '€ per km²'"),
        (None, "free of charge", "free, as the record states"),
        (0, "credits per km²", "0 credits per km²; 0 may also mean that it was not measured"),
        (None, None, "no cost is stated"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_words(amount: Any, unit: Any, told: str) -> None:
    properties = {"cost_estimate": amount, "cost_unit": unit}
    stated = record_cost({"properties": properties})
    assert stated.text == told
    assert (stated.price is None) == ("cannot" in told or told == "no cost is stated")


def test_the_spelling_of_the_documentation_counts_too() -> None:
    price = record_cost({"properties": {"cost_estimate": 2, "cost_units": "€ per km²"}}).price
    assert str(price) == "2 EUR per km²"
