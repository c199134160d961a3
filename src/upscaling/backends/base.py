"""What the rest of the package asks of a platform, whatever it is."""

from __future__ import annotations

from typing import Protocol

from upscaling.tiles import Algorithm, Outcome, TileJob

__all__ = ["Backend"]


class Backend(Protocol):
    """A place that runs one tile of an algorithm. Adding one is one module and its test."""

    def identity(self) -> str:
        """Return what makes results differ by place (kind and URL); part of every tile's key."""

    def check(self, algorithm: Algorithm) -> None:
        """Raise ConfigError if the place cannot be reached, refuses the credentials, or cannot run it."""

    def run(self, job: TileJob) -> Outcome:
        """Run one tile, or attach to the run that is already under way, and bring its files below ``job.scratch``.

        Raises TileFailedError with the platform's own words. A killed call can be repeated at any time.
        """
