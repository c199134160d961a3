"""One run that this Snakemake works on, from its first tile to its end."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import ConfigError, UpscalingError
from upscaling.monitor.refresher import Refresher
from upscaling.workflow.started import note_start
from upscaling.workflow.tile_queue import HandedTile, TileQueue, executor_job

if TYPE_CHECKING:
    from upscaling.config import Config
    from upscaling.workflow.runs import Runs

__all__ = ["Run"]


class Run:
    """A run's lock, check, tiles and end.

    Parameters
    ----------
    config
        Its configuration.
    name
        Its folder, as Snakemake names it.
    snakemake
        Whom to tell.
    """

    def __init__(self, config: Config, name: str, snakemake: Runs) -> None:
        self.config, self.name, self.folder = config, name, Path(name)
        self.queue = TileQueue(self.folder, self)
        self.failed = False
        self.open = 0  # jobs that make tiles, handed over and not ended
        self._snakemake = snakemake
        self._executor: Any = None
        self._state: bool | None = None  # whether it began; None before its first tile
        self._checked_here = False
        self._refresher: Refresher | None = None
        self._ending: subprocess.Popen[bytes] | None = None
        self._ended = False

    def begin(self, *, alone: bool) -> bool:
        """Lock the run before its first tile; return whether it may run.

        Parameters
        ----------
        alone
            Tiles are processes of their own: the platform is checked here and not by the process that runs them.
        """
        if self._state is None:
            from upscaling.planning.ensure import begin_run

            try:
                begin_run(self.config, self.folder)
                note_start(self.folder, self.name, self._snakemake.workflow)
                if alone:
                    self._check()
            except UpscalingError as error:
                self._state = False
                self._snakemake.refused(self._words(error))
            else:
                self._state = True
        if self._state and self._refresher is None:
            self._refresher = Refresher(self.folder)
        return self._state

    def _check(self) -> None:
        from upscaling.execution.tile import check_run

        self._checked_here = True
        check_run(self.config, self.folder)

    def _words(self, error: UpscalingError) -> str:
        return str(self.config.sources.named(error) if isinstance(error, ConfigError) else error)

    def job_ended(self) -> None:
        """Count the end of a job that makes tiles; after the last one the report is left to its own rule."""
        self.open -= 1
        if self.open == 0 and self._refresher is not None:
            self._refresher.stop(at_once=True)
            self._refresher = None

    def hand_over(self, tile: HandedTile, executor: Any) -> None:
        """Let a tile wait for its slot."""
        self._executor = executor
        self.queue.add(tile)

    # --- what the tiles' process says, in another thread ---

    def tile_begins(self, tile: HandedTile) -> None:
        """Clear what an earlier work of the tile left, and mark it as incomplete."""
        for output in tile.job.output:
            Path(str(output)).unlink(missing_ok=True)
        tile.job.register()

    def tile_ended(self, tile: HandedTile, error: str | None) -> None:
        """Tell Snakemake how a tile ended."""
        if error is None:
            self._executor.report_job_success(executor_job(tile.job))
        else:
            self._snakemake.say(f"error: tile {tile.name}: {error}")
            self._executor.report_job_error(executor_job(tile.job))

    def refused(self, message: str, key: str | None) -> None:
        """End Snakemake: the platform cannot be used."""
        self._state = False
        self._snakemake.refused(self._words(ConfigError(message, key=key) if key else UpscalingError(message)))

    def stopped(self) -> None:
        """Let Snakemake end, when nothing else is left to do."""
        self._snakemake.stopped()

    def say(self, line: str) -> None:
        """Show a line on the terminal."""
        self._snakemake.say(line)

    # --- its end ---

    def end(self) -> None:
        """After the last job: if tiles failed or were not begun, gather the others and say what is missing."""
        if self._ended:
            return
        self._ended = True
        incomplete = self.failed or self.queue.not_begun > 0
        self._leave(at_once=False)
        if self._state and incomplete:
            # In a process of its own: Snakemake's stays small, and is not stopped by what a library does.
            self._ending = subprocess.Popen(
                [sys.executable, "-m", "upscaling.workflow.ending", str(self.folder)], stdin=subprocess.DEVNULL
            )
            self._ending.wait()

    def interrupt(self) -> None:
        """End at once; remote jobs go on."""
        if self._ending is not None:
            self._ending.kill()
        if self._ended:
            return
        self._ended = True
        running = self._leave(at_once=True) or self.open - self.queue.not_begun
        if self._state and running > 0:
            remote = (
                "their remote jobs go on and are found again by the next run"
                f" (`upscaling cancel {self.name}` cancels them)"
            )
            after = remote if self.config.backend.kind != "cwl" else "the next run goes on there"
            what = "job" if getattr(self.config.backend, "chunk", 1) > 1 else "tile"  # of several tiles
            what, were = (what, "was") if running == 1 else (f"{what}s", "were")
            self._snakemake.say(f"interrupted: {running} {what} of {self.name} {were} running; {after}")

    def _leave(self, *, at_once: bool) -> int:
        in_hand = self.queue.close()
        if self._refresher is not None:
            self._refresher.stop(at_once=at_once)
        if self._checked_here:
            from upscaling.execution.tile import finish_run

            with suppress(UpscalingError, OSError):
                finish_run(self.config, self.folder)
        return in_hand
