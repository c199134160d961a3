"""The demo starts its own back-end, or says what is in its way."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from upscaling.demo.run import run_demo
from upscaling.errors import UpscalingError


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
