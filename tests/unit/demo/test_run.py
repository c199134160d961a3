"""The demo starts its own back-end, or says what is in its way."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from upscaling.demo import run
from upscaling.demo.run import run_demo
from upscaling.errors import ConfigError, UpscalingError
from upscaling.local_backend.server import _listen


def test_another_server_on_the_demos_port_is_not_taken_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = tmp_path / "config.yaml"
        config.write_text(
            "run: demo\nalgorithm: {source: a.json}\narea: {aoi: [11, 46, 12, 47]}\n"
            f"backend: {{kind: openeo, url: 'http://127.0.0.1:{port}/openeo/1.2'}}\n"
        )
        with pytest.raises(UpscalingError, match=f"port {port} of this machine is in use"):
            run_demo(config, tmp_path / ".demo")


def test_a_server_that_takes_the_port_while_the_back_end_starts_is_not_taken_for_it_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_START_SECONDS", 0.5)
    log = tmp_path / "log"
    log.write_text("")
    with socket.create_server(("127.0.0.1", 0)) as other, subprocess.Popen(["sleep", "60"]) as starting:
        with pytest.raises(UpscalingError, match="did not answer"):
            run._wait_for(other.getsockname()[1], starting, log)
        starting.kill()


def test_of_two_back_ends_that_start_at_once_the_second_is_refused_in_one_line() -> None:
    with _listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            _listen("127.0.0.1", port)
