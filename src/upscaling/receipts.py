"""What was submitted where, and how far it came: one small JSON file per tile, kept outside Snakemake's outputs.

Snakemake deletes a rule's outputs and logs before it runs the rule again; a receipt must outlive that, or the work
would be paid for twice. States, in order:

    intent     about to be created remotely; the outcome is unknown until the next state is written
    created    exists on the platform under ``job_id``, perhaps not started
    started    the platform accepted the start
    finished   the platform says that it is done; results may still have to be fetched
    done       results were fetched, checked and described in ``item.json``
    failed     ended without a usable result; ``error`` says why
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from upscaling.errors import UpscalingError
from upscaling.files import write_json
from upscaling.tiles import TileJob

__all__ = ["Receipt", "State", "open_receipt"]

State = Literal["new", "intent", "created", "started", "finished", "done", "failed"]


@dataclass
class Receipt:
    """The receipt of one tile; every change of state is on disk before the next request leaves."""

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

    def advance(self, state: State, **changes: Any) -> None:
        """Set the state and the given fields, and write the receipt."""
        for name, value in changes.items():
            setattr(self, name, value)
        self.state = state
        self.updated = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        content = asdict(self)
        del content["path"]
        write_json(self.path, content)

    def start_over(self, reason: str) -> None:
        """Put the present attempt into the history and begin a new one (in memory; written with the next state)."""
        if self.state != "new":
            past = {"key": self.key, "state": self.state, "job_id": self.job_id, "at": self.updated, "why": reason}
            self.history.append(past | ({"error": self.error} if self.error else {}))
        self.state, self.job_id, self.error, self.facts = "new", None, None, {}


@contextmanager
def open_receipt(job: TileJob) -> Iterator[Receipt]:
    """Lock a tile against every other process that works on it, and yield its receipt.

    A second process waits: after ``kill -9`` of Snakemake its tile processes live on, and end their work first.
    The lock is a byte range of one file (POSIX record lock: it works on NFS and ends with its process).

    Raises
    ------
    UpscalingError
        If the receipt cannot be read; it is never overwritten blindly, as it may stand for paid work.
    """
    job.receipt.parent.mkdir(parents=True, exist_ok=True)
    position = int(hashlib.sha256(job.id.encode()).hexdigest()[:15], 16)
    descriptor = os.open(job.receipt.parent / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, position)
        yield _read(job)
    finally:
        os.close(descriptor)


def _read(job: TileJob) -> Receipt:
    try:
        content = json.loads(job.receipt.read_text(encoding="utf-8"))
        receipt = Receipt(path=job.receipt, **content)
    except FileNotFoundError:
        return Receipt(job.receipt, job.id, job.key)
    except (ValueError, TypeError) as error:
        raise UpscalingError(
            f"receipt {job.receipt} cannot be read ({error}); it may stand for a job that was paid:"
            " look at the platform's job list, then delete the file"
        ) from None
    if receipt.key != job.key:
        receipt.start_over("the tile's algorithm, parameters or platform changed")
        receipt.key = job.key
    return receipt
