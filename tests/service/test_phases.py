"""Where a task stands after what its user asks."""

from __future__ import annotations

from pathlib import Path

from upscaling.service.phase import Phase, read_phase, write_phase
from upscaling.service.runner import Runner
from upscaling.service.settings import ServiceSettings


def test_a_retry_of_some_tiles_stays_one_over_a_pause(tmp_path: Path) -> None:
    runner = Runner(ServiceSettings(folder=tmp_path), environment=lambda _: {}, ended=lambda *_: None)
    write_phase(tmp_path, Phase("ended"))
    runner.ask(1, tmp_path, "queued", target=("a",), back="ended")
    runner.ask(1, tmp_path, "paused")
    runner.ask(1, tmp_path, "queued")
    assert (read_phase(tmp_path).target, read_phase(tmp_path).back) == (("a",), "ended")
    runner.ask(1, tmp_path, "queued", target=("pilot",))
    assert (read_phase(tmp_path).target, read_phase(tmp_path).back) == (("pilot",), "")
    write_phase(tmp_path, Phase("stopped", target=("a",), back="ended"))  # given up: then everything is asked for
    runner.ask(1, tmp_path, "queued")
    assert read_phase(tmp_path).target == ()
