"""A tile's job, and no waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from upscaling.jobs import results_wait
from upscaling.model import Algorithm, Bounds, Tile, TileJob

InThisThread = Callable[[str, Callable[..., Any]], None]


@pytest.fixture
def in_this_thread(monkeypatch: pytest.MonkeyPatch) -> InThisThread:
    """Put a function in place of one of ``time``, for this thread: others, of earlier tests, go on by the real one."""

    def put(name: str, fake: Callable[..., Any]) -> None:
        real, ours = getattr(time, name), threading.get_ident()

        def chosen(*given: Any) -> Any:
            return fake(*given) if threading.get_ident() == ours else real(*given)

        monkeypatch.setattr(time, name, chosen)

    return put


@pytest.fixture(autouse=True)
def no_waiting(in_this_thread: InThisThread) -> None:
    in_this_thread("sleep", lambda _seconds: None)
    results_wait._lists.clear()


@pytest.fixture
def job(tmp_path: Path) -> TileJob:
    algorithm = Algorithm("openeo", "p", tmp_path / "p.json", "0" * 64, "p.json")
    tile = Tile("t1", "EPSG:32632", Bounds(0, 0, 1, 1))
    places = {"folder": tmp_path / "tiles/t1", "receipt": tmp_path / "receipts/t1.json", "scratch": tmp_path / "s"}
    return TileJob("run", tile, "a" * 64, {}, algorithm, **places)
