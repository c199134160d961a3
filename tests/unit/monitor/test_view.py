"""A run's folder as a browser sees it: ranges, other origins, and nothing that is not the run's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import requests

from upscaling.errors import UpscalingError
from upscaling.monitor.view import serve

CODE = """
import sys, pathlib
from upscaling.monitor.view import serve
serve(pathlib.Path(sys.argv[1]), port=0, say=lambda line: print(line, flush=True))
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "tiles" / "a").mkdir(parents=True)
    (folder / "report.html").write_text("<p>report")
    (folder / "collection.json").write_text("{}")
    (folder / "tiles" / "a" / "item.json").write_text(json.dumps({"type": "Feature"}))
    (folder / ".waiter").write_text("1234 token")
    (folder / "tiles" / "a" / "a.zarr").mkdir()
    (folder / "tiles" / "a" / "a.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    values = np.arange(512 * 512, dtype="uint32").reshape(512, 512)
    profile = {"driver": "COG", "width": 512, "height": 512, "count": 1, "dtype": "uint32", "crs": "EPSG:32632"}
    transform = rasterio.Affine(10, 0, 676000, 0, -10, 5148000)
    with rasterio.open(folder / "tiles" / "a" / "a.tif", "w", transform=transform, **profile) as dataset:
        dataset.write(values, 1)
    return folder


@pytest.fixture
def address(run: Path) -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", CODE, str(run)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("report")
        yield line.split()[1].removesuffix("/report.html")
        process.terminate()


def test_files_ranges_and_other_origins(address: str, run: Path) -> None:
    assert requests.get(address, timeout=60).text == "<p>report"
    whole = (run / "tiles" / "a" / "a.tif").read_bytes()
    answer = requests.get(f"{address}/tiles/a/a.tif", headers={"Range": "bytes=100-299"}, timeout=60)
    assert (answer.status_code, answer.content) == (206, whole[100:300])
    assert answer.headers["Content-Range"] == f"bytes 100-299/{len(whole)}"
    assert answer.headers["Content-Type"].startswith("image/tiff; application=geotiff")
    answer = requests.get(f"{address}/tiles/a/item.json", headers={"Origin": "https://browser.example"}, timeout=60)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Content-Type"] == "application/geo+json"
    assert requests.get(f"{address}/tiles/a/a.zarr/.zgroup", timeout=60).json() == {"zarr_format": 2}
    asked = {"Origin": "https://browser.example", "Access-Control-Request-Headers": "range"}
    answer = requests.options(f"{address}/tiles/a/a.tif", headers=asked, timeout=60)
    assert answer.status_code == 204
    assert "range" in answer.headers["Access-Control-Allow-Headers"].lower()
    with rasterio.open(f"/vsicurl/{address}/tiles/a/a.tif") as dataset:
        assert dataset.read(1, window=rasterio.windows.Window(500, 500, 2, 2))[1, 1] == 501 * 512 + 501


def test_nothing_hidden_and_nothing_from_elsewhere(address: str) -> None:
    for path in (".waiter", "link.txt", "..%2Fsecret.txt", "%2e%2e/secret.txt", "tiles/../.waiter", "tiles"):
        answer = requests.get(f"{address}/{path}", timeout=60)
        assert answer.status_code in {403, 404}, path
        assert "token" not in answer.text and "secret\n" not in answer.text
    answer = requests.get(f"{address}/collection.json", headers={"Host": "evil.example"}, timeout=60)
    assert answer.status_code == 403


def test_a_port_that_is_taken_and_a_folder_that_is_no_run_are_one_line(address: str, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UpscalingError, match="--port"):
        serve(run, port=int(address.rpartition(":")[2]))
    with pytest.raises(UpscalingError, match="no plan"):
        serve(tmp_path)
