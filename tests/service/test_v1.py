"""The service's own API: algorithms as files, publishing, comparing platforms."""

from __future__ import annotations

import json
import time
from typing import Any

import requests

from tests.servers import EmbeddedBackend

from .conftest import UDP, Service


def config_of(backend: EmbeddedBackend, source: str, **more: Any) -> dict[str, Any]:
    """A configuration of one tile."""
    return {
        "run": "any",
        "algorithm": {"source": source, "parameters": {"temporal_extent": ["2023-06-01", "2023-07-01"]}},
        "area": {"aoi": [11.30, 46.46, 11.31, 46.47], "grid": "utm-5km"},
        "backend": {"kind": "openeo", "url": backend.url},
        **more,
    }


def test_an_algorithm_is_brought_as_a_file(service: Service, backend: EmbeddedBackend) -> None:
    own = {**json.loads(UDP.read_text()), "id": "my_own"}
    for name, content, words in (
        ("a.txt", b"x", "an algorithm is an openEO process"),
        ("../../a.json", b" ", "a.json: the file is empty"),
    ):
        answer = service.call("POST", f"/v1/algorithms?name={name}", data=content)
        assert (answer.status_code, words in answer.json()["message"]) == (422, True), answer.text
    kept = service.call("POST", "/v1/algorithms?name=../mine.json", data=json.dumps(own)).json()
    assert kept["source"].startswith(str(service.folder))
    described = service.call("POST", "/v1/describe", json=kept).json()
    assert described["id"] == "my_own"
    checked = service.call("POST", "/v1/check", json={"config": config_of(backend, kept["source"])})
    assert checked.json()["targets"] == 1, checked.text
    elsewhere = service.call("POST", "/v1/check", json={"config": config_of(backend, "/etc/passwd")})
    assert elsewhere.status_code == 422
    broken = service.call("POST", "/v1/algorithms?name=broken.json", data=b"{").json()
    refused = service.call("POST", "/v1/describe", json=broken)
    assert refused.status_code == 422
    assert "is not JSON" in refused.json()["message"]


def test_a_result_is_published_and_platforms_are_compared(service: Service, backend: EmbeddedBackend) -> None:
    body = {"title": "Café & fields", "config": config_of(backend, str(UDP)), "start": True}
    run = service.call("POST", "/v1/runs", json=body).json()["id"]
    early = service.call("POST", f"/v1/runs/{run}/publish", json={"target": "products"})
    assert early.status_code == 409, early.text
    _until(lambda: service.call("GET", f"/v1/runs/{run}").json()["phase"] == "ended")
    rows = service.call("GET", f"/v1/runs/{run}/compare").json()
    assert [(row["platform"], row["kind"]) for row in rows] == [(backend.url, "openeo")]
    assert rows[0]["cost"]["p50"] > 0

    for wrong, words in (
        ({"target": "nowhere"}, "it has products"),
        ({"s3": "s3://bucket/mine"}, "name one of this service's"),
    ):
        answer = service.call("POST", f"/v1/runs/{run}/publish", json=wrong)
        assert (answer.status_code, words in answer.json()["message"]) == (422, True), answer.text
    looked = service.call("POST", f"/v1/runs/{run}/publish", json={"target": "products"})
    assert looked.status_code == 200, looked.text
    assert any("to send" in line for line in looked.json()["lines"])
    assert service.call("GET", f"/v1/runs/{run}/publication").json()["state"] == "none"
    begun = service.call("POST", f"/v1/runs/{run}/publish", json={"target": "products", "dry_run": False})
    assert begun.json()["state"] == "running", begun.text
    _until(lambda: service.call("GET", f"/v1/runs/{run}/publication").json()["state"] != "running")
    done = service.call("GET", f"/v1/runs/{run}/publication").json()
    assert done["state"] == "published", done
    collection = requests.get(done["record"]["collection"], timeout=20).json()
    assert collection["id"].startswith("caf-fields-")  # no other run of the service has this name
    assert done["record"]["collection"] == f"{_products(service)}/{collection['id']}/collection.json"
    config = service.call("GET", f"/v1/runs/{run}/config").text
    assert "very-secret" not in config + (service.folder / "service.log").read_text()


def _products(service: Service) -> str:
    return str(service.settings["publish"][0]["public_url"])


def _until(true: Any, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.3)
