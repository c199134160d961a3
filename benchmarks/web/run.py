"""The page's map with many tiles: shown after their arrival, changes, and frames while it is moved.

    .venv/bin/python benchmarks/web/run.py [--tiles 20164] [--changes 2000]

A real service with a planned run, in Debian's Chromium with software rendering. Changes are receipts that are written
into the run's folder: they reach the page as any run's do.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks" / "service"), str(ROOT)]

from run import config_of  # noqa: E402
from tests.service.conftest import Service  # noqa: E402

ARRIVED = "() => performance.getEntriesByType('resource').find(e => e.name.endsWith('/tiles'))?.responseEnd ?? 0"
# what the graphics card has drawn: the share of the map that has a colour as asked for
PIXELS = """
const share = (map, fits) => new Promise(resolve => {
  map.once('render', () => {
    const gl = map.getCanvas().getContext('webgl2'), [wide, high] = [gl.drawingBufferWidth, gl.drawingBufferHeight];
    const data = new Uint8Array(wide * high * 4);
    gl.readPixels(0, 0, wide, high, gl.RGBA, gl.UNSIGNED_BYTE, data);
    let found = 0;
    for (let at = 0; at < data.length; at += 4) if (fits(data[at], data[at + 1], data[at + 2])) found++;
    resolve(found / (wide * high));
  });
  map.triggerRepaint();
});
const until = async (fits, least) => {
  for (;;) {
    const map = document.querySelector('.map')?.map;
    if (map && await share(map, fits) > least) return performance.now();
    await new Promise(resolve => setTimeout(resolve, 5));
  }
};"""
# darker than sea and land are
DRAWN = f"async () => {{{PIXELS} return until((r, g, b) => r < 200 && g < 215, 0.25); }}"
NOTE = """(() => { const Plain = EventSource; window.EventSource = class extends Plain {
  addEventListener(name, then) {
    super.addEventListener(name, event => { window.came = performance.now(); then(event); });
  }
}; })()"""
CHANGED = f"""async () => {{{PIXELS}
  const end = await until((r, g, b) => r > g + 40 && r > b + 40, 0.01);
  return window.came ? end - window.came : NaN;
}}"""
MOVE = """() => new Promise(resolve => {
  const map = document.querySelector('.map').map, frames = [];
  let last = performance.now(), count = 0;
  const step = now => {
    frames.push(now - last); last = now;
    if (count++ < 40) { map.panBy([12, 8], {duration: 0}); requestAnimationFrame(step); }
    else resolve(Math.max(...frames.slice(1)));
  };
  requestAnimationFrame(step);
})"""


def main() -> int:
    """Print one line per figure; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=20_164)
    parser.add_argument("--changes", type=int, default=2_000)
    parser.add_argument("--picture", type=Path, help="where to keep a picture of the page at the end")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        service = Service(Path(scratch), {"any_source": True}).start()
        try:
            config = config_of(given.tiles)
            answer = service.call("POST", "/v1/runs", json={"title": "many", "config": config}, timeout=900)
            assert answer.status_code == 201, answer.text
            look(service, answer.json(), given.changes, given.picture)
        finally:
            service.stop()
    return 0


def look(service: Service, run: dict[str, Any], changes: int, picture: Path | None) -> None:
    """Open the page on a run, and measure."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-background-networking", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(300_000)
        page.add_init_script(NOTE)
        page.goto(f"{service.url}/#/runs/{run['id']}")
        drawn = page.evaluate(DRAWN)
        print(f"{run['tiles']} tiles drawn {(drawn - page.evaluate(ARRIVED)) / 1000:.2f} s after they had arrived")
        page.evaluate("() => { window.came = 0; }")
        fail_tiles(service, changes)
        print(f"{changes} changes drawn {page.evaluate(CHANGED) / 1000:.2f} s after they had arrived")
        print(f"longest frame while the map is moved: {page.evaluate(MOVE):.0f} ms")
        if picture is not None:
            page.screenshot(path=picture)
        browser.close()


def fail_tiles(service: Service, number: int) -> None:
    """Write receipts of failed tiles."""
    from upscaling.planning.plan import load_plan

    folder = next((service.folder / "data" / "tasks").glob("*/results/*/plan")).parent
    (folder / "receipts").mkdir(exist_ok=True)
    for tile, row in list(load_plan(folder).tiles.items())[:number]:
        error = {"class": "permanent", "message": "out of luck"}
        receipt = {"tile": tile, "key": row.key, "state": "failed", "attempt": 1, "error": error}
        receipt["updated"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        (folder / "receipts" / f"{tile}.json").write_text(json.dumps(receipt))


if __name__ == "__main__":
    raise SystemExit(main())
