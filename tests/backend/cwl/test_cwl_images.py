"""Which image a tile's tools ran in is told by its digest, as a tag may move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.containers import Podman

from upscaling.algorithms.cwl import pin_package
from upscaling.backends.cwl.containers import digests_of
from upscaling.model import Outcome, TileJob
from upscaling.util.files import sha256_file, write_json

from .conftest import DEMO


@pytest.mark.slow
def test_the_engine_tells_the_digest_of_the_image_that_ran(
    podman: Podman,
    ndvi_image: str,
    scene: Path,
    make_job: Callable[..., TileJob],
    run_job: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in podman.environment.items():
        monkeypatch.setenv(name, value)
    job = make_job(DEMO, {"scene": str(scene), "datetime": "2022-06-12T10:15:59Z"})
    outcome = run_job(job, engine="cwltool", container="podman")
    digest = podman("image", "inspect", "--format", "{{.Digest}} {{.Id}}", ndvi_image).split()
    assert outcome.software.keys() == {"cwltool", "ndvi", ndvi_image}
    assert outcome.software[ndvi_image].removeprefix("sha256:") in " ".join(digest)
    assert len(outcome.software[ndvi_image]) == len("sha256:") + 64
    assert ndvi_image not in run_job(job, engine="cwltool").software


def test_the_cache_tells_it_where_nodes_take_images_from_there(tmp_path: Path) -> None:
    """Also of a step that ran on another machine, whose engine nobody asks."""
    package = pin_package(DEMO, tmp_path / "plan").path
    assert digests_of.__wrapped__("docker", str(tmp_path), package, here=False) == {}
    (tmp_path / "a.sif").write_text("image")
    name = "localhost/eo-upscaling-ndvi:0.1.0"
    known = {"file": "a.sif", "sha256": sha256_file(tmp_path / "a.sif"), "id": "", "digest": "sha256:12"}
    write_json(tmp_path / "images.json", {name: known})
    assert digests_of.__wrapped__("docker", str(tmp_path), package, here=False) == {name: "sha256:12"}
    of_file = {name: f"sha256:{known['sha256']}"}
    assert digests_of.__wrapped__("singularity", str(tmp_path), package, here=True) == of_file
    assert digests_of.__wrapped__("none", str(tmp_path), package, here=True) == {}
