"""The report in a real browser, without network."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.report.browser import Page, opened
from tests.report.runs import ENDS, HOSTILE, planned_run
from upscaling.monitor.progress import STATES, TileState
from upscaling.monitor.report import write_report
from upscaling.monitor.report.facts import WITHOUT_DATA, colour_of
from upscaling.monitor.report.map import tile_indices, worst_states
from upscaling.planning.plan import load_plan

DRAWN = (
    "document.readyState === 'complete' && window.Bokeh?.documents[0]?.roots().length > 0 && Bokeh.documents[0].is_idle"
)
CENTRE = """(() => {
    const view = Bokeh.index.roots.find(v => v.model.renderers);
    const source = view.model.renderers.find(r => r.name === "tiles").data_source;
    const n = Array.from(source.data.tile).indexOf(TILE);
    const middle = values => { const v = Array.from(values); return (Math.min(...v) + Math.max(...v)) / 2 };
    const box = view.canvas_view.el.getBoundingClientRect();
    return [box.x + view.frame.x_scale.compute(middle(source.data.xs[n])),
            box.y + view.frame.y_scale.compute(middle(source.data.ys[n]))];
})()"""
# Width over height, on the screen, of what is square on the ground; and how much of the map's frame the tiles fill.
STRETCH = """(() => {
    const view = Bokeh.index.roots.find(v => v.model.renderers), {x_scale: x, y_scale: y, bbox} = view.frame;
    const [west, east, south, north] = view.model.tags, across = x.compute(east) - x.compute(west);
    const up = y.compute(south) - y.compute(north);
    return [(across / (east - west)) / (up / (north - south)), Math.max(across / bbox.width, up / bbox.height)];
})()"""
AOI = [5.3, 47.0, 6.7, 47.8]  # both sides of the border of zones 31 and 32
AREA = np.array([0xB3, 0x00, 0x7A])
GROUND = np.array([0xF4, 0xF7, 0xFA])


def blended(colour: str) -> np.ndarray:
    """A tile's colour over the map's ground."""
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return np.round(0.6 * wanted + 0.4 * GROUND)


async def centre_of(page: Page, tile: str) -> tuple[float, float]:
    """Where a tile's middle is on the screen."""
    place = await page.evaluate(CENTRE.replace("TILE", json.dumps(tile)))
    return float(place[0]), float(place[1])


def pixels_of(picture: Path) -> np.ndarray:
    return np.asarray(Image.open(picture).convert("RGB")).astype(int)


def outline_of(seen: np.ndarray) -> int:
    return int((np.abs(seen - AREA).sum(axis=2) < 6).sum())


def bright_part(seen: np.ndarray) -> float:
    return float((seen.min(axis=2) > 200).mean())


async def pictured(page: Page, path: Path, fits: Callable[[np.ndarray], bool]) -> None:
    """Take a picture, again while the page does not show yet what was done to it."""
    deadline = time.monotonic() + 60
    await page.picture(path)
    while not fits(pixels_of(path)) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        await page.picture(path)


async def facts_of(page: Page, tile: str) -> str:
    """Click a tile and return what the page then says of it."""
    await asyncio.sleep(0.6)  # or it is the second half of a double click
    await page.click(*await centre_of(page, tile))
    await page.until(f"document.querySelector('#facts h2').textContent === {json.dumps(tile)}")
    return str(await page.evaluate("document.getElementById('facts').innerText"))


