"""One process that sees all tiles of a run through: it submits, waits and fetches for every slot.

A process per slot costs 0.7 CPU seconds a tile to start and 100 MB while it waits. The rule's shell therefore only
hands its tile's name to this process, over a connection to 127.0.0.1, and waits for one line. Nothing depends on it:
where there is no waiter, or it dies, the shell does the work itself, and the receipts keep both from doing it twice.

Protocol, one connection per tile: the shell sends ``<token> <tile>``, the waiter answers ``<exit status> <message>``.
A connection that closes early means that Snakemake gave the tile up; the remote job goes on.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from upscaling.brakes import Brakes
from upscaling.errors import UpscalingError
from upscaling.files import read_json
from upscaling.plan import kept_config
from upscaling.progress import read_states

__all__ = ["serve", "start", "stop"]

_ADDRESS = ".waiter"  # in the run's folder; readable by its owner only, as it holds the token
_LINE = 4096  # bytes; the longest answer


def start(run_folder: Path) -> subprocess.Popen[bytes]:
    """Start the waiter of a run as a child of this process; it ends with its parent."""
    command = [sys.executable, "-m", "upscaling.waiter", str(run_folder)]
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
    token = secrets.token_hex(16)
    brakes = _brakes(run_folder)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        address = run_folder / _ADDRESS
        address.unlink(missing_ok=True)
        descriptor = os.open(address, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(f"{listener.getsockname()[1]} {token}\n")
        print("ready", flush=True)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer, args=(connection, token, run_folder, brakes), daemon=True).start()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # at once: receipts are always whole on disk, and threads may wait for hours


def _brakes(run_folder: Path) -> Brakes:
    backend, states = kept_config(run_folder).backend, read_states(run_folder)
    spent = [state.costs for state in states if state.costs is not None]
    good = any(state.state == "finished" for state in states)
    if backend.kind == "cwl":
        return Brakes(spent=spent, good=good)
    budget = backend.run_budget if backend.kind == "openeo" else None  # OGC servers tell no costs
    return Brakes(alike=backend.stop_after, budget=budget, spent=spent, good=good)


def _answer(connection: socket.socket, token: str, run_folder: Path, brakes: Brakes) -> None:
    with connection, suppress(OSError):  # a shell that was killed does not listen any more
        said = connection.makefile("rb").readline(_LINE).decode(errors="replace").split()
        if len(said) != 2 or not secrets.compare_digest(said[0], token):
            return
        held_back = brakes.launch()
        if held_back is None:
            status, message = _see_through(said[1], run_folder, brakes)
        else:
            status, message = 1, f"not submitted: {held_back}"
            _stop_launching(held_back)
        connection.sendall(f"{status} {message}\n".encode())


def _see_through(tile: str, run_folder: Path, brakes: Brakes) -> tuple[int, str]:
    from upscaling.tile import run_tile

    log = run_folder / "logs" / f"{tile}.log"
    error: str | None = None
    with _logged_to(log):
        try:
            run_tile(tile, config=kept_config(run_folder), run_folder=run_folder)
        except UpscalingError as refused:
            logging.getLogger(__name__).error("%s", refused)  # noqa: TRY400 -- the line says all
            error = str(refused)
        except Exception as unexpected:
            logging.getLogger(__name__).exception("unexpected")
            error = f"{type(unexpected).__name__}: {unexpected} (a fault of eo-upscaling; traceback in {log})"
        finally:
            brakes.ended(error=error, costs=_costs(run_folder, tile))
    return (0, "done") if error is None else (1, " ".join(error.split()))


def _costs(run_folder: Path, tile: str) -> float | None:
    try:
        costs = read_json(run_folder / "receipts" / f"{tile}.json")["facts"].get("costs")
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return float(costs) if isinstance(costs, int | float) else None


_stopped = threading.Event()


def _stop_launching(reason: str) -> None:
    """Tell Snakemake, once, to end after the tiles that are under way; it does so on SIGTERM."""
    if not _stopped.is_set():
        _stopped.set()
        sys.stderr.write(f"stopping: {reason}\n")
        sys.stderr.flush()
        os.kill(os.getppid(), signal.SIGTERM)


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Send what this thread logs, and nothing else, to a tile's log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w", delay=True)
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
