"""What the rest of the package asks of a platform, whatever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from upscaling.jobs.receipts import Receipt
    from upscaling.model import Algorithm, Outcome, TileJob

__all__ = ["Backend"]


class Backend(Protocol):
    """A place that runs one tile of an algorithm. Adding one is one module and its test."""

    def check(self, algorithm: Algorithm) -> None:
        """Before a run: raise ConfigError if the place cannot be reached, refuses us, or cannot run the algorithm."""

    def finish(self) -> None:
        """After a run: give up what ``check`` set up."""

    def hold(self, reason: str) -> None:
        """Begin no more work on behalf of tiles that are in hand: they end with this reason, to be run another time."""

    def run(self, job: TileJob, receipt: Receipt) -> Outcome:
        """Run one tile, or attach to the run that is already under way; bring its files below ``job.scratch``.

        ``receipt`` is locked for this process. Raises TileFailedError with the platform's own words. A killed call
        can be repeated at any time.
        """
