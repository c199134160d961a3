"""The demo: generated scenes, the embedded back-end, Snakemake over a small area. No account, no network."""

from __future__ import annotations

import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from upscaling.config import Config, load_config
from upscaling.errors import ConfigError, UpscalingError
from upscaling.util.extras import require_local
from upscaling.util.process import own_environment, run_in_front
from upscaling.util.project import project_path
from upscaling.util.text import last_words
from upscaling.workflow.launch import snakemake_command, what_to_open

__all__ = ["embedded_backend", "run_demo"]

_START_SECONDS = 90


def run_demo(config_file: Path, folder: Path) -> int:
    """Run the demo; return Snakemake's exit status.

    Parameters
    ----------
    config_file
        A configuration whose ``backend.url`` is on this machine; the demo's own is written there if there is none.
    folder
        Where the scenes and the back-end's jobs are kept; a second run finds them again.
    """
    from upscaling.demo.data import make_demo_data

    require_local()
    if not config_file.exists():
        _write_config(config_file)
    config = load_config(config_file)
    say(f"1/3  scenes      {folder / 'data'} (made here, not real)")
    data = make_demo_data(folder / "data")
    user, password = "demo", secrets.token_urlsafe(16)
    environment = {
        **own_environment(),
        "OPENEO_LOCAL_USER": user,
        "OPENEO_LOCAL_PASSWORD": password,
        "OPENEO_AUTH_USERNAME": user,
        "OPENEO_AUTH_PASSWORD": password,
    }
    command = snakemake_command([config_file])
    url, port = _address(config)
    say(f"2/3  back-end    {url} (log: {folder / 'backend.log'})")
    with _served(port, data, folder, environment, config.backend.slots):
        say(f"3/3  snakemake   {shlex.join(command[1:])}")
        status = run_in_front(command, environment)
    if status == 0:
        say("\n" + "\n".join(what_to_open(config.folder())))
    return status


def _write_config(config_file: Path) -> None:
    """Copy the demo's configuration, with the files that it names from the working directory."""
    for name in ("area.geojson", "ndvi_composite.json"):
        copy = Path("config", "demo", name)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project_path("config", "demo", name), copy)
    config_file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(project_path("config", "config.yaml"), config_file)
    say(f"     wrote       {config_file} and config/demo, to look at and to copy")


def say(line: str) -> None:
    """Print one line at once."""
    print(line, flush=True)


def _address(config: Config) -> tuple[str, int]:
    """Return the address on this machine that the configuration names for the back-end, and its port."""
    if config.backend.kind != "openeo" or config.backend.url is None:
        raise ConfigError("the demo needs kind openeo with a url on this machine", key="backend")
    url = config.backend.url
    port = urlsplit(url).port
    if urlsplit(url).hostname != "127.0.0.1" or port is None:
        raise ConfigError(f"the demo starts its own back-end on 127.0.0.1:<port> (found {url})", key="backend.url")
    return url, port


@contextmanager
def _served(port: int, data: Path, folder: Path, environment: dict[str, str], slots: int) -> Iterator[None]:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:  # its answers would be taken for those of our own
            raise UpscalingError(
                f"port {port} of this machine is in use, by an `upscaling local-backend` perhaps: stop that first"
            )
    log = folder / "backend.log"
    command = [sys.executable, "-m", "upscaling", "local-backend", "--data", str(data), "--root", str(folder / "jobs")]
    command += ["--port", str(port), "--slots", str(slots)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
    try:
        _wait_for(port, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def embedded_backend(folder: Path, *, user: str, password: str, slots: int = 2) -> Iterator[str]:
    """Run the embedded back-end over generated scenes on a free port; yield its address.

    Parameters
    ----------
    folder
        Where scenes, jobs and the log are kept.
    """
    from upscaling.demo.data import make_demo_data

    require_local()
    folder.mkdir(parents=True, exist_ok=True)
    data = make_demo_data(folder / "data")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {**own_environment(), "OPENEO_LOCAL_USER": user, "OPENEO_LOCAL_PASSWORD": password}
    with _served(port, data, folder, environment, slots):
        yield f"http://127.0.0.1:{port}/openeo/1.2"


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            why = last_words(log.read_text(errors="replace")) or "no message"
            raise UpscalingError(f"the embedded back-end did not start: {why} ({log})")
        if f":{port}/openeo/" in log.read_text(errors="replace"):  # no connection: another's server would take it too
            return
        time.sleep(0.2)
    raise UpscalingError(f"the embedded back-end did not answer within {_START_SECONDS} s (see {log})")
