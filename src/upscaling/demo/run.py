"""The demo: generated scenes, the embedded back-end, Snakemake over a small area. No account, no network."""

from __future__ import annotations

import os
import secrets
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

__all__ = ["embedded_backend", "run_demo"]

_START_SECONDS = 90


def run_demo(config_file: Path, folder: Path) -> int:
    """Run the demo; return Snakemake's exit status.

    Parameters
    ----------
    config_file
        A configuration whose ``backend.url`` is on this machine.
    folder
        Where the scenes and the back-end's jobs are kept; a second run finds them again.
    """
    from upscaling.demo.data import make_demo_data

    config = load_config(config_file)
    say(f"1/3  scenes      {folder / 'data'} (made here, not real)")
    data = make_demo_data(folder / "data")
    user, password = "demo", secrets.token_urlsafe(16)
    environment = {
        **os.environ,
        "OPENEO_LOCAL_USER": user,
        "OPENEO_LOCAL_PASSWORD": password,
        "OPENEO_AUTH_USERNAME": user,
        "OPENEO_AUTH_PASSWORD": password,
        # Snakemake, Toil and the back-end's workers are started by name from the environment that we are in.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    with _backend(config, data, folder, environment) as url:
        say(f"2/3  back-end    {url}")
        say("3/3  snakemake   --profile workflow/profiles/local")
        snakemake = shutil.which("snakemake", path=environment["PATH"]) or "snakemake"
        command = [snakemake, "--profile", "workflow/profiles/local", "--configfile", str(config_file)]
        status = subprocess.run(command, env=environment, check=False).returncode
    if status == 0:
        _say_what_to_open(Path("results") / config.run)
    return status


def say(line: str) -> None:
    """Print one line at once."""
    print(line, flush=True)


@contextmanager
def _backend(config: Config, data: Path, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    if config.backend.kind != "openeo" or config.backend.url is None:
        raise ConfigError("the demo needs kind openeo with a url on this machine", key="backend")
    url = config.backend.url
    port = urlsplit(url).port
    if urlsplit(url).hostname != "127.0.0.1" or port is None:
        raise ConfigError(f"the demo starts its own back-end on 127.0.0.1:<port> (found {url})", key="backend.url")
    with _served(port, data, folder, environment, config.backend.slots):
        yield url


@contextmanager
def _served(port: int, data: Path, folder: Path, environment: dict[str, str], slots: int) -> Iterator[None]:
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

    folder.mkdir(parents=True, exist_ok=True)
    data = make_demo_data(folder / "data")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {**os.environ, "OPENEO_LOCAL_USER": user, "OPENEO_LOCAL_PASSWORD": password}
    with _served(port, data, folder, environment, slots):
        yield f"http://127.0.0.1:{port}/openeo/1.2"


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise UpscalingError(f"the embedded back-end did not start: {lines[-1] if lines else 'no message'} ({log})")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise UpscalingError(f"the embedded back-end did not answer within {_START_SECONDS} s (see {log})")


def _say_what_to_open(run_folder: Path) -> None:
    tiles = sorted(run_folder.glob("tiles/*/*.tif"))
    say("")
    say(f"report       {(run_folder / 'report.html').resolve()}   (any browser)")
    say(f"collection   {(run_folder / 'collection.json').resolve()}")
    table = run_folder / "items.parquet"
    if table.is_file():  # a run in parts has one for each
        say(f"all items    {table.resolve()}   (QGIS, geopandas)")
    elif (run_folder / "parts").is_dir():
        say(f"all items    {(run_folder / 'parts').resolve()}/*/items.parquet   (QGIS, geopandas)")
    if tiles:
        say(f"mosaic       {(run_folder / 'mosaic').resolve()}   (*.gti.gpkg in QGIS, *.png to look at)")
        say(f"one tile     {tiles[0].resolve()}   (QGIS, any GeoTIFF viewer)")
    say(f"the tiles    {(run_folder / 'plan' / 'tiles.parquet').resolve()}")