def test_the_map_shows_every_state_and_a_click_the_facts_of_a_tile(tmp_path: Path) -> None:
    run, plan = planned_run(tmp_path, AOI, "utm-20km")
    assert len(plan.tiles) > 2 * len(ENDS)
    report = write_report(run)
    tiles = list(plan.tiles)
    # In the middle of zone 32's tiles, where none of zone 31 lies above.
    done, bad = (next(t for t in tiles[at :: len(ENDS)] if "32n_e0300" in t or "32n_e0320" in t) for at in (0, 2))
    shot = Path(os.environ.get("CI_OUTPUT_DIR", tmp_path)) / "report.png"

    without, night = tmp_path / "without.png", shot.with_name("report-dark.png")

    async def look() -> tuple[str, str, str, list[str], list[str]]:
        async with opened(report.as_uri(), tmp_path) as page:
            await page.until(DRAWN)
            await page.evaluate("document.getElementById('show-area').click()")
            await page.until(DRAWN)
            await pictured(page, without, lambda seen: outline_of(seen) < 200)
            await page.evaluate("document.getElementById('show-area').click()")
            await page.until(DRAWN)
            first = await facts_of(page, done)
            second = await facts_of(page, bad)
            href = await page.evaluate("document.querySelector('#facts a').getAttribute('href')")
            await pictured(page, shot, lambda seen: outline_of(seen) > 1500)
            for width, height, mobile in ((1400, 900, False), (1920, 600, False), (390, 844, True), (700, 1400, False)):
                screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
                await page.call("Emulation.setDeviceMetricsOverride", **screen)
                await page.until(f"innerWidth === {width} && ({STRETCH}).every(one => Math.abs(one - 1) < 0.01)")
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, height)
            await page.call("Emulation.clearDeviceMetricsOverride")
            dark = {"name": "prefers-color-scheme", "value": "dark"}
            await page.call("Emulation.setEmulatedMedia", features=[dark])
            await page.until("Bokeh.documents[0].roots()[0].background_fill_color === 'rgb(25, 36, 46)'")
            await page.until(DRAWN)
            await pictured(page, night, lambda seen: bright_part(seen) < 0.02)
            return first, second, str(href), page.complaints, page.requests

    first, second, href, complaints, requests = asyncio.run(look())
    assert complaints == []
    assert [url for url in requests if not url.startswith(("data:", report.as_uri()))] == []
    for fact in ("finished", "j-done", "4", "95 s", "item"):
        assert fact in first
    for fact in ("failed", "out-of-memory", HOSTILE, "log"):
        assert fact in second
    assert href == f"logs/{bad}.log"

    text = report.read_text()
    number = len(plan.tiles) // len(ENDS)
    assert f"of the finished without data <b>{number}</b>" in text
    assert "reload the page" in text
    assert f"canceled <b>{number}</b>" in report.read_text()
    pixels = pixels_of(shot)
    assert outline_of(pixels_of(without)) < 200 < 1500 < outline_of(pixels), "the outline of the area"
    assert bright_part(pixels_of(night)) < 0.02, "in the dark only letters are bright, also on the map"
    for state in (*STATES, WITHOUT_DATA):
        if state != "not started":
            near = (np.abs(pixels - blended(colour_of(state))) <= 2).all(axis=2)
            assert near.sum() > 300, f"no tile has the colour of {state}"


@pytest.mark.slow
def test_twenty_thousand_tiles_are_drawn_and_can_be_clicked(tmp_path: Path) -> None:
    """How long that takes is for benchmarks/report to say."""
    run, plan = planned_run(tmp_path, [-5.0, 41.0, 20.5, 54.2], "utm-12km")
    assert len(plan.tiles) > 20_000
    report = write_report(run)
    middle = [name for name in plan.tiles if "_31n_e05" in name]  # far from where zones overlap
    tile = middle[len(middle) // 2]
    shot = tmp_path / "report.png"

    async def look() -> tuple[int, str, list[str]]:
        async with opened(report.as_uri(), tmp_path) as page:
            await page.until(DRAWN)
            number = await page.evaluate("Bokeh.documents[0].get_model_by_name('tiles').data_source.data.tile.length")
            facts = await facts_of(page, tile)
            await page.picture(shot)
            return int(number), facts, page.complaints

    number, facts, complaints = asyncio.run(look())
    assert complaints == []
    assert number == len(plan.tiles)
    assert "state" in facts
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)[200:700, 100:1000]
    drawn = (np.abs(pixels - GROUND).sum(axis=2) > 12).mean()
    assert drawn > 0.6, "the map is not full of tiles"


