"""From nothing to a result: `upscaling init` and `upscaling run` for the three kinds of services, on real servers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.backend.ogcapi.servers import Pygeoapi
from tests.conftest import ROOT
from tests.servers import EmbeddedBackend, environment
from tests.workflow.conftest import MAX_NDVI
from upscaling.config import load_config

INSIDE = "11.30,46.484,11.31,46.49"  # of one tile of 5 km


def said(folder: Path, *words: str, answers: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["upscaling", *words], cwd=folder, env=environment(**more), capture_output=True, text=True, input=answers or "",
        timeout=600, check=False,
    )  # fmt: skip


def run_new(folder: Path, env: dict[str, str], *options: str) -> dict[str, Any]:
    """Make a project, plan it and run it; return its collection."""
    made = said(folder, "init", "new", "--area", INSIDE, "--grid", "utm-5km", *options)
    assert made.returncode == 0, made.stderr
    assert "to fill in" not in made.stdout, made.stdout
    project = folder / "new"
    config = load_config(project / "config.yaml")
    assert config.run == "new"
    done = said(project, "run", "config.yaml", **env)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("snakemake --snakefile ")
    assert lines[0].endswith("--configfile config.yaml")
    assert any(line.startswith("report       ") for line in lines), "what to open"
    return dict(json.loads((project / "results" / "new" / "collection.json").read_text()))


def test_openeo(shared_data: Path, backend: EmbeddedBackend, tmp_path: Path) -> None:
    source = shared_data / MAX_NDVI
    options = ["--algorithm", str(source), "--time", "2022-06-01/2022-07-01", "--platform", backend.url]
    collection = run_new(tmp_path, backend.environment, *options)
    assert len([link for link in collection["links"] if link["rel"] == "item"]) >= 1
    # The Snakefile of the project is the same run for those who know Snakemake.
    again = subprocess.run(
        ["snakemake", "-n", "--cores", "1"], cwd=tmp_path / "new", env=environment(), capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert "Nothing to be done" in again.stdout + again.stderr, again.stderr


def test_application_package(scene: Path, tmp_path: Path) -> None:
    options = ["--algorithm", str(ROOT / "cwl" / "ndvi.cwl"), "--container", "none", "--parameter", f"scene={scene}"]
    collection = run_new(tmp_path, {}, *options, "--parameter", "datetime=2022-06-12T10:10:00Z")
    assert [link for link in collection["links"] if link["rel"] == "item"]
    assert "# resolution: 10.0" in (tmp_path / "new" / "config.yaml").read_text(), "a default of the package"


def test_ogc_process(server: Pygeoapi, tmp_path: Path) -> None:
    collection = run_new(tmp_path, {}, "--algorithm", f"{server.url}/processes/ndvi")
    assert [link for link in collection["links"] if link["rel"] == "item"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("a/b",), "error: 'a/b' is no name: letters, digits, _ and -, and a letter or digit first"),
        (("new",), "error: say which algorithm: --algorithm FILE, ADDRESS or ID"),
        (
            ("new", "--algorithm", "{ndvi}", "--parameter", "x=1"),
            "error: ndvi has no parameter 'x'; it has: bands, bbox",
        ),
        (("new", "--algorithm", "{ndvi}", "--parameter", "x"), "error: --parameter: 'x' is not NAME=VALUE"),
        (
            ("new", "--algorithm", "{ndvi}", "--parameter", "mask=[on]"),
            "error: --parameter mask, line 1: 0: YAML reads on",
        ),
        (("new", "--algorithm", "{ndvi}", "--time", "2022"), "error: --time: '2022' is no START/END"),
        (("new", "--algorithm", "{ndvi}", "--time", "2022-01-01/2023-01-01"), "error: --time: ndvi takes no dates"),
        (("new", "--algorithm", "{ndvi}", "--step", "month"), "error: --step: it belongs to --time START/END"),
        (("new", "--algorithm", "{ndvi}", "--platform", "http://127.0.0.1"), "error: --platform: a package runs here"),
        (("new", "--algorithm", "{ndvi}", "--area", "gone.gpkg"), "error: --area: gone.gpkg: no such file"),
        (("new", "--algorithm", "{ndvi}", "--grid", "utm-2"), "error: --grid: there is no grid 'utm-2'; did you mean"),
        (
            ("new", "--algorithm", "{ndvi}", "--container", "rkt"),
            "error: --container: input should be 'none', 'docker'",
        ),
        (("new", "--algorithm", "{udp}", "--platform", "ftp://x"), "error: --platform: must start with https://"),
        (("new", "--algorithm", "{udp}", "--auth", "magic"), "error: --auth: input should be 'none', 'basic'"),
        (("full", "--algorithm", "{ndvi}"), "error: full is there already, and not empty"),
    ],
)
def test_what_cannot_be_made_is_one_line(tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    (tmp_path / "full" / "x").mkdir(parents=True)
    places = {"ndvi": ROOT / "cwl" / "ndvi.cwl", "udp": ROOT / "config" / "demo" / "ndvi_composite.json"}
    done = said(tmp_path, "init", *(word.format(**places) for word in words))
    assert done.returncode == 1
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_on_a_terminal_it_asks_and_a_wrong_answer_is_asked_for_again(tmp_path: Path) -> None:
    answers = [str(ROOT / "config/demo/ndvi_composite.json"), "gone.gpkg", "11.3,46.4,11.4,46.5", "utm-3", "utm-5km"]
    answers += ["2023", "2023-06-01/2023-09-01", "fortnight", "month", "ftp://x", "http://127.0.0.1:8787/openeo/1.2"]
    terminal, end = os.openpty()
    os.write(terminal, "".join(f"{answer}\n" for answer in answers).encode())
    done = subprocess.run(
        ["upscaling", "init", "new"], cwd=tmp_path, env=environment(), stdin=end, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    os.close(end)
    os.close(terminal)
    assert done.returncode == 0, done.stderr
    for line in ("no such file", "there is no grid 'utm-3'", "'2023' is no START/END", "found 'fortnight'", "https://"):
        assert line in done.stdout
    assert "to fill in" not in done.stdout
    config = load_config(tmp_path / "new" / "config.yaml")
    assert (config.area.grid, config.time.step, config.backend.url) == (  # type: ignore[union-attr]
        "utm-5km", "month", answers[-1],
    )  # fmt: skip
