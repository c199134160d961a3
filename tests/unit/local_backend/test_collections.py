"""The list of files that a back-end serves is documented as it is read."""

from __future__ import annotations

import yaml

from tests.conftest import ROOT
from upscaling.local_backend.data import CollectionEntry, CollectionItem, DataList


def test_the_documented_list_is_one_and_names_every_key() -> None:
    text = (ROOT / "docs" / "configuring.md").read_text()
    example = text.partition('```yaml title="collections.yaml"\n')[2].partition("```")[0]
    found = DataList.model_validate(yaml.safe_load(example))
    (collection,) = found.collections.values()
    assert collection.model_fields_set == set(CollectionEntry.model_fields)
    assert collection.items[0].model_fields_set == set(CollectionItem.model_fields)
