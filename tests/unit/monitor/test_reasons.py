"""Tiles that failed alike are one line: in the report, and at the end of a run."""

from __future__ import annotations

from upscaling.monitor.progress import TileState
from upscaling.monitor.status import failures_of
from upscaling.results.gather import by_reason

REASONS = {
    "a": "no scene (cut.py, line 10) (log: results/r/logs/a.cwl.log)",
    "b": "no scene (cut.py, line 10) (log: results/r/logs/b.cwl.log)",
    "c": "out of memory (log: results/r/logs/c.cwl.log)",
}


def test_paths_that_differ_do_not_make_another_reason() -> None:
    assert list(by_reason(REASONS)) == [f"a, b: {REASONS['a']}", f"c: {REASONS['c']}"]
    states = [
        TileState(tile=tile, state="failed", error_class="permanent", error=reason, attempt=1, updated="")
        for tile, reason in REASONS.items()
    ]
    assert [(len(failure.tiles), failure.example) for failure in failures_of(states)] == [
        (2, REASONS["a"]),
        (1, REASONS["c"]),
    ]
