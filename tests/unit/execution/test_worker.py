"""What the waiter makes of what is said to it, without a platform."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.planned import planned_run, tiles_of
from upscaling.errors import TileFailedError
from upscaling.execution import tile as tile_module
from upscaling.execution import worker as waiter

TOKEN = b"00112233"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A planned run of four tiles whose platform nobody will ask."""
    return planned_run(tmp_path, "http://127.0.0.1:1/openeo", columns=2, rows=2, auth="none", stop_after=2)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tiles that were begun; each comes to a good end at once."""
    names: list[str] = []
    monkeypatch.setattr(tile_module, "run_tile", lambda tile, **_: names.append(tile))
    return names


def ask(run: waiter._Run, said: bytes) -> bytes:
    """Say a line to the waiter and return all that it answers."""
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=waiter._answer, args=(theirs, TOKEN, run))
    thread.start()
    with ours:
        ours.sendall(said)
        ours.shutdown(socket.SHUT_WR)
        ours.settimeout(30)
        try:
            answer = b"".join(iter(lambda: ours.recv(65536), b""))
        except ConnectionResetError:  # closed with a part of the line unread
            answer = b""
    thread.join(30)
    assert not thread.is_alive()
    return answer


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\n",
        TOKEN + b"\n",
        b"00112234 TILE\n",
        TOKEN[:-1] + b" TILE\n",
        "töken TILE\n".encode(),
        b"\xff\xfe\x00 TILE\n",
        TOKEN + b" TILE KEY KEY\n",
        TOKEN + b" " + b"x" * 100_000 + b" TILE\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
def test_a_line_without_the_token_or_with_more_is_not_answered(said: bytes, run_folder: Path, begun: list[str]) -> None:
    tile = tiles_of(run_folder)[0]
    assert ask(waiter._Run(run_folder), said.replace(b"TILE", tile.encode())) == b""
    assert begun == []


@pytest.mark.parametrize("name", [b"../../../escaped", b"/tmp/escaped", b"a\x00b", b"\xff\xfe", b"$(id)", b"x" * 4000])
def test_a_name_that_is_no_tile_of_the_plan_is_refused_before_anything_is_named_after_it(
    name: bytes, run_folder: Path, begun: list[str], tmp_path: Path
) -> None:
    before = set(tmp_path.rglob("*"))
    answer = ask(waiter._Run(run_folder), TOKEN + b" " + name + b" key\n")
    assert answer.startswith(b"1 the plan in ")
    assert answer.count(b"\n") == 1
    assert begun == []
    assert set(tmp_path.rglob("*")) == before


def test_a_good_end_and_two_kinds_of_bad_ones_are_one_line_each(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: dict[str, Callable[[], None]] = {}
    monkeypatch.setattr(tile_module, "run_tile", lambda tile, **_: ends[tile]())
    good, failed, broken, _ = tiles_of(run_folder)

    def fail() -> None:
        raise TileFailedError("the platform\nsays \ud800 no")

    ends |= {good: lambda: None, failed: fail, broken: lambda: {}["missing"]}
    run = waiter._Run(run_folder)
    assert ask(run, TOKEN + b" " + good.encode() + b" key\n") == b"0 done\n"
    assert ask(run, TOKEN + b" " + failed.encode() + b" key\n") == b"1 the platform says ? no\n"
    answer = ask(run, TOKEN + b" " + broken.encode() + b" key\n")
    assert answer.startswith(b"1 KeyError: 'missing' (a fault of eo-upscaling")
    logs = run_folder / "logs"
    assert (logs / f"{good}.log").read_text() == ""
    told = (logs / f"{failed}.log").read_text()
    assert "says \\ud800 no" in told
    assert "Traceback" not in told
    assert "Traceback" in (logs / f"{broken}.log").read_text()


def test_tiles_that_fail_alike_stop_snakemake_once_and_no_more_are_begun(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, signals = [], []

    def fail(tile: str, **_: Any) -> None:
        begun.append(tile)
        raise TileFailedError("no such band")

    monkeypatch.setattr(tile_module, "run_tile", fail)
    monkeypatch.setattr(os, "kill", lambda *given: signals.append(given))
    run = waiter._Run(run_folder)
    answers = [ask(run, TOKEN + b" " + tile.encode() + b" key\n") for tile in tiles_of(run_folder)]
    assert [answer.startswith(b"1 not submitted, as the run stops") for answer in answers] == [False, False, True, True]
    assert begun == tiles_of(run_folder)[:2]
    assert signals == [(os.getppid(), signal.SIGTERM)]


def test_plan_and_backend_are_those_that_the_run_began_with(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, Any]] = []
    monkeypatch.setattr(tile_module, "run_tile", lambda _, *, plan, backend, **__: seen.append((plan, backend)))
    run = waiter._Run(run_folder)
    one, two, three, _ = (TOKEN + b" " + tile.encode() + b" key\n" for tile in tiles_of(run_folder))
    ask(run, one)
    ask(run, two)
    config = run_folder / "plan" / "config.json"
    content = json.loads(config.read_text())
    content["backend"]["url"] = "http://127.0.0.1:2/openeo"
    config.write_text(json.dumps(content))
    os.utime(config, ns=(time.time_ns() + 10**9,) * 2)
    ask(run, three)
    assert [entry[0] is seen[0][0] and entry[1] is seen[0][1] for entry in seen] == [True] * 3
