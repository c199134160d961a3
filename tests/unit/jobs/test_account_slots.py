"""All runs of a machine share the slots of an account, fairly, over kills."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from upscaling.backends.openeo.jobs import StartGate
from upscaling.jobs import account_slots
from upscaling.jobs.account_slots import AccountSlots
from upscaling.jobs.slots import SlotPool

URL = "https://openeo.example/openeo"
OTHER = """
import sys
from pathlib import Path
from upscaling.jobs.account_slots import AccountSlots
slots = AccountSlots(sys.argv[1], 4, Path(sys.argv[2]) if len(sys.argv) > 2 else None)
for line in sys.stdin:
    word, job = line.split()
    print(getattr(slots, word)(job), flush=True)
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("OPENEO_AUTH_USERNAME", "anna")


class Run:
    """Another process with jobs of its own."""

    def __init__(self, *folder: str) -> None:
        command = [sys.executable, "-c", OTHER, URL, *folder]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, word: str, job: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word} {job}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_runs_share_the_slots_and_none_starves() -> None:
    mine, other = AccountSlots(URL, 4), Run()
    assert [mine.take(f"a{number}") for number in range(5)] == [True] * 4 + [False]
    assert mine.take("a0")  # has one already
    assert other("take", "b0") == "False"
    mine.leave("a0")
    assert not mine.take("a4")  # the other run waits, and has less than its half
    assert other("take", "b0") == "True"
    mine.leave("a1")
    assert other("take", "b1") == "True"
    assert other("take", "b2") == "False"
    other("leave", "b0")
    assert not mine.take("a4")  # two each
    assert other("take", "b2") == "True"
    other.end()


def test_jobs_of_a_killed_run_keep_their_slots_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = AccountSlots(URL, 4), Run()
    assert [other("take", f"b{number}") for number in range(4)] == ["True"] * 4
    other.end()
    assert not mine.take("a0")
    mine.hold("b0")  # its run is continued by this process, and attaches to its job
    mine.leave("b0")
    assert mine.take("a0")
    assert not mine.take("a1")
    monkeypatch.setattr(account_slots, "_ABANDONED", -1.0)
    assert mine.take("a1")


def test_a_run_that_is_continued_does_not_wait_for_the_jobs_that_it_left(tmp_path: Path) -> None:
    killed = Run(str(tmp_path / "run"))
    assert [killed("take", f"b{number}") for number in range(4)] == ["True"] * 4
    killed.end()
    assert not AccountSlots(URL, 4, tmp_path / "other").take("a0")
    again = AccountSlots(URL, 4, tmp_path / "run")
    assert again.take("a0"), "tiles are begun in any order"
    again.hold("b0")
    assert [again.take(name) for name in ("a1", "a2", "a3")] == [True, True, False]


def test_a_job_of_an_earlier_process_that_has_ended_gives_its_slot_back() -> None:
    mine, other = AccountSlots(URL, 4), Run()
    for number in range(4):
        other("take", f"b{number}")
    other.end()
    gate = StartGate(4, shared=mine)
    assert gate.start("a0", lambda: None) is not None
    assert sorted(mine.abandoned()) == ["b0", "b1", "b2", "b3"]
    assert mine.abandoned() == []  # not asked for at every question
    gate.left("b0")  # the platform tells that it is finished
    assert gate.start("a0", lambda: None) is None


def test_accounts_and_platforms_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert AccountSlots(URL, 1).take("a")
    assert not AccountSlots(URL, 1).take("b")
    assert AccountSlots("https://other.example", 1).take("b")
    monkeypatch.setenv("OPENEO_AUTH_USERNAME", "bert")
    assert AccountSlots(URL, 1).take("b")


def test_a_folder_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", os.devnull)
    slots = AccountSlots(URL, 1)
    slots.hold("a")
    assert slots.take("b")
    slots.leave("b")


def test_a_job_of_two_runs_takes_one_slot_until_both_have_left_it() -> None:
    mine, other = AccountSlots(URL, 2), Run()
    assert other("take", "both") == "True"
    mine.hold("both")
    assert mine.take("both")
    assert mine.take("a0")
    other("leave", "both")
    assert not mine.take("a1")
    mine.leave("both")
    assert mine.take("a1")
    other.end()


@pytest.mark.parametrize("content", [b"", b'{"pid": 1', b'{"pid": 1, "start": 0, "run": null, "jobs": ["j"]}', b"\xff"])
def test_a_damaged_file_stops_nothing_and_a_run_leaves_one_at_most(content: bytes, tmp_path: Path) -> None:
    slots = AccountSlots(URL, 2)
    for number in range(5):
        assert slots.take(f"a{number}")
        slots.leave(f"a{number}")
    (file,) = tmp_path.rglob("run-*")
    file.with_name("run-1-x.json").write_bytes(content)
    assert slots.take("a") and slots.take("b") and not slots.take("c")
    assert AccountSlots(URL, 2).abandoned() == []


def test_a_pool_waits_for_the_slots_of_other_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upscaling.jobs.slots._OTHER_RUNS", 0.05)
    other = Run()
    for number in range(4):
        other("take", f"b{number}")
    pool = SlotPool(4, AccountSlots(URL, 4))
    other("leave", "b0")
    begun = time.monotonic()
    pool.wait("a0")
    pool.leave("a0")
    assert time.monotonic() - begun < 60
    assert AccountSlots(URL, 4).take("a1")
    other.end()
