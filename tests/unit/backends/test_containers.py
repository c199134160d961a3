"""Images are there before the first tile, or one line says why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from upscaling.backends.cwl.containers import check_images
from upscaling.errors import ConfigError

# A fake: an engine with a store of one image, and a registry that knows one more.
ENGINE = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/asked"
case "$*" in
  "image inspect "*" own:1") echo sha256:abc ;;
  "pull --quiet known:1") echo pulled ;;
  *) echo "first line" >&2; echo "Error: manifest unknown" >&2; exit 125 ;;
esac
"""


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    (engine := tmp_path / "podman").write_text(ENGINE)
    engine.chmod(0o755)
    return tmp_path / "asked"


def test_an_image_that_is_nowhere_is_found_before_the_first_tile(asked: Path) -> None:
    path = f"{asked.parent}{os.pathsep}{os.defpath}"
    check_images("podman", None, ["own:1", "known:1"], path, here=True)
    assert "pull --quiet known:1" in asked.read_text()
    assert "pull --quiet own:1" not in asked.read_text()
    with pytest.raises(ConfigError) as caught:
        check_images("podman", None, ["gone:1"], path, here=True)
    assert str(caught.value) == "backend.container: gone:1 cannot be pulled: Error: manifest unknown"
    asked.unlink()
    check_images("podman", None, ["gone:1"], path, here=False)  # other machines have stores of their own
    assert not asked.exists()


def test_singularity_would_pull_for_every_tile_without_a_folder(
    asked: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CWL_SINGULARITY_CACHE", raising=False)
    (asked.parent / "podman").rename(asked.parent / "apptainer")
    path = str(asked.parent)
    with pytest.raises(ConfigError, match=r"backend\.site\.container_cache: is required for Singularity"):
        check_images("singularity", None, ["own:1"], path, here=False)
    check_images("singularity", None, [], path, here=True)
    monkeypatch.setenv("CWL_SINGULARITY_CACHE", str(tmp_path))
    check_images("singularity", None, ["own:1"], path, here=True)
