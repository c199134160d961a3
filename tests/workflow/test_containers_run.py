"""The demo package in its image: pulled into a cache, taken from there, run by Podman, equal to numpy to the bit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.containers import NDVI_IMAGE, Podman, Registry
from tests.pixels import put_together, scene_ndvi, window
from tests.servers import environment
from tests.workflow.conftest import Run, package_config, work_folder
from upscaling.backends.cwl.containers import end_orphans


@pytest.fixture
def container_run(podman: Podman, scene: Path, tmp_path: Path) -> Callable[..., Run]:
    folder = work_folder(tmp_path)

    def make(**backend: Any) -> Run:
        own = {"container": "podman", "engine": "cwltool", "site": {"container_cache": "images"}, **backend}
        return Run(folder, environment(**podman.environment), package_config(scene, "utm-10km", **own))

    return make


@pytest.mark.slow
@pytest.mark.parametrize("container", ["podman", "docker"])
def test_the_package_runs_in_the_image_of_the_cache(
    ndvi_image: str, podman: Podman, container_run: Callable[..., Run], scene: Path, container: str
) -> None:
    run = container_run(container=container)
    with podman.docker() if container == "docker" else nullcontext({}) as of_docker:
        run.environment |= of_docker
        pulled = run.upscaling("pull", "config.yaml")
        assert pulled.returncode == 0, pulled.stderr
        podman("rmi", "--force", ndvi_image)  # as on a node that never saw it
        began = time.time()
        done = run.gather()
        assert done.returncode == 0, done.stderr
    expected, bounds = scene_ndvi(scene)
    np.testing.assert_array_equal(window(*put_together(run.results / "collection.json"), bounds), expected)
    tiles = len(list(run.results.glob("tiles/*/item.json")))
    assert podman.started(ndvi_image, began) == tiles > 1
    pulled_as = json.loads((run.folder / "images/images.json").read_text())[ndvi_image]["digest"]
    for item in run.results.glob("tiles/*/item.json"):
        assert json.loads(item.read_text())["properties"]["processing:software"][ndvi_image] == pulled_as


def test_what_a_killed_run_left_in_its_container_is_ended(ndvi_image: str, podman: Podman, tmp_path: Path) -> None:
    shim = ROOT / "src/upscaling/backends/cwl/engines/podman"
    sleep = [shim, "run", "--rm", ndvi_image, "sleep", "600"]
    mine, other = tmp_path / "scratch" / "cwl-1", tmp_path / "scratch2" / "cwl-1"
    clients = []
    for folder in (mine, other):
        marked = {**os.environ, **podman.environment, "UPSCALING_CWL_RUN": f"{folder}/"}
        clients.append(subprocess.Popen(sleep, env=marked))
    running = ["ps", "--quiet", "--filter", "label=eo-upscaling"]
    while len(podman(*running).split()) < 2:
        assert all(client.poll() is None for client in clients)
        time.sleep(0.1)
    for client in clients:
        client.kill()
        client.wait()
    assert len(podman(*running).split()) == 2, "containers are not children of who started them"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in podman.environment.items():
            patch.setenv(name, value)
        end_orphans("podman", [mine], os.environ["PATH"])
        (left,) = podman(*running).split()
        assert str(other) in podman("inspect", left)
        end_orphans("podman", [other], os.environ["PATH"])
    assert not podman(*running).split()


@pytest.mark.slow
def test_the_package_runs_in_apptainer(
    ndvi_image: str, podman: Podman, container_run: Callable[..., Run], scene: Path
) -> None:
    """Debian has no package of it: this runs where it is, on most clusters."""
    engine = shutil.which("singularity") or shutil.which("apptainer")
    if engine is None:
        pytest.skip("singularity or apptainer is missing")
    run = container_run(container="singularity")
    would = run.upscaling("pull", "config.yaml", "--dry-run").stdout
    image = run.folder / would.split("would be pulled to ")[1].strip()
    image.parent.mkdir()
    podman("save", "-o", str(run.folder / "image.tar"), ndvi_image)
    subprocess.run([engine, "build", str(image), f"docker-archive:{run.folder / 'image.tar'}"], check=True)
    done = run.gather()
    assert done.returncode == 0, done.stderr
    expected, bounds = scene_ndvi(scene)
    np.testing.assert_array_equal(window(*put_together(run.results / "collection.json"), bounds), expected)


@pytest.fixture
def own_image(podman: Podman, image_registry: Registry) -> Iterator[tuple[str, str]]:
    """An image in a registry: its name, and its digest there."""
    (podman.home / "registries.conf").write_text(
        f'[[registry]]\nlocation = "{image_registry.address}"\ninsecure = true\n'
    )
    name = f"{image_registry.address}/eo/tiny"
    podman.tiny(f"{name}:1")
    podman("push", "-q", "--digestfile", str(podman.home / "digest"), f"{name}:1")
    podman("rmi", "--force", f"{name}:1")
    yield name, (podman.home / "digest").read_text()
    (podman.home / "registries.conf").write_text("")
    podman("image", "prune", "--force")
    if podman.has(f"{name}:1"):
        podman("rmi", "--force", f"{name}:1")


def with_image(run: Run, image: str) -> None:
    """Let the run be of a package that names this image."""
    text = (ROOT / "cwl" / "ndvi.cwl").read_text().replace(NDVI_IMAGE, image)
    text = text.replace("{$include: ndvi/ndvi.py}", '""')
    (run.folder / "named.cwl").write_text(text)
    run.config["algorithm"]["source"] = "named.cwl"


def test_images_are_pulled_checked_and_found_by_their_digest(
    podman: Podman, own_image: tuple[str, str], container_run: Callable[..., Run]
) -> None:
    run, (name, digest) = container_run(), own_image
    for image in (f"{name}:1", f"{name}@{digest}"):
        with_image(run, image)
        refused = run.upscaling("check", "config.yaml")
        assert (
            f"config.yaml: backend.site.container_cache: {image} is not in images: run `upscaling pull"
            in refused.stderr
        )
        would = run.upscaling("pull", "config.yaml", "--dry-run")
        assert f"{image}: would be pulled to images/" in would.stdout
        pulled = run.upscaling("pull", "config.yaml")
        assert f"{image}: {digest}, images/" in pulled.stdout, pulled.stderr
        podman("rmi", "--force", json.loads((run.folder / "images/images.json").read_text())[image]["id"])
        # What the runner does on a node: it looks for the image, and then runs it.
        shim = ROOT / "src/upscaling/backends/cwl/engines/podman"
        on_node = {**run.environment, "UPSCALING_IMAGES": str(run.folder / "images")}
        found = subprocess.run([shim, "inspect", image], env=on_node, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr
        created = subprocess.run(
            [shim, "create", "--userns=keep-id", image, "x"], env=on_node, capture_output=True, check=True
        )
        podman("rm", created.stdout.decode().strip())
        assert run.upscaling("check", "config.yaml").returncode == 0
    (archive,) = (run.folder / "images").glob("*=*.tar")
    with archive.open("ab") as stream:
        stream.write(b"changed")
    again = run.upscaling("pull", "config.yaml")
    assert again.returncode == 1
    assert "is not what was pulled" in again.stderr


def test_an_image_that_is_nowhere_is_told_in_one_line(
    podman: Podman, own_image: tuple[str, str], container_run: Callable[..., Run]
) -> None:
    run, (name, _) = container_run(), own_image
    with_image(run, f"{name}:2")
    told = run.upscaling("pull", "config.yaml")
    assert told.returncode == 1
    assert told.stderr.startswith(f"error: {name}:2 cannot be pulled: ")
    assert "manifest unknown" in told.stderr
    assert told.stderr.count("\n") == 1
    run.config["backend"]["container"] = "none"
    assert "backend.container is none" in run.upscaling("pull", "config.yaml").stdout
