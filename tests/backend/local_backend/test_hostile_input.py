"""Whatever a client sends, the back-end answers with its own words and goes on working."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks

from .conftest import SERIES_BOX, Backend, load, wait

EXAMPLES = int(os.environ.get("UPSCALING_EXAMPLES", "4"))
GRAPH = {"add": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
HOSTILE = {
    "NaN as an argument": '{"process": {"process_graph": {"a": {"process_id": "add", "arguments": {"x": NaN, "y": 1}, '
    '"result": true}}}}',
    "NaN in the options": json.dumps({"process": {"process_graph": GRAPH}, "job_options": {"x": float("nan")}}),
    "an infinite number": json.dumps({"process": {"process_graph": GRAPH}}).replace("1", "1e999", 1),
    "a deep bomb": '{"process": ' * 5000 + "1" + "}" * 5000,
    "nested deeper than any graph": '{"process": {"process_graph": ' + "[" * 400 + "]" * 400 + "}}",
    "half a character": '{"process": {"process_graph": {"\\ud800": {"process_id": "add", "result": true}}}}',
    "a number that no database takes": '{"process": {"process_graph": {"a": {"process_id": "add", "result": true, '
    '"arguments": {"x": 1e300, "y": ' + "9" * 400 + "}}}}}",
    "a list": "[]",
    "null": "null",
    "a graph that is a list": '{"process": {"process_graph": []}}',
    "a graph without nodes": '{"process": {"process_graph": {}}}',
    "a node that is a text": '{"process": {"process_graph": {"a": "b"}}}',
    "a title that is an object": json.dumps({"process": {"process_graph": GRAPH}, "title": {}}),
    "a title of a megabyte": json.dumps({"process": {"process_graph": GRAPH}, "title": "x" * 2**20}),
    "a budget that is a text": json.dumps({"process": {"process_graph": GRAPH}, "budget": "much"}),
    "a log level that is a list": json.dumps({"process": {"process_graph": GRAPH}, "log_level": []}),
    "options that are a list": json.dumps({"process": {"process_graph": GRAPH}, "job_options": [1]}),
    "no JSON at all": "\udcff\udcfe",
}


def api_of(backend: Backend) -> str:
    return f"{backend.url}/openeo/1.2"


def session(backend: Backend) -> requests.Session:
    client = requests.Session()
    client.headers["Authorization"] = f"Bearer {backend.connect().auth.bearer}"
    return client


def still_works(client: requests.Session, url: str) -> None:
    answer = client.post(f"{url}/result", json={"process": {"process_graph": GRAPH}}, timeout=60)
    assert (answer.status_code, answer.json()) == (200, 3)


def test_hostile_bodies_are_refused_and_hold_no_slot(standing: Backend) -> None:
    client = session(standing)
    made = client.post(f"{api_of(standing)}/jobs", json={"process": {"process_graph": GRAPH}}, timeout=120)
    job = made.headers["OpenEO-Identifier"]
    requests_ = [("POST", "result"), ("POST", "jobs"), ("PATCH", f"jobs/{job}"), ("PUT", "process_graphs/mine")]
    for what, body in HOSTILE.items():
        for method, path in requests_:
            answer = client.request(
                method,
                f"{api_of(standing)}/{path}",
                data=body.encode("utf-8", "surrogateescape"),
                headers={"Content-Type": "application/json"},
                timeout=60,
            )
            harmless = method == "PUT" or (method == "PATCH" and answer.status_code == 204)
            assert 400 <= answer.status_code < 500 or (harmless and answer.status_code < 300), (what, path, answer.text)
            assert answer.status_code < 300 or "\n" not in answer.json()["message"], what
    for path in ("result", "jobs"):  # whoever has no log-in is told so, and not what is wrong with the body
        assert requests.post(f"{api_of(standing)}/{path}", data=HOSTILE["a list"], timeout=120).status_code == 401
    still_works(client, api_of(standing))


def test_connections_that_send_nothing_keep_nobody_out(standing: Backend) -> None:
    client, place = session(standing), urlsplit(standing.url)
    silent = [socket.create_connection((place.hostname, place.port), timeout=120) for _ in range(200)]
    try:
        for one in silent:
            one.sendall(b"POST /openeo/1.2/result HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        still_works(client, api_of(standing))
    finally:
        for one in silent:
            one.close()


@pytest.mark.parametrize("name", ["limit", "before"])
@pytest.mark.parametrize("value", ["-1", "0", "x", "\u00b2", "1.5", "9" * 19, "9" * 5000])
def test_a_page_is_asked_for_by_a_number(standing: Backend, name: str, value: str) -> None:
    answer = session(standing).get(f"{api_of(standing)}/jobs", params={name: value}, timeout=120)
    assert (answer.status_code, answer.json()["message"]) == (400, f"{name} must be a positive number")


def test_what_an_earlier_version_stored_does_not_end_a_start(collections: Path, tmp_path: Path) -> None:
    first = Backend(collections, tmp_path / "root", slots=1)
    graph = {"load": load("SERIES", SERIES_BOX, ["2022-06-01", "2022-07-01"]) | {"result": True}}
    job = first.connect().create_job(graph)
    bad = first.connect().create_job(graph)
    first.stop()
    with sqlite3.connect(tmp_path / "root" / "jobs.sqlite") as base:
        for name, record in base.execute("SELECT id, record FROM jobs").fetchall():
            content = json.loads(record) | {"status": "queued"}
            if name == bad.job_id:
                content["options"] = {"x": float("nan")}
            base.execute("UPDATE jobs SET status = 'queued', record = ? WHERE id = ?", (json.dumps(content), name))
    base.close()
    again = Backend(collections, tmp_path / "root", slots=1)
    try:
        assert wait(again.connect().job(bad.job_id)) == "error"
        assert wait(again.connect().job(job.job_id)) == "finished"
    finally:
        again.stop()


def test_a_stored_process_runs_at_once_too(standing: Backend) -> None:
    client = session(standing)
    body = {"process_graph": GRAPH, "parameters": []}
    assert client.put(f"{api_of(standing)}/process_graphs/three", json=body, timeout=120).status_code == 200
    graph = {"mine": {"process_id": "three", "arguments": {}, "result": True}}
    answer = client.post(f"{api_of(standing)}/result", json={"process": {"process_graph": graph}}, timeout=60)
    assert (answer.status_code, answer.json()) == (200, 3)
    assert client.delete(f"{api_of(standing)}/process_graphs/three", timeout=120).status_code == 204


def api() -> dict[str, Any]:
    """The endpoints that take something of a client: any JSON, and any text in address and query."""
    anything = {"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}}
    almost = {
        "type": "object",
        "properties": {
            "process": {
                "type": "object",
                "properties": {
                    "process_graph": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "properties": {
                                "process_id": {"enum": ["add", "load_collection", "run_udf", "if", "three", ""]},
                                "arguments": {"type": "object"},
                                "result": {},
                            },
                            "required": ["process_id"],
                        },
                    }
                },
            },
            "job_options": {},
            "title": {},
        },
    }
    shaped = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"anyOf": [almost, {}]}}}}}

    def named(name: str, where: str) -> dict[str, Any]:
        schema = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
        return {"name": name, "in": where, "required": where == "path", "schema": schema}

    query = [named(name, "query") for name in ("limit", "before", "offset", "level", "partial")]
    answers = {"responses": {"default": {"description": "any"}}}
    one = [named("id", "path")]
    paths = {
        "/result": {"post": {**shaped, **answers}},
        "/validation": {"post": {**shaped, **answers}},
        "/jobs": {"post": {**shaped, **answers}, "get": {"parameters": query, **answers}},
        "/jobs/{id}": {
            "get": {"parameters": one, **answers},
            "patch": {"parameters": one, **anything, **answers},
            "delete": {"parameters": one, **answers},
        },
        "/jobs/{id}/results": {
            "get": {"parameters": [*one, *query], **answers},
            "post": {"parameters": one, **answers},
            "delete": {"parameters": one, **answers},
        },
        "/jobs/{id}/logs": {"get": {"parameters": [*one, *query], **answers}},
        "/jobs/{id}/estimate": {"get": {"parameters": one, **answers}},
        "/process_graphs/{id}": {
            "put": {"parameters": one, **shaped, **answers},
            "get": {"parameters": one, **answers},
            "delete": {"parameters": one, **answers},
        },
        "/process_graphs": {"get": {"parameters": query, **answers}},
        "/collections/{id}": {"get": {"parameters": one, **answers}},
        "/processes": {"get": {"parameters": query, **answers}},
        "/processes/{id}": {"get": {"parameters": one, **answers}},
        "/collections": {"get": {"parameters": query, **answers}},
    }
    return {"openapi": "3.0.3", "info": {"title": "openEO", "version": "1"}, "paths": paths}


@pytest.mark.filterwarnings("ignore")  # the requests that are tried are not all valid
def test_no_request_is_answered_by_a_fault_of_the_server(standing: Backend) -> None:
    load_all_checks()
    client = session(standing)
    headers = {"Authorization": client.headers["Authorization"]}
    sent = 0
    faults: list[str] = []
    schema = schemathesis.openapi.from_dict(api())
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=EXAMPLES < 100,
            suppress_health_check=list(HealthCheck),
        )
        @st_given(operation)
        def send(case: Any) -> None:
            nonlocal sent
            answer = case.call(base_url=api_of(standing), headers=headers, timeout=120)
            sent += 1
            if answer.status_code >= 500 and answer.status_code != 501:
                faults.append(f"{case.method} {case.formatted_path} {case.body!r:.300}: {answer.text[:300]}")

        send()
    assert not faults, (len(faults), sent, sorted(set(faults))[:10])
    assert sent >= EXAMPLES * 10
    still_works(client, api_of(standing))


def st_given(operation: Any) -> Any:
    from hypothesis import given

    return given(case=st.one_of(operation.as_strategy()))
