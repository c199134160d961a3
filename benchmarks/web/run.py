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
DRAWN = """() => new Promise(resolve => {
  const wait = () => {
    const map = document.querySelector('.map')?.map;
    if (map && map.getSource('tiles') && map.loaded() && map.queryRenderedFeatures({layers: ['tiles']}).length > 100)
      resolve(performance.now());
    else setTimeout(wait, 20);
  };
  wait();
})"""
NOTE = """(() => { const Plain = EventSource; window.EventSource = class extends Plain {
  addEventListener(name, then) {
    super.addEventListener(name, event => { window.came = performance.now(); then(event); });
  }
}; })()"""
CHANGED = """() => new Promise(resolve => {
  const map = document.querySelector('.map').map;
  const wait = () => {
    const seen = map.queryRenderedFeatures({layers: ['tiles']}).some(f => f.state.state === 'failed');
    if (window.came && seen && map.loaded()) resolve(performance.now() - window.came);
    else setTimeout(wait, 5);
  };
  wait();
})"""
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
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        service = Service(Path(scratch), {"any_source": True}).start()
        try:
            config = config_of(given.tiles)
            answer = service.call("POST", "/v1/runs", json={"title": "many", "config": config}, timeout=900)
            assert answer.status_code == 201, answer.text
            look(service, answer.json(), given.changes)
        finally:
            service.stop()
    return 0


def look(service: Service, run: dict[str, Any], changes: int) -> None:
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
