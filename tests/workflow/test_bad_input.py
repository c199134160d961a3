"""Bad input is one clear line that names file and key; the exit status is not 0; nothing is sent."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.servers import EmbeddedBackend, free_port
from tests.workflow.conftest import Run

BOWTIE = {"type": "Polygon", "coordinates": [[[11.3, 46.5], [11.3, 46.5], [11.3, 46.5], [11.3, 46.5]]]}


def _algorithm(**changes: Any) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        run.config["algorithm"] = {**run.config["algorithm"], **changes}

    return change


def _area(content: Any = None, **changes: Any) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        if content is not None:
            (run.folder / "aoi.geojson").write_text(content if isinstance(content, str) else json.dumps(content))
        run.config["area"] = {**run.config["area"], **changes}

    return change


def _backend(**changes: Any) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        run.config["backend"] = {**run.config["backend"], **changes}

    return change


def _file(name: str, text: str, then: Callable[[Run], None]) -> Callable[[Run], None]:
    def change(run: Run) -> None:
        (run.folder / name).write_text(text)
        then(run)

    return change


def _wrong_password(run: Run) -> None:
    run.environment = {**run.environment, "OPENEO_AUTH_PASSWORD": "wrong-password"}


TIME = ["2022-06-01", "2022-07-01"]
BROKEN_CWL = "cwlVersion: v1.2\nclass: Workflow\ninputs: [\n"
CWL_BACKEND = {"kind": "cwl"}


def _broken_package(run: Run) -> None:
    (run.folder / "app.cwl").write_text(BROKEN_CWL)
    run.config["algorithm"] = {"source": "app.cwl"}
    run.config["backend"] = CWL_BACKEND


CASES: dict[str, tuple[Callable[[Run], None], tuple[str, ...]]] = {
    "unknown key": (_backend(slotz=3), ("config.yaml: backend.slotz: unknown key; did you mean 'slots'?",)),
    "missing file": (_area(aoi="gone.geojson"), ("area.aoi", "gone.geojson")),
    "AOI not valid": (_area("{ not json", aoi="aoi.geojson"), ("area.aoi", "aoi.geojson")),
    "empty AOI": (_area({"type": "FeatureCollection", "features": []}, aoi="aoi.geojson"), ("area.aoi", "aoi.geojson")),
    "AOI without area": (_area(BOWTIE, aoi="aoi.geojson"), ("area.aoi", "aoi.geojson")),
    "wrong CRS": (_area(aoi=[674990, 5147910, 684340, 5154960]), ("config.yaml: area.aoi",)),
    "AOI outside the data": (
        _area(aoi=[20.0, 46.5, 20.01, 46.51]),
        ("config.yaml: area.aoi: lies outside SENTINEL2_L2A, which covers",),
    ),
    "unknown grid": (_area(grid="utm-2kn"), ("config.yaml: area.grid", "utm-")),
    "unknown parameter": (
        _algorithm(parameters={"temporal_extent": TIME, "bbx": 1}),
        ("config.yaml: algorithm.parameters.bbx", "did you mean 'bbox'?"),
    ),
    "required parameter missing": (
        _algorithm(parameters={}),
        ("config.yaml: algorithm.parameters.temporal_extent: is required by max_ndvi",),
    ),
    "spatial parameter fixed": (
        _algorithm(parameters={"temporal_extent": TIME, "bbox": {"west": 0, "south": 0, "east": 1, "north": 1}}),
        ("config.yaml: algorithm.parameters", "comes from the tile"),
    ),
    "broken UDP": (
        _file("broken.json", '{"process_graph": {', _algorithm(source="broken.json")),
        ("broken.json: algorithm.source: is not JSON", "line 1 column"),
    ),
    "broken CWL": (_broken_package, ("app.cwl", "algorithm.source")),
    "back-end not reachable": (
        _backend(url=f"http://127.0.0.1:{free_port()}/openeo/1.2"),
        ("config.yaml: backend.url", "cannot be reached (Connection refused); nothing listens there: `upscaling demo"),
    ),
    "wrong password": (_wrong_password, ("config.yaml: backend.auth", "does not let us in")),
}


# One of the configuration, one of the plan, and what is asked of the platform before the first tile; the others end at
# the same two places, and Snakemake's own start is slow.
OF_THE_PLATFORM = ("AOI outside the data", "back-end not reachable", "wrong password")
THROUGH_SNAKEMAKE = ("unknown key", "missing file", *OF_THE_PLATFORM)


@pytest.mark.parametrize("case", THROUGH_SNAKEMAKE)
def test_one_line_and_nothing_sent(case: str, backend: EmbeddedBackend, scene_run: Callable[..., Run]) -> None:
    change, words = CASES[case]
    run = scene_run(backend)
    change(run)
    done = run.snakemake()
    assert done.returncode != 0
    _is_one_line(done.stderr, done.stdout, words)
    assert backend.jobs() == []


@pytest.mark.parametrize("case", CASES)
def test_one_line_from_a_check_and_from_a_plan(
    case: str,
    backend: EmbeddedBackend,
    scene_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from upscaling.cli.app import main

    change, words = CASES[case]
    run = scene_run(backend)
    change(run)
    run.write()
    monkeypatch.chdir(run.folder)
    for name in ("OPENEO_AUTH_USERNAME", "OPENEO_AUTH_PASSWORD"):
        monkeypatch.setenv(name, run.environment[name])
    for command in ("check", *(() if case in OF_THE_PLATFORM else ("plan",))):  # a plan asks no platform
        monkeypatch.setattr("upscaling.cli.app._loaded", [])
        monkeypatch.setattr(sys, "argv", ["upscaling", command, "config.yaml"])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code not in {0, None}, command
        shown = capsys.readouterr()
        _is_one_line(shown.err, shown.out, words)
    assert backend.jobs() == []


def _is_one_line(err: str, out: str, words: tuple[str, ...]) -> None:
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in err + out
    assert "wrong-password" not in err + out


def test_a_time_without_data_is_a_success_and_recorded_as_such(
    backend: EmbeddedBackend, scene_run: Callable[..., Run]
) -> None:
    """The platform alone knows that nothing was acquired: it says "no data", which is a result (DESIGN 10)."""
    run = scene_run(backend, area={"aoi": [11.30, 46.48, 11.31, 46.49], "grid": "utm-2km"})
    run.config["algorithm"]["parameters"] = {"temporal_extent": ["2020-06-01", "2020-07-01"]}
    done = run.snakemake()
    assert done.returncode == 0, done.stderr
    items = [json.loads(path.read_text()) for path in run.results.glob("tiles/*/item.json")]
    assert items
    assert all(item["properties"]["upscaling:nodata"] and item["assets"] == {} for item in items)
    assert {job["status"] for job in backend.jobs()} == {"error"}