def test_it_is_there_before_the_first_tile_and_for_runs_without_an_area(tmp_path: Path) -> None:
    run, plan = planned_run(tmp_path, AOI, "utm-20km")
    for receipt in (run / "receipts").iterdir():
        receipt.unlink()
    for name in ("tiles", "receipts"):
        (run / name).rename(run / f"no-{name}")
    text = write_report(run).read_text()
    assert f"not started <b>{len(plan.tiles)}</b>" in text
    assert "There is no collection yet" in text
    (run / "plan" / "tiles.parquet").unlink()
    facts = json.loads((run / "plan" / "plan.json").read_text())
    facts["area"] = {"grid": None}
    (run / "plan" / "plan.json").write_text(json.dumps(facts))
    text = write_report(run).read_text()
    assert "Bokeh.safely" not in text, "a library for a map that is not there"
    assert f"not started <b>{len(load_plan(run).tiles)}</b>" in text
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text), "it loads something from elsewhere"


@pytest.mark.parametrize(
    ("states", "shown"),
    [(["finished", "failed"], "failed"), (["finished", "running"], "running"), (["finished", "finished"], "finished")],
)
def test_of_several_time_steps_the_one_that_needs_attention_shows(states: list[str], shown: str) -> None:
    targets = [TileState(f"utm_a_{2020 + n}-01", state) for n, state in enumerate(states)]  # type: ignore[arg-type]
    indices = tile_indices(targets, ["utm_b", "utm_a"])
    assert indices == [1, 1]
    assert worst_states(targets, indices, 2) == ["not started", shown]


def test_a_tile_is_without_data_if_all_its_time_steps_are() -> None:
    targets = [TileState(f"utm_{tile}_{year}", "finished") for tile in "ab" for year in (2020, 2021)]
    indices = tile_indices(targets, ["utm_a", "utm_b"])
    empty = {"utm_a_2020", "utm_a_2021", "utm_b_2020"}
    assert worst_states(targets, indices, 2, empty) == [WITHOUT_DATA, "finished"]


@pytest.mark.parametrize(
    ("mosaic", "words"),
    [
        ({"scale": [-0.25, 0.75]}, ("-0.25</span>", "0.75</span>", "linear-gradient(to right, rgb(68, 1, 84)")),
        ({"classes": [{"name": "forest", "colour": "#00ff00"}]}, ("background:#00ff00", "forest</span>")),
        ({}, ()),  # of an older run
    ],
)
def test_the_colours_of_a_picture_are_explained_and_a_finished_run_is_not_to_be_loaded_again(
    tmp_path: Path, mosaic: dict[str, Any], words: tuple[str, ...]
) -> None:
    run, plan = planned_run(tmp_path, [5.3, 47.0, 5.5, 47.1], "utm-20km")
    for tile, row in plan.tiles.items():
        (run / "receipts" / f"{tile}.json").write_text(json.dumps({"tile": tile, "key": row.key, "state": "done"}))
        (run / "tiles" / tile).mkdir(parents=True, exist_ok=True)
        (run / "tiles" / tile / "item.json").write_text("{}")
    place = {"asset": "ndvi", "step": "", "tiles": 1, "index": "ndvi.gti.gpkg", "quicklook": "ndvi.png", "cog": None}
    place |= {"band_cogs": [], "crs": "EPSG:4326", "bounds": [5, 47, 6, 48], "bbox": [5, 47, 6, 48], "notices": []}
    (run / "mosaic").mkdir()
    (run / "mosaic" / "mosaics.json").write_text(json.dumps([{**place, **mosaic}]))
    quality = {"problems": [], "assets": {"ndvi": {"coverage": 1.0, "data_coverage": 0.5, "tiles": 1, "seam": None}}}
    (run / "quality.json").write_text(json.dumps(quality))
    text = write_report(run).read_text()
    assert "reload the page" not in text
    assert "tiles cover 100 % of the area, those with data 50 %;" in text
    assert [word for word in words if word not in text] == []
    assert ('class="scale"' in text) == bool(words)
