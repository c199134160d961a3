"""A local catalogue that is not as STAC has it: one line with the document's own reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from upscaling.errors import ConfigError
from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.stac import load_catalogue
from upscaling.local_backend.worker import stac_collection

EXTENT = {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}}


def document(folder: Path, name: str, **content: Any) -> Path:
    head = {"stac_version": "1.0.0", "id": name, "description": "d", "license": "other", "extent": EXTENT}
    (path := folder / f"{name}.json").write_text(json.dumps({**head, **content}))
    return path


def links(rel: str, href: str) -> list[dict[str, str]]:
    return [{"rel": rel, "href": href}]


@pytest.mark.parametrize(
    ("kind", "below", "reason"),
    [
        ("Catalog", links("child", "gone.json"), "No such file or directory"),
        ("Collection", links("item", "gone.json"), "No such file or directory"),
        ("Collection", links("item", "item.json"), "If datetime is None"),
        ("Collection", links("item", "broken.json"), "zero-length, empty document"),
        ("Collection", [{"rel": "item"}], "has no 'href'"),
        ("Collection", 7, "int"),
    ],
)
def test_the_reason_is_told(tmp_path: Path, kind: str, below: Any, reason: str) -> None:
    geometry = {"type": "Point", "coordinates": [0, 0]}
    document(tmp_path, "item", type="Feature", geometry=geometry, properties={"datetime": None}, assets={})
    (tmp_path / "broken.json").write_text("")
    top = document(tmp_path, "top", type=kind, links=below)
    with pytest.raises(ConfigError) as of_data:
        load_catalogue(top)
    with pytest.raises(ProcessError) as of_process:
        stac_collection(str(top))
    for caught in (of_data, of_process):
        assert reason in str(caught.value)
        assert "top" in str(caught.value)
        assert "\n" not in str(caught.value)
