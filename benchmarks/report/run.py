"""The report: time to write it, its size, and time until headless Chromium has drawn it.

    python benchmarks/report/run.py

Plans with every kind of end; drawn means that bokeh is idle and a click on a tile shows its facts. No peer: folium and
lonboard need the network. The last line is JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

AREAS = {"1,000": ([4.0, 45.0, 11.0, 51.0], "utm-20km"), "20,000": ([-5.0, 41.0, 20.5, 54.0], "utm-12km")}
WRITE = (
    "import sys; from pathlib import Path; from upscaling.monitor.report import write_report; "
    "write_report(Path(sys.argv[1]))"
)


def main() -> None:
    from tests.report.browser import opened
    from tests.report.runs import planned_run
    from tests.report.test_report import DRAWN, facts_of

    from upscaling.monitor.report import write_report

    async def look(report: Path, tile: str, folder: Path) -> tuple[float, int]:
        async with opened(report.as_uri(), folder) as page:
            drawn = await page.until(DRAWN)
            assert tile in await facts_of(page, tile)
            return drawn, len(page.complaints)

    found = []
    for name, (aoi, grid) in AREAS.items():
        with tempfile.TemporaryDirectory() as folder:
            run, plan = planned_run(Path(folder), aoi, grid)
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", WRITE, str(run)], check=True)
            cold = time.perf_counter() - begun
            begun = time.perf_counter()
            report = write_report(run)
            warm = time.perf_counter() - begun
            # one in the middle of a zone, which no tile of another zone covers
            tile = list(plan.tiles)[0 if len(plan.tiles) < 3000 else len(plan.tiles) // 3]
            drawn, complaints = asyncio.run(look(report, tile, Path(folder)))
            found.append(
                {
                    "tiles": len(plan.tiles),
                    "write_first_s": round(cold, 2),
                    "write_again_s": round(warm, 2),
                    "megabytes": round(report.stat().st_size / 1e6, 1),
                    "drawn_s": round(drawn, 2),
                    "console_errors": complaints,
                }
            )
            print(name, found[-1], flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
