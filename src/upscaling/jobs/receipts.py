"""What was submitted where, and how far it came: one small JSON file per tile, kept outside Snakemake's outputs.

Snakemake deletes a rule's outputs and logs before it runs the rule again; a receipt must outlive that, or the work
would be paid for twice. States, in order:

    intent     about to be created remotely; the outcome is unknown until the next state is written
    created    exists on the platform under ``job_id``, not started
    started    a start was sent, and not refused
    finished   the platform says that it is done; results may still have to be fetched. With an ``error`` they were, and
               are not acceptable: the job is paid all the same, so they are fetched and checked again, not made again
    done       results were fetched, checked and described in ``item.json``
    failed     ended without a usable result; ``error`` says why
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from upscaling.errors import ErrorClass, UpscalingError
from upscaling.model import TileJob
from upscaling.util.files import write_json

__all__ = ["Receipt", "State", "open_receipt", "read_receipt", "read_receipts", "usable"]

State = Literal["new", "intent", "created", "started", "finished", "done", "failed"]

# A process gives up its POSIX locks of a file when it closes *any* descriptor of it. So there is one for each file,
# never closed; and as such locks do not hold threads of one process apart, a set does.
_descriptors: dict[Path, int] = {}
_held: set[tuple[Path, int]] = set()
_changed = threading.Condition()


@dataclass
class Receipt:
    """The receipt of one tile; every change of state is on disk before the next request leaves.

    Attributes
    ----------
    attempt
        Jobs that were asked for, over all runs.
    memory_level
        How far up the memory ladder the work had to go.
    lost
        Jobs of this work that the platform lost since somebody last started a run.
    facts
        What the platform says of the job; ``status`` while it is not ended: ``created``, ``queued`` or ``running``.
    unusable
        Jobs of this work that are finished on the platform, or waiting there, and of no use: never attached to again.
    adopted
        Whether the job was found on the platform, and may be another run's: it is never deleted.
    seen
        Whether this run saw the job before its end: what it lists then was not emptied with old jobs.
    history
        Earlier attempts, oldest first, each with the reason why it was given up.
    when_done
        Not written: what a backend still has to do once nothing of the tile can be lost any more.
    """

    path: Path
    tile: str
    key: str
    state: State = "new"
    job_id: str | None = None
    attempt: int = 0
    updated: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    error: dict[str, str] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    memory_level: int = 0
    lost: int = 0
    unusable: list[str] = field(default_factory=list)
    adopted: bool = False
    seen: bool = False
    when_done: Callable[[], None] | None = None

    def advance(self, state: State, **changes: Any) -> None:
        """Set the state and the given fields, and write the receipt."""
        for name, value in changes.items():
            setattr(self, name, value)
        self.state = state
        self.updated = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        write_json(self.path, {name: getattr(self, name) for name in _WRITTEN})
        if state == "done" and self.when_done is not None:
            last, self.when_done = self.when_done, None
            last()

    def refuse(self, error_class: str, message: str) -> None:
        """Note that the results of the job are not acceptable: the tile failed, and the job stays paid."""
        self.advance("finished", error={"class": error_class, "message": message})

    def discard(self, reason: str) -> None:
        """Note that the job is not to be used again: the next run makes another job, and pays for it."""
        if self.job_id is not None:
            self.unusable.append(self.job_id)
        self.advance("failed", error={**(self.error or {"class": "permanent"}), "message": reason})

    def start_over(self, reason: str) -> None:
        """Put the present attempt into the history and begin a new one (in memory; written with the next state)."""
        if self.state != "new":
            past: dict[str, Any] = {
                "key": self.key,
                "state": self.state,
                "job_id": self.job_id,
                "at": self.updated,
                "why": reason,
            }
            past |= {"error": self.error} if self.error else {}
            past |= {"costs": self.facts["costs"]} if "costs" in self.facts else {}
            self.history.append(past)
        self.state, self.job_id, self.error, self.facts = "new", None, None, {}
        self.adopted = self.seen = False


# What each field is where it is there. Whatever else is in the file was not written here, or was damaged.
_SHAPE: dict[str, tuple[type, ...]] = {
    "key": (str,),
    "state": (str,),
    "job_id": (str, type(None)),
    "attempt": (int,),
    "updated": (str,),
    "facts": (dict,),
    "error": (dict, type(None)),
    "history": (list,),
    "memory_level": (int,),
    "lost": (int,),
    "unusable": (list,),
}
_WRITTEN = tuple(one.name for one in dataclasses.fields(Receipt) if one.name not in {"path", "when_done"})


def usable(content: Any) -> dict[str, Any] | None:
    """Return what a receipt holds; None where it has not the shape of one, and nobody must rely on it."""
    if not isinstance(content, dict):
        return None
    for name, kinds in _SHAPE.items():
        if name in content and not isinstance(content[name], kinds):
            return None
    history = content.get("history") or []
    if not all(isinstance(past, dict) for past in history):
        return None
    errors = [error for error in (content.get("error"), *(past.get("error") for past in history)) if error]
    if not all(isinstance(error, dict) and all(isinstance(word, str) for word in error.values()) for error in errors):
        return None
    try:
        moment = datetime.fromisoformat(content.get("updated") or "1970-01-01T00:00:00Z")
    except ValueError:
        return None
    return content if moment.tzinfo is not None else None


def read_receipt(path: str | Path) -> dict[str, Any] | None:
    """Return what the receipt at a path holds; None if it is not there or cannot be read."""
    import orjson

    try:
        with open(path, "rb") as stream:  # noqa: PTH123 -- for every tile: Path objects cost more than the reading
            return usable(orjson.loads(stream.read()))
    except (OSError, orjson.JSONDecodeError):
        return None


def read_receipts(run_folder: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield target and content of every receipt of a run, in order; None for one that cannot be read.

    Files whose names begin with a dot are no receipts: a killed process leaves them.
    """
    try:
        names = sorted(os.listdir(run_folder / "receipts"))  # noqa: PTH208 -- names only
    except FileNotFoundError:
        return
    for name in names:
        if name.startswith(".") or not name.endswith(".json"):
            continue
        try:
            content = json.loads((run_folder / "receipts" / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            content = None
        yield name.removesuffix(".json"), usable(content)


@contextmanager
def open_receipt(job: TileJob) -> Iterator[Receipt]:
    """Lock a tile against every other process that works on it, and yield its receipt.

    A second process (or thread) waits: after ``kill -9`` of Snakemake its tile processes live on, and end their work
    first. The lock is a byte range of one file (POSIX record lock: it works on NFS and ends with its process).

    Raises
    ------
    UpscalingError
        If the receipt cannot be read; it is never overwritten blindly, as it may stand for paid work.
    """
    job.receipt.parent.mkdir(parents=True, exist_ok=True)
    path = job.receipt.parent.resolve() / ".lock"
    position = int(hashlib.sha256(job.id.encode()).hexdigest()[:15], 16)
    with _changed:
        _changed.wait_for(lambda: (path, position) not in _held)
        descriptor = _descriptor(path)
        _held.add((path, position))
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, position)
        try:
            yield _read(job)
        finally:
            fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, position)
    finally:
        with _changed:
            _held.discard((path, position))
            _changed.notify_all()


