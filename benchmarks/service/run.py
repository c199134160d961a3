"""The service under load: status requests with a large task, websockets, creating a large task, memory.

    .venv/bin/python benchmarks/service/run.py [--tiles 10000] [--seconds 10] [--sockets 200]

One process that does nothing but answer a fixed JSON document of the same size, with the same web server, stands beside
it: what is told is the ratio of requests a second, of CPU seconds a request, and of the 99th percentile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.servers import bound_to_this_process, free_port  # noqa: E402
from tests.service.conftest import UDP, Service  # noqa: E402

PEER = """
import sys, uvicorn
from fastapi import FastAPI, Response
app, content = FastAPI(), open(sys.argv[2], "rb").read()
@app.get("/{path:path}")
def answer(path: str) -> Response:
    return Response(content, media_type="application/json")
uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
"""


def main() -> int:
    """Print one line per figure; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--sockets", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        service = Service(Path(scratch), {"any_source": True}).start()
        assert service.process is not None
        process = psutil.Process(service.process.pid)
        try:
            begun = time.perf_counter()
            answer = service.call("POST", "/v1/runs", json={"title": "load", "config": config_of(given.tiles)})
            created = time.perf_counter() - begun
            assert answer.status_code == 201, answer.text
            run = answer.json()["id"]
            print(f"create a run of {answer.json()['counts']['created']} tiles: {created:.2f} s")
            path = f"/v1/runs/{run}"
            status = service.call("GET", path).content
            (Path(scratch) / "peer.json").write_bytes(status)
            port = free_port()
            command = [sys.executable, "-c", PEER, str(port), str(Path(scratch) / "peer.json")]
            with subprocess.Popen(bound_to_this_process(command)) as peer:
                time.sleep(5)
                ours = measured(service.port, path, process, given.seconds)
                theirs = measured(port, path, psutil.Process(peer.pid), given.seconds)
                peer.terminate()
            for name in ("requests_per_s", "cpu_ms", "p50_ms", "p99_ms"):
                ratio = ours[name] / theirs[name]
                print(f"{name}: {ours[name]:.2f}; a fixed answer {theirs[name]:.2f}; ratio {ratio:.2f}")
            dispatch(service, process, given.tiles, given.seconds)
            first = asyncio.run(sockets(service, given.sockets))
            print(f"{given.sockets} websockets: all had their first message after {first:.2f} s")
            memory = process.memory_full_info().uss + sum(
                child.memory_full_info().uss for child in process.children(recursive=True)
            )
            print(f"memory of its own, planner included: {memory / 1e6:.0f} MB")
        finally:
            service.stop()
    return 0


def dispatch(service: Service, process: psutil.Process, tiles: int, seconds: float) -> None:
    """Make a task of the Dispatch API; measure its creation, and what its clients ask most."""
    boxes = [{"west": 9 + n / 1000, "south": 46.0, "east": 9.001 + n / 1000, "north": 46.001} for n in range(tiles)]
    body = {
        "title": "load",
        "label": "openeo",
        "service": {"endpoint": "http://127.0.0.1:9/openeo", "application": str(UDP)},
        "parameters": {"temporal_extent": ["2023-06-01", "2023-07-01"]},
        "format": "gtiff",
        "dimension": {"name": "spatial_extent", "values": boxes},
    }
    begun = time.perf_counter()
    answer = service.call("POST", "/upscale_tasks", json=body, timeout=300)
    print(f"create a task of {tiles} tiles by the Dispatch API: {time.perf_counter() - begun:.2f} s")
    assert answer.status_code == 201, answer.text
    task = answer.json()["id"]
    assert service.call("POST", f"/v1/runs/{task}/ask", json={"action": "cancel"}, timeout=300).status_code == 200
    for path in ("/jobs_status", f"/upscale_tasks/{task}"):
        found = measured(service.port, path, process, seconds)
        size = len(service.call("GET", path).content)
        words = f"{found['requests_per_s']:.0f} requests/s, {found['cpu_ms']:.2f} CPU ms, p99 {found['p99_ms']:.0f} ms"
        print(f"GET {path} ({size} bytes): {words}")


def config_of(tiles: int) -> dict[str, Any]:
    """Return a configuration over about as many tiles of 10 km."""
    side = (tiles * 100) ** 0.5 / 111.0
    return {
        "run": "load",
        "algorithm": {"source": str(UDP), "parameters": {"temporal_extent": ["2023-06-01", "2023-07-01"]}},
        "area": {"aoi": [9.0, 0.1, 9.0 + side, 0.1 + side], "grid": "utm-10km"},
        "backend": {"kind": "openeo", "url": "http://127.0.0.1:9/openeo", "auth": "none"},
    }


def measured(port: int, path: str, process: psutil.Process, seconds: float) -> dict[str, float]:
    """Ask one address from eight connections for a while."""
    cpu = sum(process.cpu_times()[:2])
    begun = time.perf_counter()
    times = sorted(asyncio.run(_ask(port, path, seconds)))
    took, used = time.perf_counter() - begun, sum(process.cpu_times()[:2]) - cpu
    return {
        "requests_per_s": len(times) / took,
        "cpu_ms": used / len(times) * 1000,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[int(len(times) * 0.99)] * 1000,
    }


async def _ask(port: int, path: str, seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        while time.perf_counter() < end:
            begun = time.perf_counter()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert head.startswith("http/1.1 200"), head
            length = int(head.partition("content-length: ")[2].split("\r\n")[0])
            await reader.readexactly(length)
            times.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(one() for _ in range(8)))
    return times


async def sockets(service: Service, number: int) -> float:
    """Open websockets; return the seconds until each had its first status."""
    import websockets

    begun = time.perf_counter()
    address = f"{service.url.replace('http', 'ws')}/ws/jobs_status"

    async def one() -> None:
        async with websockets.connect(address, open_timeout=120) as socket:
            while json.loads(await socket.recv())["type"] != "status":
                pass

    await asyncio.gather(*(one() for _ in range(number)))
    return time.perf_counter() - begun


if __name__ == "__main__":
    raise SystemExit(main())
