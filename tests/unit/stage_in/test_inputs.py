"""Which input of an algorithm takes items: one whose type or whole name says so, or the one that is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Parameter
from upscaling.stage_in.inputs import input_of, staged_words

URI = {"type": "record", "name": "URI", "fields": {"value": "string"}}


def package(**inputs: Any) -> Algorithm:
    parameters = tuple(Parameter(name, schema, required=True) for name, schema in inputs.items())
    return Algorithm("cwl", "app", Path("app.cwl"), "0", "app.cwl", parameters)


@pytest.mark.parametrize(
    "name",
    [
        *("product_type", "image_format", "input_count", "stac_version", "itemised", "scenery", "product_version"),
        *("reference_year", "items_per_page", "acquisition_mode", "source_crs", "input_bands", "imagery"),
    ],
)
def test_a_text_that_only_sounds_like_items_is_never_filled(name: str) -> None:
    assert staged_words(Parameter(name, "string", required=True)) is None
    with pytest.raises(ConfigError, match=rf"^stage_in\.input: no input of app seems .*; name one of {name}"):
        input_of(package(**{name: "string"}), None, (), key="stage_in.input")
    assert input_of(package(**{name: "string"}), name, (), key="stage_in.input") == (name, "address")


@pytest.mark.parametrize(
    "name",
    [
        *("item", "items", "product", "scene", "stac_item", "input_reference", "reference", "references", "item_url"),
        *("product_uris", "stac_items", "image", "acquisitions", "input-item", "input", "s1_products", "pre_image"),
        "product_addresses",
    ],
)
def test_an_unmistakable_name_is_filled(name: str) -> None:
    assert input_of(package(**{name: "string", "product_type": "string"}), None, (), key="k") == (name, "address")


def test_a_text_with_a_word_as_default_takes_no_items() -> None:
    assert staged_words(Parameter("product", "string", required=False, default="NDVI")) is None
    address = Parameter("product", "string", required=False, default="https://h.example/i.json")
    assert staged_words(address) == "an item's address"


def test_a_type_says_it_whatever_the_name() -> None:
    assert input_of(package(where=URI, product_type="string"), None, (), key="k") == ("where", "address")
    assert input_of(package(data="Directory", item="string"), None, (), key="k") == ("data", "folder")
    two = package(pre="Directory", post="Directory")
    with pytest.raises(ConfigError, match=r"^k: name the one of pre, post that takes the items"):
        input_of(two, None, (), key="k")
    assert input_of(two, "pre", {"post"}, key="k") == ("pre", "folder")
    assert input_of(two, None, {"post"}, key="k") == ("pre", "folder")
