"""A run served on this machine, as a browser sees it from here and from a page of somebody else."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio

from tests.report.browser import opened
from tests.report.runs import planned_run
from tests.report.test_report import AOI, DRAWN
from upscaling.monitor.report import write_report

CODE = """
import sys, pathlib
from upscaling.monitor.view import serve
serve(pathlib.Path(sys.argv[1]), port=0, say=lambda line: print(line, flush=True))
"""
# What a STAC Browser or a map in another page does: read JSON, and a few bytes out of the middle of a COG.
ELSEWHERE = """(async () => {
    const collection = await (await fetch("ADDRESS/collection.json")).json();
    const part = await fetch("ADDRESS/a.tif", {headers: {Range: "bytes=100-299"}});
    const bytes = new Uint8Array(await part.arrayBuffer());
    return JSON.stringify([collection.id, part.status, part.headers.get("Content-Range"), Array.from(bytes)]);
})()"""


def test_the_report_and_the_files_as_a_browser_sees_them(tmp_path: Path) -> None:
    run, _ = planned_run(tmp_path, AOI, "utm-20km")
    write_report(run)
    (run / "collection.json").write_text('{"id": "big"}')
    with rasterio.open(
        run / "a.tif", "w", driver="GTiff", width=64, height=64, count=1, dtype="uint8", crs="EPSG:32632",
        transform=rasterio.Affine(10, 0, 676000, 0, -10, 5148000),
    ) as dataset:  # fmt: skip
        dataset.write(np.arange(64 * 64).reshape(64, 64).astype("uint8"), 1)
    whole = (run / "a.tif").read_bytes()
    (tmp_path / "elsewhere.html").write_text("<!doctype html><title>elsewhere</title>")
    shot = Path(os.environ.get("CI_OUTPUT_DIR", tmp_path)) / "view.png"

    async def look(address: str) -> tuple[str, list[str], list[str]]:
        async with opened(f"{address}/report.html", tmp_path / "here") as page:
            await page.until(DRAWN)
            await page.picture(shot)
            complaints, requests = page.complaints, page.requests
        async with opened((tmp_path / "elsewhere.html").as_uri(), tmp_path / "there") as page:
            return str(await page.evaluate(ELSEWHERE.replace("ADDRESS", address))), complaints, requests

    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    with subprocess.Popen([sys.executable, "-c", CODE, str(run)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[1].removesuffix("/report.html")
            answer, complaints, requests = asyncio.run(look(address))
        finally:
            process.terminate()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("data:", address))] == []
    assert json.loads(answer) == ["big", 206, f"bytes 100-299/{len(whole)}", list(whole[100:300])]
