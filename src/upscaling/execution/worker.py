"""One process that sees all tiles of a run through: it submits, waits and fetches for every slot.

A process per slot costs 0.7 CPU seconds a tile to start and 100 MB while it waits. The rule's shell therefore only
hands its tile's name to this process, over a connection to 127.0.0.1, and waits for one line. Nothing depends on it:
where there is no waiter, or it dies, the shell does the work itself, and the receipts keep both from doing it twice.

Protocol, one connection per tile: the shell sends ``<token> <tile> <key>``, the waiter answers
``<exit status> <message>``. A connection that closes early means that Snakemake gave the
tile up; the remote job goes on.
"""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from upscaling.errors import UpscalingError
from upscaling.execution.limits import CircuitBreaker
from upscaling.monitor.progress import read_states
from upscaling.planning.plan import Plan, kept_config, load_plan
from upscaling.util.files import read_json

if TYPE_CHECKING:
    from upscaling.backends.base import Backend

__all__ = ["import_libraries", "serve", "start", "stop"]

_ADDRESS = ".waiter"  # in the run's folder; readable by its owner only, as it holds the token
_LINE = 4096  # bytes; the longest question
_SECONDS = 10.0  # that a shell may take to put its question
_LIBRARIES = {  # that seeing a tile through imports, beside the backend's own module
    "openeo": ("openeo.rest.connection",),
    "ogcapi": ("jsonschema",),
}
_FOR_ALL = (
    "orjson",
    "pyproj",
    "rasterio.shutil",
    "rasterio.warp",
    "requests.adapters",
    "rio_cogeo.cogeo",
    "shapely.affinity",
    "tenacity",
    "upscaling.results.item",
)
_BETWEEN = 1 / 25  # s between two tiles' beginnings: hundreds of slots do not all reach the platform in one moment


def start(run_folder: Path) -> subprocess.Popen[bytes]:
    """Start the waiter of a run as a child of this process; it ends with its parent."""
    command = [sys.executable, "-m", "upscaling.execution.worker", str(run_folder)]
    # Its standard input is a pipe that nobody writes to: it closes when this process ends, however it ends.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None  # noqa: S101 -- PIPE
    process.stdout.readline()  # it says when it listens; nothing if it could not: the tiles then run by themselves
    return process


def stop(process: subprocess.Popen[bytes], run_folder: Path) -> None:
    """End the waiter."""
    process.terminate()
    process.wait()
    (run_folder / _ADDRESS).unlink(missing_ok=True)


def serve(run_folder: Path) -> None:
    """Serve until the parent ends or SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group, and Snakemake decides
    token = secrets.token_hex(16)
    import_libraries(kept_config(run_folder).backend.kind)
    run = _Run(run_folder)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        address = run_folder / _ADDRESS
        address.unlink(missing_ok=True)
        descriptor = os.open(address, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(f"{listener.getsockname()[1]} {token}\n")
        print("ready", flush=True)
        threading.Thread(target=_end_with_parent, args=(run,), daemon=True).start()
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer, args=(connection, token.encode(), run), daemon=True).start()


def import_libraries(kind: str) -> None:
    """Import what tiles on this kind of backend need, before there are threads.

    Threads that import a package of circular imports at the same time see it half made (Python gives up its import
    locks there, rather than wait for ever).
    """
    for name in (*_LIBRARIES.get(kind, ()), *_FOR_ALL, f"upscaling.backends.{kind}.backend"):
        importlib.import_module(name)


def _end_with_parent(run: _Run) -> None:
    sys.stdin.buffer.read()
    # Where Snakemake was killed its shells live on: they must not each take their tile over, a process per slot.
    for connection in run.shells():
        with suppress(OSError):
            connection.sendall(b"130 detached, as Snakemake has ended; the next run finds the job again\n")
    os._exit(0)  # at once: receipts are always whole on disk, and threads may wait for hours


class _Run:
    """What all tiles of a run share, so that it is not read, and no platform logged in to, for every tile."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.breaker = folder, _breaker(folder)
        self._parent = os.getppid()
        self._lock = threading.Lock()
        self._read: tuple[Plan, Backend] | None = None
        self._stopped = False
        self._next = time.monotonic()
        self._shells: set[socket.socket] = set()

    @contextmanager
    def heard(self, shell: socket.socket) -> Iterator[None]:
        """Keep a shell among those that wait for an answer."""
        self._shells.add(shell)
        try:
            yield
        finally:
            self._shells.discard(shell)

    def shells(self) -> list[socket.socket]:
        """Return those that wait for an answer."""
        return list(self._shells)

    def take_turn(self) -> None:
        """Wait until the next tile may begin."""
        with self._lock:
            turn = self._next = max(time.monotonic(), self._next + _BETWEEN)
        time.sleep(max(0.0, turn - time.monotonic()))

    def plan_and_backend(self) -> tuple[Plan, Backend]:
        """Return the run's plan and backend, as they were when it began."""
        from upscaling.backends.registry import get_backend

        with self._lock:
            if self._read is None:
                plan = load_plan(self.folder)
                self._read = plan, get_backend(kept_config(self.folder).backend, plan.facts, self.folder)
            return self._read

    def stop_launching(self, reason: str) -> None:
        """Tell Snakemake, once, to end after the tiles that are under way; it does so on SIGTERM."""
        with self._lock:
            first, self._stopped = not self._stopped, True
        if first:
            sys.stderr.write(f"stopping: {reason}\n")
            sys.stderr.flush()
            if os.getppid() == self._parent:  # else it has died, and its number may be another's
                os.kill(self._parent, signal.SIGTERM)


