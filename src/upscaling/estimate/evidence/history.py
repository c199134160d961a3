"""What jobs took before: a file of this machine's finished runs, runs beside this one, and published benchmarks.

The history file (``<results>/history.ndjson``) has a line per finished run: algorithm, platform, and up to 200 jobs
with area, cost, seconds, memory and size. It names no place, user or tile, and can be shared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from upscaling.algorithms.catalogue import read_source
from upscaling.algorithms.records import is_scenarios
from upscaling.errors import UpscalingError
from upscaling.util.files import digest, write_whole
from upscaling.util.locks import exclusive
from upscaling.util.text import plain_text

if TYPE_CHECKING:
    from upscaling.config import Algorithm as AlgorithmConfig
    from upscaling.estimate.evidence.measure import Jobs
    from upscaling.estimate.evidence.work import Work
    from upscaling.model import Algorithm
    from upscaling.planning.plan import Plan

__all__ = [
    "HISTORY",
    "Past",
    "PastRun",
    "add_run",
    "past_of",
    "platform_name",
    "read_benchmarks",
    "read_history",
    "run_id",
    "scenario_names",
]

HISTORY = "history.ndjson"
_MOST_JOBS = 200  # of a run, spread over its range of expected work
_LARGEST = 200_000_000  # bytes


class Past(BaseModel):
    """A job that ended well somewhere before; None where a number was not stated."""

    model_config = ConfigDict(allow_inf_nan=False, frozen=True)

    area_km2: float | None = None
    cost: float | None = None
    seconds: float | None = None
    memory_gb: float | None = None
    result_bytes: float | None = None


class PastRun(BaseModel):
    """A finished run, as the history file keeps it."""

    id: str
    """Hash of the run's plan: a run that is continued replaces its line."""
    ended: str
    algorithm: str
    sha256: str = ""
    platform: str
    currency: str = ""
    jobs: int
    failed: int = 0
    measured: list[Past] = []


def platform_name(backend: str) -> str:
    """Return kind and host of a platform, as histories name it: without user names, paths or queries."""
    kind, _, address = backend.partition(" ")
    host = urlsplit(address.split(" ")[0]).netloc.rpartition("@")[2]
    return f"{kind} {host}".strip()


def add_run(path: Path, plan: Plan, work: Work, jobs: Jobs, *, ended: str) -> None:
    """Add a finished run to the history, or replace its line.

    Raises
    ------
    UpscalingError
        If the file cannot be written.
    """
    done = np.flatnonzero(jobs.finished & ~np.isnan(jobs.cost + jobs.seconds)) if len(jobs.finished) else np.array([])
    done = done if len(done) else np.flatnonzero(jobs.finished)
    if not len(done):
        return
    chosen = done[np.argsort(work.rank[done])][np.linspace(0, len(done) - 1, min(len(done), _MOST_JOBS)).astype(int)]
    columns = {"area_km2": work.area_km2, "cost": jobs.cost, "seconds": jobs.seconds, "memory_gb": jobs.memory_gb,
               "result_bytes": jobs.result_bytes}  # fmt: skip
    measured = [
        Past(**{name: round(float(column[n]), 6) for name, column in columns.items() if math.isfinite(column[n])})
        for n in chosen
    ]
    facts = plan.facts
    entry = PastRun(
        id=run_id(plan),
        ended=ended,
        algorithm=plain_text(facts["algorithm"]["id"]),
        sha256=facts["algorithm"]["sha256"],
        platform=platform_name(facts["backend"]),
        jobs=len(jobs.finished),
        failed=int(jobs.failed.sum()),
        measured=measured,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(path.with_name(f".{path.name}.lock")):
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
            kept = [line for line in lines if entry.id not in line[:60]]
            content = [*kept, entry.model_dump_json(exclude_none=True, exclude_defaults=False)]
            write_whole(path, "\n".join(content) + "\n")
    except OSError as error:
        raise UpscalingError(f"{path} cannot be written: {error.strerror}") from None


def read_history(path: Path) -> list[PastRun]:
    """Return the runs of a history file; a line that cannot be read is left out.

    Raises
    ------
    UpscalingError
        If the file is there and cannot be read at all.
    """
    if not path.is_file():
        return []
    try:
        if path.stat().st_size > _LARGEST:
            raise UpscalingError(f"{path} is too large for a history ({_LARGEST // 10**6} MB)")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UpscalingError(f"{path} cannot be read: {error}") from None
    return [run for run in map(_parsed, lines) if run is not None]


def _parsed(line: str) -> PastRun | None:
    try:
        return PastRun.model_validate_json(line)
    except ValidationError:
        return None


def past_of(runs: Iterable[PastRun], *, algorithm: str, platform: str, without: str = "") -> list[Past]:
    """Return the jobs of an algorithm on a platform."""
    return [
        job
        for run in runs
        if run.algorithm == algorithm and run.platform == platform and run.id != without
        for job in run.measured
    ]


def read_benchmarks(places: Iterable[Path], names: set[str]) -> list[Past]:
    """Return the runs of benchmark scenarios from Parquet tables in the layout that APEx publishes.

    Parameters
    ----------
    places
        Tables, or folders of them.
    names
        Scenarios that run the algorithm.

    Raises
    ------
    UpscalingError
        If a table cannot be read, or has other columns.
    """
    return [past for place in places for table in _tables(place) for past in _benchmarks(table, names)]


def _tables(place: Path) -> list[Path]:
    found = sorted(place.glob("**/*.parquet")) if place.is_dir() else [place]
    if not found:
        raise UpscalingError(f"{place} holds no Parquet table of benchmarks")
    return found


def _benchmarks(table: Path, names: set[str]) -> Iterator[Past]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"scenario_id": "", "test:phase:exception": "", "costs": "cost", "usage:duration:seconds": "seconds",
               "usage:max_executor_memory:gb": "memory_gb", "results:proj:bbox:area:utm:km2": "area_km2"}  # fmt: skip
    try:
        schema = pq.read_schema(table)
        if "scenario_id" not in schema.names or "costs" not in schema.names:
            raise UpscalingError(f"{table} is no table of benchmarks: it has no columns scenario_id and costs")
        rows = pq.read_table(table, columns=[name for name in columns if name in schema.names]).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UpscalingError(f"{table} cannot be read: {error}") from None
    for row in rows:
        failed = row.get("test:phase:exception") in {"create-job", "run-job"}
        if row["scenario_id"] in names and not failed and row["costs"] is not None:
            values = {field: row.get(name) for name, field in columns.items() if field}
            yield Past(**{field: float(value) for field, value in values.items() if _usable(value)})


def _usable(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def run_id(plan: Plan) -> str:
    """Return the id of a run in histories."""
    return digest([plan.facts["run"], plan.facts["key"]])[:16]


def scenario_names(config: AlgorithmConfig, algorithm: Algorithm) -> set[str]:
    """Return the ids of the benchmark scenarios of an algorithm: its own, and those beside a local definition."""
    names = {algorithm.id, *([str(algorithm.record["id"])] if algorithm.record and algorithm.record.get("id") else [])}
    try:
        place = Path(config.source)
        path = place if place.is_file() or not config.catalogue else Path(read_source(config)[1])
    except UpscalingError:
        return names
    for found in sorted(path.resolve().parents[1].glob("benchmark*/*.json")) if path.is_file() else []:
        try:
            content = json.loads(found.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if is_scenarios(content):
            names |= {str(scenario["id"]) for scenario in content}
    return names
