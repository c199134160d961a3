"""Three ways to call a process, as the suite's own runners do: library, embedded back-end in process, and over HTTP."""

# ruff: noqa: ARG002, D102 -- the methods are those of the suite's own runners

from __future__ import annotations

import math
from typing import Any, ClassVar

import rioxarray  # noqa: F401 -- the accessor
import xarray as xr
from openeo_test_suite.lib.process_runner.base import ProcessTestRunner
from openeo_test_suite.lib.process_runner.util import datacube_to_xarray, numpy_to_native, xarray_to_datacube

from upscaling.local_backend.graphs import Callback, Evaluator
from upscaling.local_backend.labels import Labeled, array_create_labeled
from upscaling.local_backend.processes import base_registry, specifications


def make(way: str, url: str | None, user: str, password: str) -> ProcessTestRunner:
    """Return the runner of a way."""
    if way == "library":
        from openeo_test_suite.lib.process_runner.dask import Dask

        return Dask()
    if way == "process":
        return InProcess()
    import openeo

    return OverHttp(openeo.connect(str(url)).authenticate_basic(user, password))


def is_nodata(value: Any) -> bool:
    """Return whether the suite stands a value for no-data."""
    return value is None or (isinstance(value, dict) and value.get("type") == "nodata")


def decoded(value: Any, expected: Any) -> Any:
    """Return a value with null for NaN, or NaN for null, where the other is expected: no-data of arrays and of JSON."""
    if isinstance(value, list) and isinstance(expected, list):
        return [decoded(*pair) for pair in zip(value, expected, strict=False)] + value[len(expected) :]
    if is_nodata(expected):
        return None if isinstance(value, float) and math.isnan(value) else value
    return math.nan if value is None and isinstance(expected, float) and math.isnan(expected) else value


def labelled(data: dict[str, Any]) -> dict[str, Any]:
    """Return values and labels of the suite's form of a labelled array."""
    values = [math.nan if is_nodata(entry["value"]) else entry["value"] for entry in data["data"]]
    return {"data": values, "labels": [entry["key"] for entry in data["data"]]}


def _entries(expected: Any) -> list[dict[str, Any]]:
    return expected.get("data", []) if isinstance(expected, dict) else []


class InProcess(ProcessTestRunner):
    """The processes of the embedded back-end, each as the only node of a graph."""

    def __init__(self) -> None:
        self._processes = base_registry()
        self._evaluator = Evaluator(self._processes, lambda *_: None)

    def list_processes(self) -> list[dict[str, Any]]:
        return specifications(self._processes)

    def execute(self, process: str, arguments: dict[str, Any]) -> Any:
        names = {name: {"from_parameter": name} for name in arguments}
        graph = {"node": {"process_id": process, "arguments": names, "result": True}}
        return self._evaluator.run(graph, arguments)

    def encode_process_graph(self, process: Any, parent_process_id: Any = None, parent_parameter: Any = None) -> Any:
        return Callback(self._evaluator, process["process_graph"], {}, 0)

    def encode_datacube(self, cube: Any) -> Any:
        """Return a cube as the back-end loads it: with its CRS as a coordinate."""
        found = datacube_to_xarray(cube)
        return found.rio.write_crs(found.attrs["crs"]) if "crs" in found.attrs else found

    def encode_labeled_array(self, data: dict[str, Any]) -> Any:
        return array_create_labeled(**labelled(data))

    def decode_data(self, data: Any, expected: Any) -> Any:
        if isinstance(data, Labeled):
            values = self.decode_data(list(data), [entry.get("value") for entry in _entries(expected)])
            pairs = [{"key": key, "value": value} for key, value in zip(data.labels, values, strict=True)]
            return {"type": "labeled-array", "data": pairs}
        if isinstance(data, xr.DataArray):
            return xarray_to_datacube(data.drop_vars("spatial_ref", errors="ignore"))
        return decoded(numpy_to_native(data, expected), expected)


class Labelled(dict[str, Any]):
    """The suite's form of a labelled array, which a node of the graph has to make."""


class OverHttp(ProcessTestRunner):
    """The embedded back-end as a client sees it. What JSON cannot say (NaN, infinity) is computed by further nodes."""

    NODES: ClassVar = {
        "nan": {"process_id": "nan", "arguments": {}},
        "minus": {"process_id": "ln", "arguments": {"x": 0}},
        "plus": {"process_id": "multiply", "arguments": {"x": {"from_node": "minus"}, "y": -1}},
    }

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def list_processes(self) -> Any:
        return self._connection.list_processes()

    def encode_process_graph(self, process: Any, parent_process_id: Any = None, parent_parameter: Any = None) -> Any:
        return process

    def encode_labeled_array(self, data: dict[str, Any]) -> Any:
        return Labelled(data)

    def execute(self, process: str, arguments: dict[str, Any]) -> Any:
        nodes = dict(self.NODES)
        for name, value in arguments.items():
            if isinstance(value, Labelled):
                made = {"process_id": "array_create_labeled", "arguments": self._sayable(labelled(value))}
                nodes |= {f"labelled_{name}": made}
                arguments = {**arguments, name: {"from_node": f"labelled_{name}"}}
        node = {"process_id": process, "arguments": self._sayable(arguments), "result": True}
        return self._connection.execute({"process_graph": {**nodes, "node": node}})

    def _sayable(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._sayable(entry) for name, entry in value.items()}
        if isinstance(value, list):
            return [self._sayable(entry) for entry in value]
        if isinstance(value, float) and not math.isfinite(value):
            return {"from_node": "nan" if math.isnan(value) else "plus" if value > 0 else "minus"}
        return value

    def decode_data(self, data: Any, expected: Any) -> Any:
        if isinstance(expected, dict) and expected.get("type") == "labeled-array":
            raise NotImplementedError("JSON has no labelled arrays")
        return decoded(data, expected)
