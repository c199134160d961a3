"""What a request must be before openeo_driver sees it: JSON that others can read, and an object of the right shape."""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import Any

from flask.json.provider import DefaultJSONProvider

__all__ = ["MOST_BYTES", "StrictJson", "guard_requests", "strict_loads"]

# Deeper than any process graph; code that walks one calls itself.
DEEPEST = 100
# A tile's graph may hold detailed outlines: 16 MiB are half a million points. Reading them takes two seconds.
MOST_BYTES = 16 * 2**20
MOST_NODES = 10_000
# Larger numbers do not fit into the database, nor into what clients read.
LARGEST = 2**53

_TEXT = {"type": ["string", "null"]}
_NODE = {
    "type": "object",
    "required": ["process_id"],
    "properties": {
        "process_id": {"type": "string"},
        "namespace": _TEXT,
        "arguments": {"type": "object"},
        "result": {"type": ["boolean", "null"]},
    },
}
_GRAPH = {"type": "object", "minProperties": 1, "maxProperties": MOST_NODES, "additionalProperties": _NODE}
_PARAMETER = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
_PROCESS = {
    "type": "object",
    "required": ["process_graph"],
    "properties": {
        "process_graph": _GRAPH,
        "id": _TEXT,
        "summary": _TEXT,
        "description": _TEXT,
        "parameters": {"type": ["array", "null"], "items": _PARAMETER},
        "returns": {"type": ["object", "null"]},
        "categories": {"type": ["array", "null"], "items": {"type": "string"}},
        "deprecated": {"type": ["boolean", "null"]},
        "experimental": {"type": ["boolean", "null"]},
        "public": {"type": ["boolean", "null"]},
        "exceptions": {"type": ["object", "null"]},
        "examples": {"type": ["array", "null"], "items": {"type": "object"}},
        "links": {"type": ["array", "null"], "items": {"type": "object"}},
        "default_job_options": {"type": ["object", "null"]},
        "default_synchronous_options": {"type": ["object", "null"]},
    },
}
_SETTINGS = {
    "title": {**_TEXT, "maxLength": 10_000},
    "description": {**_TEXT, "maxLength": 1_000_000},
    "plan": {**_TEXT, "maxLength": 10_000},
    "budget": {"type": ["number", "null"]},
    "log_level": {"type": "string"},
    "job_options": {"type": ["object", "null"]},
    "process": _PROCESS,
    "process_graph": _GRAPH,
}
_JOB = {
    "type": "object",
    "properties": _SETTINGS,
    "anyOf": [{"required": ["process"]}, {"required": ["process_graph"]}],
}
_BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "result"): _JOB,
    ("POST", "jobs"): _JOB,
    ("PATCH", "jobs"): {"type": "object", "properties": _SETTINGS},
    # What is wrong with a graph is this answer's content.
    ("POST", "validation"): {"type": "object", "properties": {"process_graph": {"maxProperties": MOST_NODES}}},
    ("PUT", "process_graphs"): _PROCESS,
}


class StrictJson(DefaultJSONProvider):
    """Reads JSON as RFC 8259 has it; Python's own reader takes NaN, and numbers that become infinite."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Return the value of a JSON text.

        Raises
        ------
        ValueError
            Also for a text that is nested too deeply, or holds half a character.
        """
        del kwargs
        return strict_loads(s)


def strict_loads(text: str | bytes) -> Any:
    """Return the value of a JSON text; ValueError for whatever not every JSON reader would read."""
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from error
    level, values = 0, [value]
    while values:
        if level > DEEPEST:
            raise ValueError(f"it is nested deeper than {DEEPEST} levels")
        for entry in values:
            _check_scalar(entry)
        inner = [entry for entry in values if isinstance(entry, dict | list)]
        values = [other for entry in inner for other in (entry.values() if isinstance(entry, dict) else entry)]
        for entry in inner:
            if isinstance(entry, dict):
                values += list(entry)
        level += 1
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def _check_scalar(value: Any) -> None:
    if isinstance(value, str):
        value.encode("utf-8")  # UnicodeEncodeError, which is a ValueError
        if "\0" in value:
            raise ValueError("a text holds a null character")
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"{str(value)[:40]} is too large a number")


@lru_cache(maxsize=1)
def _validators() -> dict[tuple[str, str], Any]:
    from jsonschema import Draft7Validator

    return {key: Draft7Validator(schema) for key, schema in _BODIES.items()}


def guard_requests(app: Any) -> None:
    """Let an app answer requests of a wrong shape with status 400 and one line that says what would be right."""
    import flask

    from upscaling.local_backend.front import api_error

    class Request(flask.Request):
        def on_json_loading_failed(self, error: ValueError | None) -> Any:
            if error is None:  # another media type
                return super().on_json_loading_failed(error)
            raise api_error(400, "ContentTypeInvalid", f"the body is not JSON: {error}") from error

    app.json, app.request_class = StrictJson(app), Request

    @app.errorhandler(413)  # type: ignore[untyped-decorator]
    def too_large(_: Any) -> Any:
        refusal = api_error(413, "PayloadTooLarge", f"the body is larger than {MOST_BYTES >> 20} MiB")
        return app.handle_user_exception(refusal)

    @app.before_request  # type: ignore[untyped-decorator]
    def check() -> None:
        for name in ("limit", "before"):
            text = flask.request.args.get(name, "")
            if text and not (re.fullmatch("[0-9]{1,18}", text) and 0 < int(text) <= LARGEST):
                raise api_error(400, "ParameterInvalid", f"{name} must be a positive number")
        if "\0" in flask.request.full_path or "%00" in flask.request.full_path:
            raise api_error(400, "ParameterInvalid", "the address holds a null character")
        parts = flask.request.path.strip("/").split("/")
        namespace = (flask.request.view_args or {}).get("namespace", "")
        if ":" in namespace and not namespace.startswith("u:"):
            raise api_error(404, "ProcessNamespaceInvalid", f"there is no namespace {namespace!r}")
        name = next((part for part in parts if part in {key for _, key in _BODIES}), "")
        validator = _validators().get((flask.request.method, name))
        # To start a job (POST /jobs/{id}/results) nothing is sent.
        if validator is None or "workspaces" in parts or "results" in parts:
            return
        if name != "validation":  # nothing is read of what anybody may send
            flask.current_app.extensions["auth_handler"].get_user_from_bearer_token(flask.request)
        _check_body(validator)


def _check_body(validator: Any) -> None:
    import flask

    from upscaling.local_backend.front import api_error

    fault = next(iter(validator.iter_errors(flask.request.get_json())), None)
    if fault is not None:
        where = ".".join(map(str, fault.absolute_path)) or "the body"
        missing = "process" in str(fault.validator_value) and fault.validator in {"required", "anyOf"}
        code = "ProcessGraphMissing" if missing else "ParameterInvalid"
        too_many = fault.validator == "maxProperties"
        message = f"a process graph has at most {MOST_NODES:,} nodes" if too_many else fault.message
        raise api_error(400, code, f"{where}: {message}"[:500])
