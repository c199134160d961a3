"""Real Snakemake runs in a folder of their own."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.backend.ogcapi.servers import Pygeoapi
from tests.backend.stac.conftest import api  # noqa: F401 -- a fixture
from tests.conftest import ROOT
from tests.servers import EmbeddedBackend, environment, scene_collections

MAX_NDVI = "apex_catalogue/vito/max_ndvi/openeo_udp/max_ndvi.json"
SCENE_AOI = {
    "type": "Polygon",
    "coordinates": [
        [[674990, 5147910], [684340, 5147910], [684340, 5154960], [674990, 5154960], [674990, 5147910]],
    ],
}
CRS = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
# Five tiles of 2 km: of the scene's east and beyond its edge, where no product is.
WATER_AOI = {
    "type": "Polygon",
    "coordinates": [[[678000, 5150000], [688000, 5150000], [688000, 5152000], [678000, 5152000], [678000, 5150000]]],
}
JUNE = ["2022-06-01", "2022-07-01"]


@dataclass
class Run:
    """A working directory with one configuration."""

    folder: Path
    environment: dict[str, str]
    config: dict[str, Any]

    @property
    def results(self) -> Path:
        return self.folder / "results" / str(self.config["run"])

    def write(self) -> Path:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config))
        return path

    def command(self, *arguments: str) -> list[str]:
        profile = ROOT / "workflow" / "profiles" / "local"
        return ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--profile", str(profile),
                "--configfile", "config.yaml", *arguments]  # fmt: skip

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        self.write()
        with (self.folder / "snakemake.out").open("wb") as out:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._said(self.command(*arguments))

    def gather(self) -> subprocess.CompletedProcess[str]:
        """Run as far as the collection: where a test is not about mosaic, quality report and report.

        Of a run that has a collection, tiles that are gone or failed are not made: `snakemake` makes them.
        """
        return self.snakemake("--", "collect_items")

    def upscaling(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Give a command of ours, as a person does beside Snakemake."""
        return self._said(["upscaling", *words], COLUMNS="100")

    def _said(self, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        self.write()
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


def work_folder(tmp_path: Path, name: str = "work") -> Path:
    """Make a working directory with the outline of the scene."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "scene.geojson").write_text(json.dumps(SCENE_AOI | {"crs": CRS}))
    return folder


def package_config(scene: Path, grid: str, **backend: Any) -> dict[str, Any]:
    """The demo package over the whole scene."""
    return {
        "run": "package",
        "algorithm": {
            "source": str(ROOT / "cwl" / "ndvi.cwl"),
            "parameters": {"scene": str(scene), "datetime": "2022-06-12T10:10:00Z"},
        },
        "area": {"aoi": "scene.geojson", "grid": grid},
        "backend": {"kind": "cwl", **backend},
    }


USERS = [f"tester{number}" for number in range(1, 100)]
_unused = itertools.cycle(USERS)


@pytest.fixture(scope="package")
def one_platform(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBackend]:
    """An embedded back-end that serves the real scene; its start costs as much as most of a test."""
    folder = tmp_path_factory.mktemp("platform")
    server = EmbeddedBackend(scene_collections(scene, folder), folder / "backend", others=USERS).start()
    yield server
    server.stop()


@pytest.fixture
def backend(one_platform: EmbeddedBackend) -> Iterator[EmbeddedBackend]:
    """The embedded back-end, to a user who has no job yet."""
    own = one_platform.as_user(next(_unused))
    yield own
    own.end_jobs()


@pytest.fixture
def scene_run(shared_data: Path, tmp_path: Path) -> Callable[..., Run]:
    """Make a run of the catalogue's max_ndvi over the whole scene."""
    folder = work_folder(tmp_path)

    def make(backend: EmbeddedBackend, **changes: Any) -> Run:
        config: dict[str, Any] = {
            "run": "real",
            "algorithm": {
                "source": str(shared_data / MAX_NDVI),
                "parameters": {"temporal_extent": ["2022-06-01", "2022-07-01"]},
            },
            "area": {"aoi": "scene.geojson", "grid": "utm-2km"},
            "backend": {
                "kind": "openeo",
                "url": backend.url,
                "auth": "basic",
                "slots": backend.slots,
                "poll_seconds": [0.2, 2],
            },
        }
        return Run(folder, backend.environment, {**config, **changes})

    return make


@pytest.fixture
def server(scene: Path, tmp_path: Path) -> Iterator[Pygeoapi]:
    running = Pygeoapi(tmp_path / "pygeoapi", scene)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def ogc_run(tmp_path: Path) -> Callable[..., Run]:
    folder = work_folder(tmp_path)

    def make(server: Any, *, parameters: dict[str, Any] | None = None, process: str = "ndvi", **changes: Any) -> Run:
        backend = {"kind": "ogcapi", "slots": 4, "poll_seconds": [0.2, 1], **changes.pop("backend", {})}
        config: dict[str, Any] = {
            "run": "ogc",
            "algorithm": {"source": f"{server.url}/processes/{process}", "parameters": parameters or {}},
            "area": {"aoi": "scene.geojson", "grid": "utm-2km"},
            "backend": backend,
        }
        return Run(folder, environment(), {**config, **changes})

    return make


@pytest.fixture
def water_run(tmp_path: Path) -> Callable[..., Run]:
    """Make a run of the package of four tools over staged items."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "area.geojson").write_text(json.dumps(WATER_AOI | {"crs": CRS}))

    def make(catalogue: str | Path, kind: type[Run] = Run, **changes: Any) -> Run:
        stage_in = {"catalogue": str(catalogue), "collections": ["s2"], "max_cloud_cover": 30, "time": JUNE}
        config = {
            "run": "water",
            "algorithm": {"source": f"{ROOT / 'cwl' / 'water.cwl'}#water"},
            "area": {"aoi": "area.geojson", "grid": "utm-2km"},
            "stage_in": stage_in,
            "backend": {"kind": "cwl", "engine": "cwltool", "slots": 2, "chunk": 3},
        }
        return kind(folder, environment(), {**config, **changes})

    return make
