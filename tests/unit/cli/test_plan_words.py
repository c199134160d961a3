"""What `upscaling plan` says of work that is done, and of work that has to be done again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from upscaling.cli.area import progress_in_words
from upscaling.monitor.progress import TileState

DONE = TileState("a", "finished", item=True)
STALE = TileState("b", "not started", item=True)
NEW = TileState("c", "not started")


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ([NEW, NEW], ""),
        ([DONE, DONE, NEW], "to run     1; 2 are done"),
        ([DONE, STALE, NEW], "to run     2; 1 are done, 1 were and run again, as their work changed"),
    ],
)
def test_what_runs_again_is_counted_before_it_is_paid(
    states: list[TileState], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upscaling.monitor.progress.read_states", lambda *_: states)
    plan: Any = None
    assert progress_in_words(plan, Path("r")) == words
