"""Real containers: Podman with a store and a configuration of its own, and the demo package's image, built here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, missing
from tests.servers import bound_to_this_process, free_port, listening, stopped

__all__ = ["NDVI_IMAGE", "Podman", "Registry"]

NDVI_IMAGE = "localhost/eo-upscaling-ndvi:0.1.0"
# Kept between sessions: making the base image takes two minutes.
HOME = Path("/var/tmp/eo-upscaling-images")
BASE = "localhost/eo-upscaling-python:1"
# What many containers on one machine may not do: raise limits, have a network or a cgroup of their own.
CONFIG = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{home}/store"
runroot = "{home}/run"
"""


@dataclass(frozen=True)
class Podman:
    """Podman, for tests and for the runs that they start."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "CONTAINERS_CONF": str(self.home / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.home / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.home / "registries.conf"),
        }

    def __call__(self, *arguments: str) -> str:
        environment = {**os.environ, **self.environment}
        said = subprocess.run(["podman", *arguments], env=environment, capture_output=True, text=True, check=False)
        assert said.returncode == 0, f"podman {' '.join(arguments)}: {said.stderr}"
        return said.stdout

    def has(self, image: str) -> bool:
        return image in self("images", "--format", "{{.Repository}}:{{.Tag}}").split()

    def started(self, image: str, since: float) -> int:
        """How many containers of an image were started since then (seconds since 1970)."""
        said = self("events", "--stream=false", "--since", str(int(since)), "--format", "{{.Status}} {{.Image}}")
        return said.splitlines().count(f"start {image}")

    @contextmanager
    def docker(self) -> Iterator[dict[str, str]]:
        """Yield the environment in which Podman serves ``docker``, which is Docker's own client or Podman's."""
        if not shutil.which("docker"):
            missing("docker (or Debian's podman-docker)")
        socket = self.home / "docker.sock"
        socket.unlink(missing_ok=True)
        command = ["podman", "system", "service", "--time=0", f"unix://{socket}"]
        server = subprocess.Popen(
            bound_to_this_process(command), env={**os.environ, **self.environment}, stderr=subprocess.DEVNULL
        )
        try:
            while not socket.exists():
                assert server.poll() is None, "podman's service did not start"
                time.sleep(0.1)
            yield {**self.environment, "DOCKER_HOST": f"unix://{socket}"}
        finally:
            server.terminate()
            server.wait(200)

    def tiny(self, name: str) -> str:
        """Make an image that holds nothing but one file; return its id."""
        archive = self.home / "tiny.tar"
        (self.home / "name").write_text(name)
        subprocess.run(["tar", "-C", str(self.home), "-cf", str(archive), "name"], check=True)
        self("import", "-q", str(archive), name)
        return self("image", "inspect", "--format", "{{.Id}}", name).strip()


@pytest.fixture(scope="session")
def podman() -> Podman:
    """Podman as root, with Debian's packages ``podman`` and ``runc``."""
    if os.geteuid() != 0 or not shutil.which("podman") or not shutil.which("runc"):
        missing("podman with runc, for root")
    HOME.mkdir(exist_ok=True)
    (HOME / "containers.conf").write_text(CONFIG)
    (HOME / "storage.conf").write_text(STORAGE.format(home=HOME))
    (HOME / "registries.conf").write_text("")
    return Podman(HOME)


@pytest.fixture(scope="session")
def ndvi_image(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of ``cwl/ndvi/Containerfile``, built by Podman; no network, and no registry, has a part in it.

    Its base, python:3.12-slim, stands in a registry out of reach: Debian's own Python takes its place, with the wheels
    that the Containerfile asks for beside it.
    """
    containerfile = ROOT / "cwl" / "ndvi" / "Containerfile"
    if not podman.has(BASE):
        if not shutil.which("debootstrap"):
            missing("debootstrap")
        _make_base(podman, tmp_path_factory.mktemp("base"), containerfile)
    podman("build", "-q", "--network=none", f"--from={BASE}", f"--tag={NDVI_IMAGE}", str(containerfile.parent))
    return NDVI_IMAGE


def _make_base(podman: Podman, folder: Path, containerfile: Path) -> None:
    quoted = [word.strip('"') for word in containerfile.read_text().split() if word.startswith('"')]
    assert quoted, "the Containerfile names the packages that it wants in quotes"
    root = folder / "root"
    packages = "python3,python3-pip,python-is-python3"
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(root)],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=600,
    )
    which = ["--python-version", "3.11", "--only-binary=:all:", "--dest", str(root / "wheels")]
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", *which, *quoted], check=True, timeout=300)
    # The Containerfile's own `pip install` finds them.
    (root / "etc/pip.conf").write_text(
        "[global]\nno-index = true\nfind-links = /wheels\nbreak-system-packages = true\n"
    )
    shutil.rmtree(root / "var/cache/apt")
    archive = folder / "base.tar"
    subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
    podman("import", "-q", str(archive), BASE)
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Registry:
    """A registry of images and other artifacts."""

    address: str


@pytest.fixture(scope="session")
def image_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The registry program that Docker's own image is of, from Debian's package ``docker-registry``, on loopback."""
    if not shutil.which("docker-registry"):
        missing("docker-registry")
    folder = tmp_path_factory.mktemp("registry")
    address = f"127.0.0.1:{free_port()}"
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    command = ["docker-registry", "serve", str(folder / "config.yml")]
    server = listening(command, int(address.rpartition(":")[2]), folder / "log")
    _answers(address, folder / "log")
    yield Registry(address)
    stopped(server)


def _answers(address: str, log: Path) -> None:
    import requests

    for _ in range(100):
        try:
            requests.get(f"http://{address}/v2/", timeout=60).raise_for_status()
        except requests.RequestException:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the registry did not start: {log.read_text()}")
