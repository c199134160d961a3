"""Tiles that somebody took out of a run: those that were not begun are not begun any more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from upscaling.errors import ErrorClass, TileFailedError

if TYPE_CHECKING:
    from upscaling.jobs.receipts import Receipt
    from upscaling.model import TileJob

__all__ = ["put_back", "refuse_withdrawn", "withdraw"]

_FOLDER = "withdrawn"  # of the run; a file for each tile
_REASON = "was taken out of the run before it was begun"


def withdraw(run_folder: Path, tile: str) -> None:
    """Take a tile out of a run, also while somebody works on it; ``upscaling retry`` puts it back."""
    folder = run_folder / _FOLDER
    folder.mkdir(exist_ok=True)
    (folder / tile).touch()


def put_back(run_folder: Path, tiles: Iterable[str]) -> None:
    """Let tiles be begun again."""
    for tile in tiles:
        (run_folder / _FOLDER / tile).unlink(missing_ok=True)


def refuse_withdrawn(job: TileJob, receipt: Receipt) -> None:
    """Do nothing for a tile that is wanted.

    Raises
    ------
    TileFailedError
        ``canceled``; the receipt says so, too.
    """
    if (job.receipt.parents[1] / _FOLDER / job.id).exists():
        receipt.advance("failed", error={"class": ErrorClass.CANCELED, "message": _REASON})
        raise TileFailedError(_REASON, error_class=ErrorClass.CANCELED)
