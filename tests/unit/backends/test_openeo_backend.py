"""What an openEO platform is asked before and after a job is created."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from upscaling.backends.openeo import backend as backends
from upscaling.backends.openeo.account import by_key
from upscaling.backends.openeo.backend import OpenEOBackend
from upscaling.backends.openeo.check import check_platform
from upscaling.config import OpenEOBackendConfig
from upscaling.errors import ConfigError, ErrorClass, PlatformError
from upscaling.jobs.platform import JobState

KEY = "0123456789abcdef"


def listed(job_id: str, status: str, created: str) -> dict[str, Any]:
    return {"id": job_id, "title": f"{KEY} r t1", "status": status, "created": created}


OURS = listed("ours", "created", "2024-01-02")
TWINS: dict[str, tuple[list[dict[str, Any]], str | None]] = {
    "alone": ([OURS], None),
    "theirs is older": ([OURS, listed("theirs", "created", "2024-01-01")], "theirs"),
    "theirs is further": ([OURS, listed("theirs", "running", "2024-01-03")], "theirs"),
    "theirs is newer, and uses ours": ([OURS, listed("theirs", "created", "2024-01-03")], None),
    "theirs failed": ([OURS, listed("theirs", "error", "2024-01-01")], None),
    "theirs is of no use": ([OURS, listed("refused", "finished", "2024-01-01")], None),
    "the list lags": ([listed("theirs", "running", "2024-01-01")], None),
}


@pytest.mark.parametrize("case", TWINS)
def test_of_two_jobs_of_the_same_work_both_runs_use_the_same(case: str, tmp_path: Path) -> None:
    jobs, expected = TWINS[case]
    config = OpenEOBackendConfig(kind="openeo", url="http://127.0.0.1:1", auth="none")
    backend = OpenEOBackend(config, url="http://127.0.0.1:1", output_format="GTiff", run_folder=tmp_path)
    removed: list[str] = []
    backend._account = SimpleNamespace(newest=lambda _asked_at: by_key(jobs))  # type: ignore[assignment]
    backend.remove = removed.append  # type: ignore[method-assign, assignment]
    job: Any = SimpleNamespace(key=KEY + "0" * 48)
    assert backend.twin(job, "ours", frozenset({"refused"})) == expected
    assert removed == (["ours"] if expected else [])


def test_the_next_job_has_a_start_before_the_results_of_the_one_that_ended_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = OpenEOBackendConfig(kind="openeo", url="http://127.0.0.1:1", auth="none")
    backend = OpenEOBackend(config, url="http://127.0.0.1:1", output_format="GTiff", run_folder=tmp_path)
    slept: list[float] = []
    monkeypatch.setattr(backends, "time", SimpleNamespace(sleep=slept.append))
    shown = iter(["running", None, "finished", "error"])
    backend._account = SimpleNamespace(watch=SimpleNamespace(wait=lambda *_: next(shown)))  # type: ignore[assignment]
    assert backend.await_news("j", "queued", 1.0) == JobState("running")
    assert backend.await_news("j", "running", 1.0) is None
    assert not slept
    assert [backend.await_news("j", "running", 1.0) for _ in range(2)] == [None, None]
    assert len(slept) == 2


class FakeSession:
    """A platform with a few processes, one collection, and one stored process."""

    url = "https://openeo.example"

    def capabilities(self) -> Any:
        return SimpleNamespace(supports_endpoint=lambda *_args, **_options: True)

    def pages(self, path: str, name: str) -> Any:
        assert (path, name) == ("/processes", "processes")
        yield [{"id": "load_collection"}]
        yield [{"id": "save_result"}]

    def get(self, path: str) -> Any:
        if path == "/process_graphs/mine":
            return {}
        if path == "/collections/S2":
            return {"extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}}}
        raise PlatformError("404", error_class=ErrorClass.PERMANENT, status=404, code="ProcessGraphNotFound")


def graph(name: str, **more: Any) -> dict[str, Any]:
    return {
        "load": {"process_id": "load_collection", "arguments": {"id": "S2"}},
        "apply": {"process_id": name, "arguments": {}, **more},
        "save": {"process_id": "save_result", "arguments": {}, "result": True},
    }


def test_a_process_that_the_platform_does_not_have_is_told_before_the_first_tile() -> None:
    session: Any = FakeSession()
    bbox = (11.0, 46.0, 12.0, 47.0)
    with pytest.raises(ConfigError, match=r"needs the process apply_magic, which https://openeo.example does not have"):
        check_platform(session, graph("apply_magic"), bbox)
    check_platform(session, graph("mine"), bbox)
    check_platform(session, graph("udp", namespace="https://example.org/udp.json"), bbox)
    with pytest.raises(ConfigError, match="export_workspace"):
        check_platform(session, graph("mine"), bbox, more={"export_workspace": "backend.export_workspace"})
