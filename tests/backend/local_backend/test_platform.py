"""What platforms have beside jobs: other log-ins, estimates, costs, stored processes, and limits of what they read."""

from __future__ import annotations

import json
from typing import Any

import openeo
import pytest
import requests
from openeo.rest import OpenEoApiError

from upscaling.errors import ConfigError
from upscaling.local_backend.auth import oidc_provider, oidc_user
from upscaling.local_backend.costs import charge, km2_of, most_km2
from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.guard import MOST_BYTES

from .conftest import SERIES_BOX, Backend, load, wait

THREE = {"add": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
WORLD = {"id": "S2", "extent": {"spatial": {"bbox": [[10, 45, 12, 47]]}}}


def api_of(backend: Backend) -> str:
    return f"{backend.url}/openeo/1.2"


def test_users_of_an_openid_provider_log_in_and_see_their_own_jobs(standing: Backend, issuer: str) -> None:
    [found] = openeo.connect(standing.url).get("/credentials/oidc").json()["providers"]
    assert (found["issuer"], found["default_clients"][0]["id"]) == (issuer, "public")
    connection = openeo.connect(standing.url).authenticate_oidc_client_credentials("anna", "any")
    assert connection.describe_account()["user_id"] == "oidc~anna"  # and not anna, who has a password
    job = connection.create_job(THREE)
    assert job.start_and_wait(print=lambda _: None, connection_retry_interval=1).status() == "finished"
    assert [entry["id"] for entry in connection.list_jobs()] == [job.job_id]
    with pytest.raises(OpenEoApiError, match="JobNotFound"):
        standing.connect("anna").job(job.job_id).status()
    header = {"Authorization": "Bearer oidc/oidc/forged"}
    assert requests.get(f"{api_of(standing)}/me", headers=header, timeout=120).json()["code"] == "TokenInvalid"


def test_an_openid_provider_s_users_are_no_others() -> None:
    """Not those with a password, nor those behind ``POST /result``, nor each other."""
    ids = [oidc_user(name) for name in ("anna", "sync:anna", "sync~3a~anna", "a/b", "a\u00e4")]
    assert ids[:2] == ["oidc~anna", "oidc~sync~3a~anna"]
    assert len(set(ids)) == len(ids)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789~-._") for name in ids)
    with pytest.raises(ConfigError, match="an http"):
        oidc_provider("accounts.example.org", None)


def test_an_estimate_is_what_the_job_costs(standing: Backend) -> None:
    connection = standing.connect()
    graph = {"load": load("SERIES", SERIES_BOX, ["2022-06-01", "2022-07-01"]) | {"result": True}}
    job = connection.create_job(graph)
    estimate = job.estimate()
    assert estimate["costs"] == pytest.approx(1.0002, abs=1e-5)
    job.start()
    assert wait(job) == "finished"
    assert job.describe()["costs"] == pytest.approx(estimate["costs"], abs=1e-5)
    with pytest.raises(OpenEoApiError, match="JobNotFound"):
        standing.connect("bert").job(job.job_id).estimate()
    unknown = connection.create_job({"mine": {"process_id": "my_own", "arguments": {}, "result": True}})
    with pytest.raises(OpenEoApiError, match=r"\[500\] EstimateComplexity: .*'my_own', which may load anything"):
        unknown.estimate()


def test_most_that_a_graph_loads() -> None:
    known = {"load_collection", "load_stac", "merge_cubes"}

    def most(*nodes: tuple[str, Any]) -> float:
        graph = {
            f"n{n}": {"process_id": process, "arguments": {"id": "S2", "spatial_extent": extent}}
            for n, (process, extent) in enumerate(nodes)
        }
        return most_km2(graph, [WORLD], known)

    west, east = ({"west": 10 + n, "south": 45, "east": 11 + n, "north": 46} for n in (0, 1))
    assert most(("load_collection", west), ("load_collection", east)) == pytest.approx(km2_of((10, 45, 12, 46)))
    assert most(("load_collection", None)) == pytest.approx(km2_of((10, 45, 12, 47)))  # all that there is
    assert most(("merge_cubes", None)) == 0
    assert charge(0) == 1
    assert km2_of((10, 45, 11, 46)) == pytest.approx(8672, rel=0.01)
    for process, extent in [("load_stac", None), ("load_stac", {"west": 1}), ("load_stac", {**west, "crs": "x"})]:
        with pytest.raises(ProcessError) as refused:
            most((process, extent))
        assert refused.value.code == "EstimateComplexity"


def test_what_downloads_and_requests_cost_is_said(standing: Backend) -> None:
    connection = standing.connect()
    job = connection.create_job(THREE)
    job.start()
    assert wait(job) == "finished"
    assert connection.get(f"/jobs/{job.job_id}/results").headers["OpenEO-Costs"] == "0"
    answer = connection.post("/result", json={"process": {"process_graph": THREE}}, expected_status=200)
    assert (answer.json(), float(answer.headers["OpenEO-Costs"])) == (3, 1.0)


def test_formats_describe_their_parameters_as_the_api_s_schema_has_them(standing: Backend) -> None:
    """Its three kinds of types exclude each other, which only a subtype settles."""
    formats = standing.connect().list_file_formats()["output"]
    assert {about["subtype"] for one in formats.values() for about in one["parameters"].values()} == {"file-name"}


def test_a_stored_process_may_have_the_id_of_a_published_one(standing: Backend) -> None:
    connection, name = standing.connect(), "plant-senescence.v1~a"
    connection.put(f"/process_graphs/{name}", json={"process_graph": THREE, "public": True}, expected_status=200)
    try:
        found = connection.get(f"/process_graphs/{name}").json()
        assert (found["id"], found["process_graph"]) == (name, THREE)
        assert [link["rel"] for link in found["links"]] == ["canonical"]
        assert name in [entry["id"] for entry in connection.list_user_defined_processes()]
        assert connection.execute({"mine": {"process_id": name, "arguments": {}, "result": True}}) == 3
    finally:
        connection.delete(f"/process_graphs/{name}", expected_status=204)
    for other in ("a b", "ä:b", "x" * 300):
        with pytest.raises(OpenEoApiError, match="InvalidId"):
            connection.put(f"/process_graphs/{other}", json={"process_graph": THREE})
    with pytest.raises(OpenEoApiError, match="ProcessGraphNotFound"):
        connection.get(f"/process_graphs/{name}")


def test_what_is_too_large_is_refused_before_it_is_read(standing: Backend) -> None:
    url, header = api_of(standing), {"Content-Type": "application/json"}
    token = {**header, "Authorization": f"Bearer {standing.connect().auth.bearer}"}
    for path in ("jobs", "validation"):
        answer = requests.post(f"{url}/{path}", data=b" " * (MOST_BYTES + 1), headers=token, timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (413, "PayloadTooLarge")
    graph = {f"n{n}": {"process_id": "pi", "arguments": {}} for n in range(10_001)}
    for path, body in [("jobs", {"process": {"process_graph": graph}}), ("validation", {"process_graph": graph})]:
        answer = requests.post(f"{url}/{path}", data=json.dumps(body), headers=token, timeout=60)
        assert answer.status_code == 400
        assert answer.json()["message"].endswith("process_graph: a process graph has at most 10,000 nodes")
    forged = {**header, "Authorization": "Bearer basic//forged"}  # whoever has no log-in: not a word is read
    answer = requests.post(f"{url}/jobs", data=b"no JSON", headers=forged, timeout=60)
    assert answer.json()["code"] == "TokenInvalid"
