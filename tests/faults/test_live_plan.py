"""A live run keeps its own parameters in every tile, whatever is planned or previewed beside it.

Three previews and plans as it stands; twenty:

    UPSCALING_REPLANS=20 .venv/bin/python -m pytest tests/faults/test_live_plan.py
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openeo
import pytest
import yaml

from tests.servers import PASSWORD, USER, EmbeddedBackend, scene_collections
from tests.workflow.conftest import Run, scene_run  # noqa: F401 -- a fixture

REPLANS = int(os.environ.get("UPSCALING_REPLANS", "3"))
OTHER = ["2021-06-01", "2021-07-01"]


@pytest.fixture
def backend(scene: Path, tmp_path: Path) -> Iterator[EmbeddedBackend]:
    longer = max(REPLANS, 3)  # seconds of a job: the run must go on until the last of them
    server = EmbeddedBackend(
        scene_collections(scene, tmp_path), tmp_path / "backend", simulate=(longer, longer)
    ).start()
    yield server
    server.stop()


def test_a_live_run_keeps_its_parameters_under_plans_previews_and_refused_starts(
    backend: EmbeddedBackend,
    scene_run: Callable[..., Run],  # noqa: F811
) -> None:
    run = scene_run(backend)
    own = run.config["algorithm"]["parameters"]["temporal_extent"]
    run.write()
    process = run.start()
    other = json.loads(json.dumps(run.config))
    other["algorithm"]["parameters"]["temporal_extent"] = OTHER
    (run.folder / "other.yaml").write_text(yaml.safe_dump(other))
    plan = run.results / "plan" / "plan.json"
    while not list(run.results.glob("receipts/*.json")):
        assert process.poll() is None, (run.folder / "snakemake.out").read_text()
        time.sleep(0.2)
    before = plan.read_bytes()
    under_it = 0
    for number in range(REPLANS):
        if process.poll() is not None:
            break  # what is started now is refused no more
        way = number % 3
        if way == 0:
            said = run.upscaling("plan", "other.yaml")
            assert said.returncode == 0, said.stderr
        else:  # a dry run; then a second start, which is refused
            command = run.command(*(["-n"] if way == 1 else []))
            said = run._said([word if word != "config.yaml" else "other.yaml" for word in command])
            assert (said.returncode == 0) == (way == 1), said.stderr
        assert plan.read_bytes() == before
        under_it += process.poll() is None
    print(f"{under_it} of {REPLANS} while the run went on")
    assert under_it > 0, "the run was over before"
    assert process.wait(300) == 0, (run.folder / "snakemake.out").read_text()
    connection = openeo.connect(backend.url).authenticate_basic(USER, PASSWORD)
    jobs = backend.jobs()
    assert len(jobs) == json.loads(before)["targets"]
    for job in jobs:
        graph = connection.get(f"/jobs/{job['id']}").json()["process"]["process_graph"]
        assert OTHER[0] not in json.dumps(graph)
        assert own[0] in json.dumps(graph)
