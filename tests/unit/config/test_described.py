"""The texts below the fields of a model."""

from __future__ import annotations

from pydantic import Field

from upscaling.config.collection import Block
from upscaling.config.described import descriptions, schema_of


class Crate(Block):
    """What holds things."""

    size: int = 1
    """Edge,
    in metres."""

    plain: str = ""
    said: str = Field("", description="As it is said.")


class Bottle(Crate):
    """Narrower."""

    size: int = 2
    """Height."""

    crate: Crate | None = None
    """Where it stands."""


def test_inherited_and_own_texts_stand_in_descriptions_and_schema() -> None:
    assert descriptions(Crate) == {"size": "Edge,\nin metres.", "said": "As it is said."}
    assert descriptions(Bottle) == {"size": "Height.", "said": "As it is said.", "crate": "Where it stands."}
    schema = schema_of(Bottle)
    texts = {name: field.get("description") for name, field in schema["properties"].items()}
    assert texts == {**descriptions(Bottle), "plain": None}
    assert schema["$defs"]["Crate"]["properties"]["size"]["description"] == "Edge,\nin metres."