def _descriptor(path: Path) -> int:
    """Return this process's one descriptor of a lock file; a new one if the file was deleted with its run."""
    if path in _descriptors:
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(_descriptors[path])):
                return _descriptors[path]
    _descriptors[path] = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    return _descriptors[path]


def _of_today(content: Any) -> dict[str, Any]:
    """Return a receipt's content with the fields of today: earlier ones counted the memory level under another name."""
    if not isinstance(content, dict):
        raise TypeError("it holds no object")
    if usable(content) is None:
        raise TypeError("it holds what no receipt has")
    found = {name: value for name, value in content.items() if name in _WRITTEN}
    if "memory_level" not in found:
        errors = [content.get("error"), *(past.get("error") for past in content.get("history", []))]
        found["memory_level"] = sum((error or {}).get("class") == ErrorClass.MEMORY for error in errors)
    return found


def _read(job: TileJob) -> Receipt:
    try:
        content = json.loads(job.receipt.read_text(encoding="utf-8"))
        receipt = Receipt(path=job.receipt, **_of_today(content))
    except FileNotFoundError:
        return Receipt(job.receipt, job.id, job.key)
    except (ValueError, TypeError) as error:
        raise UpscalingError(
            f"receipt {job.receipt} cannot be read ({error}); it may stand for a job that was paid:"
            " look at the platform's job list, then delete the file"
        ) from None
    if receipt.key != job.key:
        receipt.start_over("the tile's algorithm, parameters or platform changed")
        receipt.key, receipt.memory_level, receipt.lost, receipt.unusable = job.key, 0, 0, []
    return receipt