def _breaker(run_folder: Path) -> CircuitBreaker:
    backend, states = kept_config(run_folder).backend, read_states(run_folder)
    spent = [state.costs for state in states if state.costs is not None]
    good = any(state.state == "finished" for state in states)
    if backend.kind == "cwl":
        return CircuitBreaker(spent=spent, good=good)
    budget = backend.run_budget if backend.kind == "openeo" else None  # OGC servers tell no costs
    return CircuitBreaker(alike=backend.stop_after, budget=budget, spent=spent, good=good)


def _answer(connection: socket.socket, token: bytes, run: _Run) -> None:
    with connection, suppress(OSError):  # a shell that was killed does not listen any more
        connection.settimeout(_SECONDS)
        said = connection.makefile("rb").readline(_LINE).split()
        if len(said) != 3 or not secrets.compare_digest(said[0], token):
            return
        connection.settimeout(None)
        with run.heard(connection):
            run.take_turn()
            held_back = run.breaker.launch()
            if held_back is None:
                status, message = _see_through(said[1].decode(errors="replace"), said[2].decode(errors="replace"), run)
            else:
                status, message = 1, "not submitted, as the run stops"
                run.stop_launching(held_back)
            if run.breaker.reason is not None:
                run.plan_and_backend()[1].hold("the run stops")  # those too that wait for a place
            connection.sendall(f"{status} {message}\n".encode(errors="replace"))


def _see_through(tile: str, key: str, run: _Run) -> tuple[int, str]:
    error: str | None = None
    try:
        _run_logged(tile, key, run)
    except UpscalingError as refused:
        error = str(refused)
    except Exception as unexpected:
        error = f"{type(unexpected).__name__}: {unexpected} (a fault of eo-upscaling; traceback in the tile's log)"
    finally:
        run.breaker.ended(error=error, costs=_costs(run.folder, tile))
    return (0, "done") if error is None else (1, " ".join(error.split()))


def _run_logged(tile: str, key: str, run: _Run) -> None:
    from upscaling.execution.tile import run_tile

    plan, backend = run.plan_and_backend()
    if tile not in plan.tiles:  # asked before a log is named after it
        raise UpscalingError(f"the plan in {plan.folder} has no tile {tile!r}")
    with _logged_to(run.folder / "logs" / f"{tile}.log"):
        try:
            run_tile(tile, key=key, run_folder=run.folder, plan=plan, backend=backend)
        except UpscalingError as refused:
            # The line says all; halves of characters, which a platform may send, are spelt out.
            words = str(refused).encode(errors="backslashreplace").decode()
            logging.getLogger(__name__).error("%s", words)  # noqa: TRY400
            raise
        except Exception:
            logging.getLogger(__name__).exception("unexpected")
            raise


def _costs(run_folder: Path, tile: str) -> float | None:
    try:
        costs = read_json(run_folder / "receipts" / f"{tile}.json")["facts"].get("costs")
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return float(costs) if isinstance(costs, int | float) else None


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Send what this thread logs, and nothing else, to a tile's log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w", encoding="utf-8", errors="backslashreplace", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    thread = threading.get_ident()
    handler.addFilter(lambda record: record.thread == thread)
    root = logging.getLogger()
    root.addHandler(handler)
    path.touch()
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


if __name__ == "__main__":
    logging.getLogger().setLevel(logging.INFO)
    serve(Path(sys.argv[1]))
