"""One process that runs the tiles of a run: it submits, polls and downloads for every slot.

A process per tile costs 0.7 CPU seconds to start and 100 MB while it waits. Snakemake therefore starts this one for a
run (see ``upscaling.workflow.tile_queue``) and hands it tiles; the circuit breaker and the budget are here.

Protocol, one JSON object a line. Standard input: ``{"tile", "key"}`` begins a tile; at its end the process ends at
once, as receipts are always whole on disk and threads may wait for hours. Standard output:

    {"ready": true, "together": N}         the platform lets us in; N tiles may be in hand
    {"error": text, "key": name or null}   instead: the run cannot begin; nothing was submitted
    {"tile": id, "error": text or null}    how a tile ended
    {"tile": id, "held": text}             it was not begun, as the run stops for this reason
    {"tile": id, "rests": true or false}   its job has ended, and its results are waited for: it needs no slot
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from upscaling.errors import ConfigError, ErrorClass, UpscalingError, in_a_line, refused_by_machine
from upscaling.execution.limits import CircuitBreaker, breaker_of
from upscaling.execution.tile import run_tile
from upscaling.jobs.costs import costs_of
from upscaling.jobs.waits import WAITS
from upscaling.planning.plan import Plan, kept_config, load_plan
from upscaling.util.files import read_json
from upscaling.util.imports import import_early

if TYPE_CHECKING:
    from upscaling.backends.base import Backend
    from upscaling.config import Config

__all__ = ["Worker", "import_libraries", "serve"]

_LIBRARIES = {  # what tiles import, beside the backend's own module
    "openeo": ("openeo.rest.connection",),
    "ogcapi": ("jsonschema",),
}
_FOR_ALL = (
    "filelock",
    "orjson",
    "packaging.specifiers",
    "pyproj",
    "rasterio.shutil",
    "rasterio.warp",
    "requests.adapters",
    "rio_cogeo.cogeo",
    "shapely.affinity",
    "tenacity",
    "upscaling.results.assets",
)
_NOT_NEEDED = ("boto3",)  # 20 MB; rasterio imports it for object storage, and the rasters of tiles are on this disk
_BETWEEN = 1 / 100  # s between two tiles' beginnings: hundreds of slots do not all reach the platform in one moment
_MOST_AHEAD = 50
_CHECKS = 4 + (os.cpu_count() or 1)  # threads that check results: more would not be faster
_STOPS = "the run stops"  # how the words of tiles end that a backend did not begin


class Worker:
    """Runs tiles of one run in threads; plan, log-in and limits are shared.

    Parameters
    ----------
    run_folder
        The run; its plan and configuration are read once, and do not change under it.
    answers
        Where answers are written, a line each.
    """

    def __init__(self, run_folder: Path, answers: IO[str]) -> None:
        self._folder, self._answers = run_folder, answers
        self._turns, self._writes = threading.Lock(), threading.Lock()
        self._next = time.monotonic()
        self._checks = ThreadPoolExecutor(_CHECKS, "checks")
        logging.getLogger().addHandler(_LOGS)  # once, however often
        self._config: Config = kept_config(run_folder)
        self._plan: Plan = load_plan(run_folder)
        self._backend: Backend = self._made_backend()
        self.breaker: CircuitBreaker = breaker_of(run_folder, self._plan, self._config)
        WAITS.listen(lambda tile, rests: self.say(tile=tile, rests=rests))

    def _made_backend(self) -> Backend:
        from upscaling.backends.registry import get_backend

        return get_backend(self._config.backend, self._plan.facts, self._folder)

    @property
    def together(self) -> int:
        """How many tiles may be in hand: more than slots, as a job's end and the next start are not one moment.

        Like tiles end together, and then all slots are to be filled at once.
        """
        slots = self._config.backend.slots
        return slots + max(2, min(slots, _MOST_AHEAD))

    def check(self) -> None:
        """See that the platform is there and lets us in; raise ConfigError if not."""
        self._backend.check(self._plan.algorithm)

    def finish(self) -> None:
        """Remove what ``check`` left on disk."""
        self._backend.finish()

    def say(self, **answer: Any) -> None:
        """Write one answer."""
        with self._writes, suppress(OSError):  # nobody reads any more
            self._answers.write(json.dumps(answer) + "\n")
            self._answers.flush()

    def run(self, tile: str, key: str | None) -> None:
        """Run one tile and say how it ended.

        Parameters
        ----------
        key
            The work that was asked for; a plan with another one is refused. None: not known.
        """
        self._take_turn()
        if self.breaker.launch() is not None:
            self._say_held(tile)
            return
        before, error, canceled = len(self._costs(tile)), None, False
        try:
            self._run_logged(tile, key)
        except UpscalingError as refused:
            error = str(refused)
            canceled = getattr(refused, "error_class", None) == ErrorClass.CANCELED
        except Exception as unexpected:
            error = in_a_line(unexpected, self._log_of(tile))
        stopped = self.breaker.reason is not None and error is not None and error.endswith(_STOPS)
        self.breaker.ended(error=error, costs=self._costs(tile)[before:], canceled=canceled)
        if self.breaker.reason is not None:
            self._backend.hold(_STOPS)  # those too that wait for a slot
        if stopped:
            self._say_held(tile)
        else:
            self.say(tile=tile, error=error and " ".join(error.encode(errors="replace").decode().split()))

    def _say_held(self, tile: str) -> None:
        self.say(tile=tile, held=self.breaker.reason)

    def _take_turn(self) -> None:
        with self._turns:
            turn = self._next = max(time.monotonic(), self._next + _BETWEEN)
        time.sleep(max(0.0, turn - time.monotonic()))

    def _log_of(self, tile: str) -> Path:
        return self._folder / "logs" / f"{tile}.log"

    def _run_logged(self, tile: str, key: str | None) -> None:
        if tile not in self._plan.tiles:  # asked before a log is named after it
            raise UpscalingError(f"the plan in {self._plan.folder} has no tile {tile!r}")
        with _LOGS.writing(self._log_of(tile)):
            try:
                run_tile(
                    tile,
                    key=key,
                    run_folder=self._folder,
                    config=self._config,
                    plan=self._plan,
                    backend=self._backend,
                    checks=self._checks,
                )
            except UpscalingError as refused:
                # The line says all; halves of characters, which a platform may send, are spelt out.
                words = str(refused).encode(errors="backslashreplace").decode()
                logging.getLogger(__name__).error("%s", words)  # noqa: TRY400
                raise
            except Exception:
                logging.getLogger(__name__).exception("unexpected")
                raise

    def _costs(self, tile: str) -> list[float]:
        try:
            receipt = read_json(self._folder / "receipts" / f"{tile}.json")
        except (OSError, ValueError):
            return []
        return costs_of(receipt) if isinstance(receipt, dict) else []


def import_libraries(kind: str) -> None:
    """Import what tiles on this kind of backend need, before there are threads."""
    import_early(*_LIBRARIES.get(kind, ()), *_FOR_ALL, f"upscaling.backends.{kind}.backend", without=_NOT_NEEDED)


def serve(run_folder: Path, orders: IO[str], answers: IO[str]) -> None:
    """Run the tiles that are ordered until the orders end; then end this process, whatever its threads do."""
    try:
        import_libraries(kept_config(run_folder).backend.kind)
        worker = Worker(run_folder, answers)
        worker.check()
        gc.freeze()  # what is there by now stays: no search for cycles goes through it again
    except UpscalingError as error:
        # Who started this knows the name of the user's file, which belongs before the key.
        blamed = error if isinstance(error, ConfigError) and error.file is None else None
        answer = {"error": blamed.message, "key": blamed.key} if blamed else {"error": str(error), "key": None}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        return
    except OSError as error:
        refused = refused_by_machine(error)
        if refused is None:
            raise
        answers.write(json.dumps({"error": str(refused), "key": None}) + "\n")
        answers.flush()
        return
    worker.say(ready=True, together=worker.together)
    try:
        for line in orders:
            order = json.loads(line)
            threading.Thread(target=worker.run, args=(order["tile"], order.get("key")), daemon=True).start()
    finally:
        worker.finish()
        os._exit(0)


class _TileLogs(logging.Handler):
    """Sends what is logged for a tile, in whichever thread, to that tile's own log.

    One handler for all tiles: the root logger asks each of its handlers about each record.
    """

    _current: ContextVar[logging.FileHandler | None] = ContextVar("log of a tile", default=None)

    def emit(self, record: logging.LogRecord) -> None:
        log = self._current.get()
        if log is not None:
            log.handle(record)

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Send what this context logs to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        log = logging.FileHandler(path, mode="w", encoding="utf-8", errors="backslashreplace", delay=True)
        log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        path.touch()
        token = self._current.set(log)
        try:
            yield
        finally:
            self._current.reset(token)
            log.close()


_LOGS = _TileLogs()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is Snakemake's business
    logging.getLogger().setLevel(logging.INFO)
    # What a library prints must not be taken for an answer.
    _answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(Path(sys.argv[1]), sys.stdin, _answers)
