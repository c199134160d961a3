"""The official client of the Dispatch API, and the published notebook step by step, against the service."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import json
import time
from typing import Any

import rasterio

from tests.servers import EmbeddedBackend

from .conftest import AREA, UDP, Service, upscaling_request


def test_every_operation_of_the_official_client(service: Service, backend: EmbeddedBackend, request: Any) -> None:
    from apex_dispatch_api_client import Client, models
    from apex_dispatch_api_client.api.default import health_health_get
    from apex_dispatch_api_client.api.unit_jobs import (
        create_sync_job_sync_jobs_post,
        create_unit_job_unit_jobs_post,
        delete_job_unit_jobs_job_id_delete,
        get_job_params_params_post,
        get_job_results_unit_jobs_job_id_results_get,
        get_job_unit_jobs_job_id_get,
    )
    from apex_dispatch_api_client.api.upscale_tasks import (
        create_upscale_task_upscale_tasks_post,
        get_jobs_status_jobs_status_get,
        get_upscale_task_upscale_tasks_task_id_get,
        split_in_tiles_tiles_post,
    )

    client: Any = Client(base_url=service.url, timeout=120.0)
    request.addfinalizer(lambda: client.get_httpx_client().close())
    assert health_health_get.sync_detailed(client=client).status_code == 200

    tile_request = models.TileRequest.from_dict({"aoi": AREA, "grid": "20x20km"})
    cut = split_in_tiles_tiles_post.sync(client=client, body=tile_request)
    assert isinstance(cut, models.GeometryCollection)
    assert len(cut.geometries) == 1

    described = get_job_params_params_post.sync(
        client=client,
        body=models.ParamRequest.from_dict({"label": "openeo", "service": upscaling_request(backend, [])["service"]}),
    )
    assert isinstance(described, list)
    types = {parameter.name: parameter.type_ for parameter in described}
    assert types["spatial_extent"] == models.ParamTypeEnum.BOUNDING_BOX
    assert types["temporal_extent"] == models.ParamTypeEnum.DATE_INTERVAL

    value = cut.geometries[0].to_dict()
    body = models.UpscalingTaskRequest.from_dict(upscaling_request(backend, [value]))
    made = create_upscale_task_upscale_tasks_post.sync(client=client, body=body)
    assert isinstance(made, models.UpscalingTaskSummary)

    area = {"spatial_extent": AREA, "temporal_extent": ["2023-06-01", "2023-07-01"]}
    unit = models.BaseJobRequest.from_dict(
        {**upscaling_request(backend, [AREA]), "title": "one", "parameters": area} | {"dimension": None}
    )
    job = create_unit_job_unit_jobs_post.sync(client=client, body=unit)
    assert isinstance(job, models.ProcessingJobSummary)

    service.ended(made.id)
    task = get_upscale_task_upscale_tasks_task_id_get.sync(client=client, task_id=made.id)
    assert isinstance(task, models.UpscalingTask)
    assert (task.status, [one.status for one in task.jobs]) == ("finished", ["finished"])
    assert task.jobs[0].parameters["spatial_extent"] == value  # as it was sent
    assert isinstance(task.created, dt.datetime)

    status = get_jobs_status_jobs_status_get.sync(client=client)
    assert isinstance(status, models.JobsStatusResponse)
    assert made.id in {one.id for one in status.upscaling_tasks}
    assert job.id in {one.id for one in status.processing_jobs}

    found = get_job_unit_jobs_job_id_get.sync(client=client, job_id=task.jobs[0].id)
    assert isinstance(found, models.ProcessingJob)
    results = get_job_results_unit_jobs_job_id_results_get.sync(client=client, job_id=found.id)
    assert isinstance(results, models.Collection)
    with rasterio.open(results.assets["openEO.tif"].href) as raster:  # type: ignore[index, union-attr]
        assert raster.read(1).any()

    answer = create_sync_job_sync_jobs_post.sync_detailed(
        client=client, body=unit
    )  # the same job: it is not paid again
    with rasterio.open(io.BytesIO(answer.content)) as raster:
        assert raster.count == 1
    gone = delete_job_unit_jobs_job_id_delete.sync_detailed(client=client, job_id=job.id)
    assert (gone.status_code, gone.content) == (200, b"null")
    assert get_job_unit_jobs_job_id_get.sync_detailed(client=client, job_id=job.id).status_code == 404


async def _watch(url: str) -> tuple[list[str], dict[str, Any], int | None]:
    import websockets

    kinds, last = [], {}
    async with websockets.connect(url) as socket:
        try:
            while True:
                message = json.loads(await asyncio.wait_for(socket.recv(), 240))
                kinds.append(message["type"])
                last = message["data"] or last
        except websockets.ConnectionClosed as closed:
            return kinds, last, closed.rcvd.code if closed.rcvd else None


def test_the_published_notebook_ends_with_a_picture(service: Service, backend: EmbeddedBackend) -> None:
    """No token, no format, `20x20km`, a websocket with `interval=15`, the overlay of `openEO.tif`."""
    cut = service.call("POST", "/tiles", json={"aoi": AREA, "grid": "20x20km"})
    assert cut.status_code == 201
    body = upscaling_request(backend, cut.json()["geometries"], title="seed notebook")
    del body["format"]
    body["parameters"] = {"temporal_extent": ["2023-07-01", "2023-08-01"]}
    task = service.call("POST", "/upscale_tasks", json=body).json()
    socket = f"{service.url.replace('http', 'ws')}/ws/upscale_tasks/{task['id']}?interval=15"
    kinds, data, code = asyncio.run(_watch(socket))
    assert kinds[:3] == ["init", "loading", "status"]
    assert (data["status"], code) == ("finished", 1000)
    for job in data["jobs"]:
        assert job["parameters"]["spatial_extent"]["type"] == "Polygon"
        results = service.call("GET", f"/unit_jobs/{job['id']}/results").json()
        with rasterio.open(results["assets"]["openEO.tif"]["href"]) as raster:
            overlay = raster.read(1, masked=True)
        assert 0.0 < float(overlay.mean()) < 1.0


def test_a_repeated_request_is_the_same_task(service: Service, backend: EmbeddedBackend) -> None:
    jobs_before = len(backend.jobs())
    body = upscaling_request(backend, [AREA], parameters={"temporal_extent": ["2023-08-01", "2023-09-01"]})
    first = service.call("POST", "/upscale_tasks", json=body, headers={"Idempotency-Key": "k-1"}).json()
    assert (
        service.call("POST", "/upscale_tasks", json=body, headers={"Idempotency-Key": "k-1"}).json()["id"]
        == first["id"]
    )
    assert service.call("POST", "/upscale_tasks", json=body).json()["id"] == first["id"]
    service.ended(first["id"])
    assert service.call("POST", "/upscale_tasks", json=body).json()["id"] == first["id"]
    assert len(backend.jobs()) == jobs_before + 1


def test_a_failed_tile_says_why_and_user_errors_are_told_before_anything_is_sent(
    service: Service, backend: EmbeddedBackend
) -> None:
    far = {"type": "Polygon", "coordinates": [[[0, 0], [0.02, 0], [0.02, 0.02], [0, 0.02], [0, 0]]]}
    made = service.call("POST", "/upscale_tasks", json=upscaling_request(backend, [AREA, far], title="one fails"))
    task = service.ended(made.json()["id"])
    states = [job["status"] for job in task["jobs"]]
    assert task["status"] == "finished"
    assert states[0] == "finished"
    if states[1] == "failed":
        assert task["jobs"][1]["reason"]
    jobs_before = len(backend.jobs())
    cases = [
        ({"parameters": {"temporal_extent": 3}}, "temporal_extent"),
        ({"parameters": {"nope": 3, "temporal_extent": ["2023-06-01", "2023-07-01"]}}, "nope"),
        ({"service": {"endpoint": "http://127.0.0.1:1/openeo", "application": str(UDP)}}, "service.endpoint"),
        ({"service": {"endpoint": backend.url, "application": "http://127.0.0.1:1/x.json"}}, "service.application"),
        ({"service": {"endpoint": backend.url, "application": f"{UDP.parent}/../../../x"}}, "service.application"),
        ({"service": {"endpoint": backend.url, "application": f"{UDP.parent}/none.json"}}, "service.application"),
        ({"dimension": {"name": "nope", "values": [1]}}, "nope"),
        ({"dimension": {"name": "spatial_extent", "values": []}}, "dimension.values"),
        ({"format": "GTiff"}, "format"),
    ]
    for change, word in cases:
        answer = service.call("POST", "/upscale_tasks", json=upscaling_request(backend, [AREA], **change))
        content = answer.json()
        assert answer.status_code == 422, content
        assert (content["status"], content["error_code"]) == ("error", "VALIDATION_ERROR")
        assert word in content["message"], content
        assert content["request_id"] == answer.headers["X-Correlation-ID"]
    for path in ("/upscale_tasks/99999", "/unit_jobs/99999", "/unit_jobs/99999/results", f"/unit_jobs/{2**70}"):
        assert service.call("GET", path).status_code == 404
    assert len(backend.jobs()) == jobs_before


def test_canceling_ends_the_jobs_and_retry_makes_them_again(service: Service, backend: EmbeddedBackend) -> None:
    body = upscaling_request(backend, [AREA, *(_moved(k) for k in range(1, 6))], title="to be canceled")
    task = service.call("POST", "/upscale_tasks", json=body).json()["id"]
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        counts = service.call("GET", f"/v1/runs/{task}").json()["counts"]
        if counts["running"] or counts["finished"]:
            break
        time.sleep(0.2)
    canceled = service.call("POST", f"/v1/runs/{task}/ask", json={"action": "cancel"})
    assert canceled.status_code == 200, canceled.text
    assert canceled.json()["status"] == "canceled"
    assert not [job for job in backend.jobs() if job["status"] in {"queued", "running"}]
    assert service.call("POST", f"/v1/runs/{task}/ask", json={"action": "cancel"}).status_code == 409
    again = service.call("POST", f"/v1/runs/{task}/ask", json={"action": "retry"})
    assert again.status_code == 200, again.text
    found = service.ended(task)
    assert {job["status"] for job in found["jobs"]} == {"finished"}


def test_a_job_that_was_not_begun_is_taken_out_of_its_task(service: Service, backend: EmbeddedBackend) -> None:
    before = len(backend.jobs())
    body = upscaling_request(backend, [_moved(k) for k in range(20, 24)], title="without two of them")
    task = service.call("POST", "/upscale_tasks", json=body).json()["id"]
    assert service.call("POST", f"/v1/runs/{task}/ask", json={"action": "pause"}).status_code == 200
    jobs = [job["id"] for job in service.call("GET", f"/upscale_tasks/{task}").json()["jobs"]]
    assert len(backend.jobs()) == before
    for job in jobs[1:3]:
        assert service.call("DELETE", f"/unit_jobs/{job}").status_code == 200
    assert service.call("POST", f"/v1/runs/{task}/ask", json={"action": "start"}).status_code == 200
    found = service.ended(task)
    assert (found["status"], [job["id"] for job in found["jobs"]]) == ("finished", [jobs[0], jobs[3]])
    assert found["counts"]["canceled"] == 2
    assert len(backend.jobs()) == before + 2


def _moved(step: int) -> dict[str, Any]:
    ring = [[x + 0.004 * step, y] for x, y in AREA["coordinates"][0]]  # type: ignore[misc]
    return {"type": "Polygon", "coordinates": [ring]}
