"""Servers that tests start end with the test process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

PARENT = """
import sys
from pathlib import Path
from tests.servers import free_port, listening
port = free_port()
command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
print(listening(command, port, Path(sys.argv[1])).pid, flush=True)
input()
"""


def test_a_killed_test_process_takes_its_servers_along(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=request.config.rootpath
    ) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert psutil.wait_procs([server], timeout=120)[1] == []
