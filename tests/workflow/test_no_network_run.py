"""After `upscaling plan` and `pull` a whole run needs no network, not even the loopback of before."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, missing
from tests.containers import Podman
from tests.pixels import put_together, scene_ndvi, window
from tests.servers import environment, served
from tests.stac_products import products_api
from tests.workflow.conftest import Run, package_config, work_folder
from tests.workflow.test_stage_in_run import assert_is_water

# In a network namespace of its own there is a loopback, and no way out.
ALONE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && test -z "$(ip route)" && exec "$@"', "alone"]


@dataclass
class LonelyRun(Run):
    """A run without a network."""

    def command(self, *arguments: str) -> list[str]:
        return [*ALONE, *super().command(*arguments)]


@pytest.fixture(scope="module")
def alone() -> None:
    if not shutil.which("ip") or subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        missing("unshare --net and ip, for root")


@pytest.fixture
def web() -> Iterator[str]:
    """The folder of the demo package on the web, that is on the loopback of here."""
    with served(ROOT / "cwl") as address:
        yield address


def prepare(run: Run) -> None:
    """Do what needs a network."""
    for word in ("plan", "pull"):
        said = run.upscaling(word, "config.yaml")
        assert said.returncode == 0, said.stderr


@pytest.mark.slow
def test_a_package_of_the_web_in_its_image(
    alone: None, podman: Podman, ndvi_image: str, web: str, scene: Path, tmp_path: Path
) -> None:
    config = package_config(scene, "utm-10km", container="podman", site={"container_cache": "images"})
    config["algorithm"]["source"] = f"{web}/ndvi.cwl#ndvi"
    run = LonelyRun(work_folder(tmp_path), environment(**podman.environment), config)
    assert run.snakemake("-n").returncode != 0, "there is a network: the package could be had without a plan"
    prepare(run)
    podman("rmi", "--force", ndvi_image)
    done = run.gather()
    assert done.returncode == 0, done.stderr
    expected, bounds = scene_ndvi(scene)
    np.testing.assert_array_equal(window(*put_together(run.results / "collection.json"), bounds), expected)


@pytest.mark.slow
def test_four_tools_over_items_of_a_stac_api(
    alone: None, water_run: Callable[..., Run], scene: Path, tmp_path: Path
) -> None:
    with products_api(scene, tmp_path / "files") as server:
        run = water_run(server.url, LonelyRun)
        prepare(run)
    shutil.rmtree(tmp_path / "files")
    done = run.gather()
    assert done.returncode == 0, done.stderr
    assert_is_water(run, scene, ["west_a", "east_a", "whole_b"])
