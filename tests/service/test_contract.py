"""The contract: the original's OpenAPI is a part of ours, and no request makes the service fail."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing

from .conftest import Service

# Where ours is wider, and why: what the original cannot do without its own notebook failing (`format`), or takes less
# than its users have (`aoi`, `grid`).
WIDER = {
    ("BaseJobRequest", "format"): "optional: the published notebook sends none",
    ("UpscalingTaskRequest", "format"): "optional: the published notebook sends none",
    ("TileRequest", "aoi"): "also MultiPolygon, Feature and FeatureCollection",
    ("TileRequest", "grid"): "also our grids by their names",
    ("GeometryCollection", "geometries"): "geometries are not spelt out type by type",
    ("GeometryCollection", "bbox"): "never sent",
}
CODES = {("/sync_jobs", "201"): "the original answers 200 as well, whatever it documents"}
NAMES = (
    "BaseJobRequest",
    "ErrorResponse",
    "GeometryCollection",
    "JobsStatusResponse",
    "Parameter",
    "ParameterDimension",
    "ParamRequest",
    "ProcessingJob",
    "ProcessingJobSummary",
    "ServiceDetails",
    "TileRequest",
    "UpscalingTask",
    "UpscalingTaskRequest",
    "UpscalingTaskSummary",
)


@pytest.fixture(scope="module")
def original() -> dict[str, Any]:
    """The OpenAPI document of the original."""
    path = Path(__file__).resolve().parents[3] / "shared" / "research" / "dispatch-openapi.json"
    if not path.is_file():
        missing(f"the original's OpenAPI document ({path})")
    return dict(json.loads(path.read_text()))


def test_the_original_contract_is_a_part_of_ours(service: Service, original: dict[str, Any]) -> None:
    ours = service.call("GET", "/openapi.json").json()
    for path, operations in original["paths"].items():
        for method, operation in operations.items():
            mine = ours["paths"][path][method]
            assert {p["name"] for p in operation.get("parameters", [])} <= {
                p["name"] for p in mine.get("parameters", [])
            }
            codes = {code for code in operation["responses"] if (path, code) not in CODES}
            assert codes <= set(mine["responses"]), (path, method)
    theirs, mine = original["components"]["schemas"], ours["components"]["schemas"]
    for name in NAMES:
        for field, schema in theirs[name]["properties"].items():
            if (name, field) in WIDER:
                continue
            assert field in mine[name]["properties"], (name, field)
            wanted, found = _resolved(schema, theirs), _resolved(mine[name]["properties"][field], mine)
            assert _kind(wanted) == _kind(found), (name, field)
        required = {field for field in mine[name].get("required", []) if (name, field) not in WIDER}
        assert required <= set(theirs[name].get("required", [])), name
    for name in ("ProcessingStatusEnum", "ProcessTypeEnum", "OutputFormatEnum", "ParamTypeEnum", "JobsFilter"):
        assert set(mine[name]["enum"]) == set(theirs[name]["enum"]), name


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    return dict(schemas[reference.rpartition("/")[2]]) if reference else schema


def _kind(schema: dict[str, Any]) -> Any:
    if "anyOf" in schema:
        return sorted(str(one.get("type") or one.get("$ref")) for one in schema["anyOf"])
    return schema.get("type"), schema.get("format")


def test_no_request_makes_the_service_fail(service: Service) -> None:
    """Every operation, inputs made from its schema; $UPSCALING_FUZZ: how many of each (250: 5,000 requests)."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings

    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    number = int(os.environ.get("UPSCALING_FUZZ", "6"))
    sent = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/events") or operation.path == "/sync_jobs":  # streams, and waits for a job
            continue

        @settings(
            max_examples=number,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            nonlocal sent
            sent += 1
            answer = case.call(timeout=60)
            assert answer.status_code < 500, (case.as_curl_command(), answer.text[:500])

        call()
    assert sent > 20 * number * 0.8
    assert service.call("GET", "/health").json()["status"] == "ok"
