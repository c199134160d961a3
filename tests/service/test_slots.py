"""Several runs on one account share its slots, on a platform that would take more."""

from __future__ import annotations

import time
from pathlib import Path

from tests.servers import EmbeddedBackend
from upscaling.demo.data import make_demo_data

from .conftest import ACCOUNT, UDP, Service, platform_of, upscaling_request
from .test_kills import areas

LIMIT, TILES, RUNS = 4, 8, 3


def test_runs_on_one_account_never_exceed_its_slots(tmp_path: Path) -> None:
    (tmp_path / "backend").mkdir()
    data = make_demo_data(tmp_path / "data")
    backend = EmbeddedBackend(data, tmp_path / "backend" / "root", slots=RUNS * LIMIT, simulate=(1, 2)).start()
    settings = {"platforms": [platform_of(backend, slots=LIMIT)], "sources": [str(UDP.parent)]}
    service = Service(tmp_path / "service", settings, variables=ACCOUNT).start()
    try:
        tasks = [
            service.call("POST", "/upscale_tasks", json=upscaling_request(backend, areas(TILES, row))).json()["id"]
            for row in range(RUNS)
        ]
        most, counts = 0, []
        deadline = time.monotonic() + 400
        while time.monotonic() < deadline and counts != [TILES] * RUNS:
            most = max(most, sum(job["status"] in {"queued", "running"} for job in backend.jobs()))
            counts = [service.call("GET", f"/v1/runs/{task}").json()["counts"]["finished"] for task in tasks]
            time.sleep(0.2)
        assert counts == [TILES] * RUNS
        assert 1 < most <= LIMIT
        assert len(backend.jobs()) == RUNS * TILES
    finally:
        service.stop()
        backend.stop()
