"""Outputs of one fixed name under a scatter: none is lost, and none stands in another's place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from upscaling.errors import TileFailedError
from upscaling.model import Outcome, TileJob

from .conftest import PACKAGES

WORDS = ["first", "second", "third"]


@pytest.fixture
def folders_job(tmp_path: Path, make_job: Callable[..., TileJob]) -> Callable[..., TileJob]:
    (tmp_path / "note.txt").write_text("noted\n")
    note = str(tmp_path / "note.txt")

    def make(package: Path = PACKAGES / "folders.cwl") -> TileJob:
        return make_job(package, {"words": WORDS, "note": note, "notes": [note]})

    return make


def test_folders_and_files_of_one_name_stay_apart(
    folders_job: Callable[..., TileJob], run_job: Callable[..., Outcome]
) -> None:
    assets = {asset.key: asset.path.read_text() for asset in run_job(folders_job()).assets}
    assert [assets[f"each_{word}"] for word in WORDS] == [f"{word}\n" for word in WORDS]
    assert [text for key, text in assets.items() if key.startswith("texts")] == [f"{word}\nnoted\n" for word in WORDS]
    gathered = [text for key, text in assets.items() if key.startswith("all")]
    assert sorted(gathered) == ["first\n", "noted\n", "second\n", "third\n"]


@pytest.mark.parametrize("inside", ["$0.txt", "same.txt"])
def test_where_they_would_not_the_other_engine_is_named(
    tmp_path: Path, folders_job: Callable[..., TileJob], run_job: Callable[..., Outcome], inside: str
) -> None:
    """Whether the files in the folders have names of their own, or would have overwritten each other."""
    text = (PACKAGES / "folders.cwl").read_text()
    (tmp_path / "folders.cwl").write_text(text.replace("output/$0.txt", f"output/{inside}"))
    with pytest.raises(TileFailedError, match=r"several folders of one name.*: choose backend\.engine toil"):
        run_job(folders_job(tmp_path / "folders.cwl"), engine="cwltool")


def test_a_step_that_cannot_be_started_is_named(
    tmp_path: Path, make_job: Callable[..., TileJob], run_job: Callable[..., Outcome]
) -> None:
    text = (PACKAGES / "tool.cwl").read_text().replace("baseCommand:", "stdin: /dev/null\nbaseCommand:")
    (tmp_path / "odd.cwl").write_text(text)
    with pytest.raises(TileFailedError, match=r"^step main could not be started: /dev/null missing from pathmapper"):
        run_job(make_job(tmp_path / "odd.cwl", {"command": "true"}), engine="cwltool")
