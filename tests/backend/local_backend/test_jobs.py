"""The life of batch jobs, of their owners, and of the back-end itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openeo
import psutil
import pytest
import rasterio
import requests
from openeo.rest import OpenEoApiError
from tests.servers import served

from .conftest import SERIES_BOX, Backend, Gate, box, load, run, series, wait

QUICK = {"add": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}


def workers(backend: Backend) -> list[psutil.Process]:
    """The processes of jobs: children of the fork server, which is the only child of the back-end."""
    (fork_server,) = psutil.Process(backend.process.pid).children()
    return fork_server.children()


def test_starts_beyond_the_limit_are_refused(backend: Backend, gate: Gate) -> None:
    connection = backend.connect()
    jobs = [connection.create_job(gate.graph) for _ in range(3)]
    for job in jobs[:2]:
        job.start()
    with pytest.raises(OpenEoApiError, match=r"concurrent job limit \(2\) is reached") as refused:
        jobs[2].start()
    assert (refused.value.http_status_code, refused.value.code) == (400, "ConcurrentJobLimit")
    assert jobs[2].status() == "created"
    for job in jobs[:2]:
        wait(job, "running")
    other = backend.connect("bert").create_job(QUICK)  # another user may queue, but the processes are taken
    other.start()
    assert other.status() == "queued"
    gate.opened.set()
    assert [wait(job) for job in [*jobs[:2], other]] == ["finished"] * 3
    jobs[2].start()
    assert wait(jobs[2]) == "finished"


def test_cancel_kills_the_process(backend: Backend, gate: Gate) -> None:
    job = backend.connect().create_job(gate.graph)
    job.start()
    assert gate.reached.wait(200)
    (process,) = workers(backend)
    with pytest.raises(OpenEoApiError, match=r"JobLocked: job .* is running and cannot be changed"):
        backend.connect().patch(f"/jobs/{job.job_id}", json={"title": "other"})
    job.stop()
    assert job.status() == "canceled"
    process.wait(200)
    gate.opened.set()
    job.start()  # a canceled job may be started again
    assert wait(job) == "finished"


def test_a_killed_process_fails_its_job_alone(backend: Backend, gate: Gate) -> None:
    connection = backend.connect()
    job, other = connection.create_job(gate.graph), connection.create_job(QUICK)
    job.start()
    assert gate.reached.wait(200)
    workers(backend)[0].kill()
    assert wait(job) == "error"
    (entry,) = job.logs(level="error")
    assert "killed by signal 9" in entry["message"]
    other.start()
    assert wait(other) == "finished"


def test_jobs_outlive_a_kill_of_the_back_end(backend: Backend, gate: Gate, tmp_path: Path) -> None:
    connection = backend.connect()
    done, created, running = (
        connection.create_job(graph, title=title)
        for title, graph in (
            ("done", {"l": {**load("SERIES", SERIES_BOX), "result": True}}),
            ("idle", QUICK),
            ("held", gate.graph),
        )
    )
    done.start()
    wait(done)
    running.start()
    assert gate.reached.wait(200)
    left = psutil.Process(backend.process.pid).children(recursive=True)
    backend.kill()
    assert psutil.wait_procs(left, timeout=60)[1] == []  # the fork server and the job's process follow
    gate.reached.clear()
    backend.start()
    connection = backend.connect()
    assert [(job["id"], job["title"]) for job in connection.list_jobs()] == [
        (running.job_id, "held"),
        (created.job_id, "idle"),
        (done.job_id, "done"),
    ]
    assert gate.reached.wait(200)  # it runs again by itself
    gate.opened.set()
    again = connection.job(running.job_id)
    assert wait(again) == "finished"
    assert any("is run again" in entry["message"] for entry in again.logs(level="warning"))
    files = connection.job(done.job_id).get_results().download_files(tmp_path, include_stac_metadata=False)
    with rasterio.open(sorted(files)[2]) as source:
        np.testing.assert_array_equal(source.read(), series()[2])
    assert connection.job(created.job_id).status() == "created"


def test_a_new_fork_server_replaces_a_killed_one(backend: Backend, gate: Gate) -> None:
    job = backend.connect().create_job(gate.graph)
    job.start()
    assert gate.reached.wait(200)
    gate.reached.clear()
    first = psutil.Process(backend.process.pid).children()[0]
    first.kill()
    second = first
    while second.pid == first.pid:
        second = next(iter(psutil.Process(backend.process.pid).children()), first)
    second.kill()  # while it starts
    assert gate.reached.wait(200)
    gate.opened.set()
    assert wait(job) == "finished"


def test_a_fork_server_that_is_killed_before_it_reads_its_orders_is_replaced_too(backend: Backend, gate: Gate) -> None:
    job = backend.connect().create_job(gate.graph)
    (fork_server,) = psutil.Process(backend.process.pid).children()
    fork_server.suspend()
    job.start()
    fork_server.kill()
    assert gate.reached.wait(200)
    gate.opened.set()
    assert wait(job) == "finished"


def test_nothing_is_left_after_a_clean_end(backend: Backend, gate: Gate) -> None:
    job = backend.connect().create_job(gate.graph)
    job.start()
    assert gate.reached.wait(200)
    left = psutil.Process(backend.process.pid).children(recursive=True)
    assert len(left) == 2
    assert backend.stop() == 0
    assert psutil.wait_procs(left, timeout=60)[1] == []


def test_results_that_were_lost_are_said_to_be_gone(backend: Backend) -> None:
    connection = backend.connect()
    job = connection.create_job(QUICK)
    job.start()
    assert wait(job) == "finished"
    shutil.rmtree(backend.root / "jobs" / job.job_id)
    assert job.describe()["status"] == "finished"
    with pytest.raises(OpenEoApiError, match=r"\[410\] ResultsGone"):
        connection.get(f"/jobs/{job.job_id}/results")
    job.delete()


def test_one_thread_before_a_fork(standing: Backend) -> None:
    assert psutil.Process(standing.process.pid).children()[0].num_threads() == 1


def test_describe_update_usage_costs_delete(standing: Backend, tmp_path: Path) -> None:
    connection = standing.connect()
    graph = {"load": {**load("SERIES", SERIES_BOX), "result": True}}
    job = connection.create_job(graph, title="first", description="why", job_options={"some": "option"})
    changes = {"title": "second", "description": None, "process": {"process_graph": graph}}
    assert connection.patch(f"/jobs/{job.job_id}", json=changes).status_code == 204
    with pytest.raises(OpenEoApiError, match="cannot be changed"):
        connection.patch(f"/jobs/{job.job_id}", json={"status": "finished"})
    with pytest.raises(OpenEoApiError, match=r"JobNotFinished"):
        connection.get(f"/jobs/{job.job_id}/results")
    job.start()
    wait(job)
    about = job.describe()
    assert (about["title"], about.get("description"), about["process"]["process_graph"]) == ("second", None, graph)
    units = {name: usage["unit"] for name, usage in about["usage"].items()}
    assert units == {"cpu": "cpu-seconds", "memory": "mb-seconds", "duration": "seconds", "max_executor_memory": "gb"}
    assert all(usage["value"] > 0 for usage in about["usage"].values())
    assert about["costs"] == pytest.approx(1.0002, abs=1e-5)  # 0.2 km²
    levels = [entry["level"] for entry in job.logs()]
    assert set(levels) == {"info"}
    assert job.logs(offset=job.logs()[0]["id"]) == job.logs()[1:]
    job.delete()
    assert not (standing.root / "jobs" / job.job_id).exists()
    with pytest.raises(OpenEoApiError, match="JobNotFound"):
        job.status()


def test_pages_hold_every_job_once(backend: Backend) -> None:
    connection = backend.connect()
    made = [connection.create_job(QUICK, title=str(n)).job_id for n in range(7)]
    seen, path = [], "/jobs?limit=3"
    while path:
        page = connection.get(path).json()
        assert len(page["jobs"]) <= 3
        seen += [job["id"] for job in page["jobs"]]
        path = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert seen == made[::-1]


def test_users_do_not_see_each_other(backend: Backend) -> None:
    anna, bert = backend.connect(), backend.connect("bert")
    job = anna.create_job(QUICK)
    assert bert.list_jobs() == []
    for call in (
        bert.job(job.job_id).status,
        bert.job(job.job_id).start,
        bert.job(job.job_id).delete,
        bert.job(job.job_id).logs,
    ):
        with pytest.raises(OpenEoApiError) as refused:
            call()
        assert (refused.value.http_status_code, refused.value.code) == (404, "JobNotFound")
    assert job.status() == "created"


def test_who_may_ask(standing: Backend) -> None:
    with pytest.raises(OpenEoApiError, match="CredentialsInvalid") as refused:
        openeo.connect(standing.url).authenticate_basic("anna", "secret")
    assert refused.value.http_status_code == 403
    jobs = f"{standing.url}/openeo/1.2/jobs"
    assert requests.get(jobs, timeout=60).status_code == 401
    made_up = "basic//" + "YW5uYQ=="  # what openeo_driver itself would take for anna's token
    assert requests.get(jobs, headers={"Authorization": f"Bearer {made_up}"}, timeout=60).status_code == 403
    public = openeo.connect(standing.url)
    assert set(public.list_collection_ids()) == {"SENTINEL2_L2A", "SERIES"}
    assert {"load_collection", "save_result", "ndvi", "apply_dimension"} <= {p["id"] for p in public.list_processes()}
    assert public.capabilities().supports_endpoint("/jobs/{job_id}", method="PATCH")
    assert "secret" not in (standing.root / "backend.log").read_text()


def test_stored_processes(standing: Backend, max_ndvi, shared_data: Path, tmp_path: Path) -> None:
    connection = standing.connect()
    udp = json.loads((shared_data / "apex_catalogue/vito/max_ndvi/openeo_udp/max_ndvi.json").read_text())
    arguments = {"bbox": box(676000, 5150000, 676100, 5150100), "temporal_extent": ["2022-06-01", "2022-07-01"]}
    (expected,) = run(connection, max_ndvi(*arguments.values()), tmp_path / "flat")
    connection.save_user_defined_process("my_ndvi", udp["process_graph"], parameters=udp["parameters"])
    assert [p["id"] for p in connection.list_user_defined_processes()] == ["my_ndvi"]
    graph = {"n": {"process_id": "my_ndvi", "arguments": arguments, "result": True}}
    assert connection.validate_process_graph(graph) == []
    (got,) = run(connection, graph, tmp_path / "stored")
    assert got.read_bytes() == expected.read_bytes()
    assert [e["code"] for e in standing.connect("bert").validate_process_graph(graph)] == ["ProcessUnsupported"]
    wrong = {"n": {"process_id": "my_ndvi", "arguments": {**arguments, "spatial_extent": 1}, "result": True}}
    job = connection.create_job(wrong)
    job.start()
    assert wait(job) == "error"
    assert (
        "no parameter 'spatial_extent'; its parameters: bbox, temporal_extent" in job.logs(level="error")[0]["message"]
    )
    connection.user_defined_process("my_ndvi").delete()
    assert connection.list_user_defined_processes() == []


def test_processes_by_url_come_from_this_host_only(standing: Backend, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "apex_catalogue/vito/max_ndvi/openeo_udp"
    arguments = {"bbox": box(676000, 5150000, 676100, 5150100), "temporal_extent": ["2022-06-01", "2022-07-01"]}
    connection = standing.connect()
    with served(folder) as url:
        cube = connection.datacube_from_process("max_ndvi", namespace=f"{url}/max_ndvi.json", **arguments)
        (file,) = run(connection, cube, tmp_path)
    with rasterio.open(file) as source:
        assert source.shape == (10, 10)
    graph = {
        "n": {"process_id": "max_ndvi", "namespace": "http://192.0.2.1/x.json", "arguments": arguments, "result": True}
    }
    with pytest.raises(OpenEoApiError, match="is not on this host"):
        connection.create_job(graph)


def test_validation_names_the_faults(standing: Backend) -> None:
    graph = {
        "a": load("NONE", SERIES_BOX),
        "b": {"process_id": "magic", "arguments": {"data": {"from_node": "c"}}},
    }
    codes = [error["code"] for error in standing.connect().validate_process_graph(graph)]
    assert codes == ["ProcessGraphInvalid", "CollectionNotFound", "ProcessUnsupported", "ProcessGraphInvalid"]


def start(*arguments: str, password: str = "p") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OPENEO_LOCAL_USER": "u", "OPENEO_LOCAL_PASSWORD": password}
    command = [sys.executable, "-m", "upscaling.local_backend", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "collections: {A: {items: [{file: none.tif, datetime: 2022-01-01}]}}",
            "collections.A.items.0.file: there is no file",
        ),
        ("collections: {A: {items: [{file: broken.tif, datetime: 2022-01-01}]}}", "collections.A.items.0.file: "),
        ("collections: {A: {items: [{file: june.tif}]}}", "collections.A.items.0.datetime: missing"),
        ("collections: {A: {items: [{file: june.tif, datetime: soon}]}}", "collections.A.items.0.datetime: "),
        (
            "collections: {A: {items: [{file: june.tif, datetime: 2022-01-01, bands: [B1]}]}}",
            "1 names (B1) for the 3 bands",
        ),
        ("collections: {A: {itmes: []}}", "collections.A."),
        ("collections: {A", "not valid YAML"),
        ("", "collections"),
    ],
)
def test_broken_data_is_one_line(tmp_path: Path, collections: Path, text: str, words: str) -> None:
    (tmp_path / "june.tif").symlink_to(collections.parent / "june.tif")
    (tmp_path / "broken.tif").write_bytes(b"II*\0 not a tiff")
    (tmp_path / "data.yaml").write_text(text)
    done = start("--data", str(tmp_path / "data.yaml"), "--root", str(tmp_path / "root"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"local-backend: {tmp_path / 'data.yaml'}: ")
    assert words in done.stderr


def test_refusals_to_start(standing: Backend, collections: Path, tmp_path: Path) -> None:
    port = standing.url.rpartition(":")[2]
    for arguments, words, password in (
        (
            ["--data", str(collections), "--root", str(tmp_path / "x"), "--port", port],
            f"port: cannot listen on 127.0.0.1:{port}",
            "p",
        ),
        (["--data", str(collections), "--root", str(standing.root)], "another back-end is running", "p"),
        (["--data", str(tmp_path / "none.yaml"), "--root", str(tmp_path / "x")], "there is no such file", "p"),
        (["--data", str(collections), "--root", str(tmp_path / "x")], "OPENEO_LOCAL_PASSWORD", ""),
    ):
        done = start(*arguments, password=password)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert words in done.stderr


@pytest.mark.parametrize("path", ["", "/", "/openeo/1.2", "/openeo/1.2/"])
def test_the_address_works_with_and_without_its_path(standing: Backend, path: str) -> None:
    """For the client that runs use, and for openEO's own; what is printed is the address of the API."""
    from upscaling.backends.openeo.session import Session

    assert standing.printed == f"{standing.url}/openeo/1.2"
    assert openeo.connect(standing.url + path).capabilities().api_version() == "1.2.0"
    assert Session(standing.url + path, "none").get("/collections")["collections"]


def test_what_there_is_none_of_is_an_answer(standing: Backend) -> None:
    api = f"{standing.url}/openeo/1.2"
    services = requests.get(f"{api}/service_types", timeout=120)
    assert (services.status_code, services.json()) == (200, {})
    for body in ({}, {"process": 3}):
        answer = requests.post(f"{api}/validation", json=body, timeout=120)
        assert answer.status_code == 200
        assert [error["code"] for error in answer.json()["errors"]] == ["ProcessGraphMissing"]
