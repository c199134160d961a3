"""Tiles wait for slots, survive the loss of their process once, and stop together; without any process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from upscaling.workflow.tile_queue import HandedTile, TileQueue

TILES = [HandedTile(name, f"key of {name}", None) for name in "abcde"]


class FakeProcess:
    """In place of the process: remembers its orders."""

    made: list[FakeProcess]

    def __init__(self, run_folder: Path, *, answered: Any, ended: Any) -> None:
        self.answered, self.ended, self.orders, self.closed = answered, ended, list[str](), False
        self.made.append(self)

    def begin(self, tile: str, key: str | None) -> None:
        assert key == f"key of {tile}"
        self.orders.append(tile)

    def close(self) -> None:
        self.closed = True


class Told:
    """Who is told."""

    def __init__(self) -> None:
        self.began, self.ends, self.lines, self.stops = list[str](), dict[str, str | None](), list[str](), 0

    def tile_begins(self, tile: HandedTile) -> None:
        self.began.append(tile.name)

    def tile_ended(self, tile: HandedTile, error: str | None) -> None:
        self.ends[tile.name] = error

    def refused(self, message: str, key: str | None) -> None:
        self.lines.append(f"refused {key} {message}")

    def stopped(self) -> None:
        self.stops += 1

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def queue(told: Told) -> TileQueue:
    FakeProcess.made = []
    made = TileQueue(Path("results/r"), told, start=FakeProcess)
    for tile in TILES:
        made.add(tile)
    return made


def test_as_many_tiles_are_begun_as_may_be_in_hand_and_the_next_when_one_ends(queue: TileQueue, told: Told) -> None:
    (process,) = FakeProcess.made
    assert told.began == []  # nothing before the platform let us in
    process.answered({"ready": True, "together": 2})
    assert (process.orders, queue.running, queue.open) == (["a", "b"], 2, 5)
    process.answered({"tile": "b", "error": "no such band"})
    process.answered({"tile": "nobody's", "error": None})
    assert (process.orders, told.ends) == (["a", "b", "c"], {"b": "no such band"})


def test_a_tile_that_waits_for_its_results_holds_no_slot(queue: TileQueue, told: Told) -> None:
    (process,) = FakeProcess.made
    process.answered({"ready": True, "together": 2})
    process.answered({"tile": "a", "rests": True})
    process.answered({"tile": "a", "rests": True})
    assert (process.orders, told.ends) == (["a", "b", "c"], {})
    process.answered({"tile": "a", "rests": False})
    process.answered({"tile": "b", "error": None})  # three are in hand: one too many
    assert process.orders == ["a", "b", "c"]
    process.answered({"tile": "a", "error": None})
    assert process.orders == ["a", "b", "c", "d"]


def test_a_process_that_is_lost_is_started_again_once_and_then_the_run_stops(queue: TileQueue, told: Told) -> None:
    FakeProcess.made[0].answered({"ready": True, "together": 2})
    FakeProcess.made[0].ended(-9)
    second = FakeProcess.made[1]
    assert second.orders == []
    second.answered({"ready": True, "together": 2})
    assert sorted(second.orders) == ["a", "b"]
    assert "started again" in told.lines[0]
    assert "signal 9" in told.lines[0]
    second.ended(1)
    assert len(FakeProcess.made) == 2
    assert (queue.open, queue.not_begun, told.stops, told.ends) == (0, 5, 1, {})
    assert len(told.lines) == 2
    assert "5 tiles are left, their jobs go on" in told.lines[1]
    queue.add(HandedTile("f", None, None))
    assert (len(FakeProcess.made), queue.not_begun) == (2, 6)


def test_an_idle_process_that_is_lost_does_not_matter(queue: TileQueue, told: Told) -> None:
    (process,) = FakeProcess.made
    process.answered({"ready": True, "together": 9})
    for tile in TILES:
        process.answered({"tile": tile.name, "error": None})
    process.ended(-9)
    assert (len(FakeProcess.made), told.lines) == (1, [])
    queue.add(HandedTile("f", "key of f", None))
    FakeProcess.made[1].answered({"ready": True, "together": 1})
    assert FakeProcess.made[1].orders == ["f"]


def test_a_stop_lets_tiles_in_hand_end_and_begins_no_other(queue: TileQueue, told: Told) -> None:
    (process,) = FakeProcess.made
    process.answered({"ready": True, "together": 3})
    process.answered({"tile": "b", "held": "the budget is spent"})
    assert (queue.not_begun, told.stops) == (3, 0)
    assert told.lines == ["stopping results/r: the budget is spent"]
    process.answered({"tile": "a", "error": None})
    process.answered({"tile": "c", "held": "the budget is spent"})
    assert (queue.not_begun, told.stops, told.ends) == (4, 1, {"a": None})
    assert len(told.lines) == 1


def test_a_run_that_cannot_begin_says_so_and_begins_nothing(queue: TileQueue, told: Told) -> None:
    (process,) = FakeProcess.made
    process.answered({"error": "cannot be reached", "key": "backend.url"})
    process.ended(0)
    assert (told.lines, told.began, process.closed) == (["refused backend.url cannot be reached"], [], True)
    assert len(FakeProcess.made) == 1


def test_closed_it_says_how_many_were_in_hand_and_hears_no_more(queue: TileQueue, told: Told) -> None:
    (process,) = FakeProcess.made
    process.answered({"ready": True, "together": 2})
    assert queue.close() == 2
    process.answered({"tile": "a", "error": None})
    process.ended(-9)
    assert (process.closed, told.ends, told.lines, len(FakeProcess.made)) == (True, {}, [], 1)
