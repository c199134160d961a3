"""Tiles on the map: what the graphics card drew of them, and which one is under the pointer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.conftest import UDP, Service

from .conftest import Browser

# colours of the map, at places in degrees
COLOURS = """places => new Promise(resolve => {
  const map = document.querySelector('.map').map;
  map.once('render', () => {
    const gl = map.getCanvas().getContext('webgl2'), ratio = map.getPixelRatio(), found = [];
    for (const place of places) {
      const at = map.project(place), data = new Uint8Array(4);
      gl.readPixels(at.x * ratio, gl.drawingBufferHeight - at.y * ratio, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, data);
      found.push([...data.slice(0, 3)]);
    }
    resolve(found);
  });
  map.triggerRepaint();
})"""


def ring(*places: tuple[float, float]) -> list[list[float]]:
    return [[11 + x / 100, 46 + y / 100] for x, y in (*places, places[0])]


# Tiles of all kinds: a square, an arrow (four corners, not convex), an L, two parts, none.
OUTLINES = [
    [ring((0, 0), (2, 0), (2, 2), (0, 2))],
    [ring((3, 0), (5, 0), (4, 0.5), (4, 2))],
    [ring((6, 0), (8, 0), (8, 1), (7, 1), (7, 2), (6, 2))],
    [ring((9, 0), (10, 0), (10, 2), (9, 2)), ring((11, 0), (12, 0), (12, 2), (11, 2))],
    None,
    [ring((13, 0), (15, 0), (15, 2), (13, 2))],
]
INSIDE = [(1.0, 1.0), (3.8, 0.3), (6.5, 1.5), (11.5, 1.0)]
OUTSIDE = [(4.4, 0.7), (7.5, 1.5), (10.5, 1.0), (2.5, 1.0)]


def test_tiles_of_any_shape_are_drawn_in_their_colour_and_found_by_a_click(browser: Browser, service: Service) -> None:
    config = {
        "run": "shapes",
        "algorithm": {"source": str(UDP), "parameters": {"temporal_extent": ["2023-06-01", "2023-07-01"]}},
        "area": {"aoi": [11.3, 46.46, 11.32, 46.48], "grid": "utm-1km"},
        "backend": {"kind": "openeo", "url": service.settings["platforms"][0]["endpoint"]},
    }
    run = service.call("POST", "/v1/runs", json={"title": "shapes", "config": config}).json()["id"]
    page, browser.expected = browser.page, ("404",)  # the service knows no such run
    names = [f"tile-{number}" for number in range(len(OUTLINES))]
    states = [[0, "finished"], [1, "queued"], [2, "running"], [3, "canceled"], [5, "failed"]]
    content = {"version": 0, "tiles": names, "outlines": OUTLINES, "states": states}
    page.route(f"**/v1/runs/{run}/tiles", lambda route: route.fulfill(json=content))
    page.route(f"**/v1/runs/{run}/tiles/tile-*", lambda route: route.fulfill(status=404, json={"message": "none"}))
    page.goto(f"{service.url}/#/runs/{run}")
    page.locator(".map[data-ready=yes]").wait_for()
    page.wait_for_function("() => document.querySelector('.map').tiles.corners > 0")
    inside, outside = ([[11 + x / 100, 46 + y / 100] for x, y in places] for places in (INSIDE, OUTSIDE))
    land = [0xF7, 0xF5, 0xEF]
    browser.shows(lambda: page.evaluate(COLOURS, outside), [land] * 4)
    expected = [(0x2E, 0x9E, 0x49), (0xFF, 0x99, 0x00), (0xFF, 0xD9, 0x1A), (0x8A, 0x8F, 0x98)]
    mixed = [[0.55 * one + 0.45 * below for one, below in zip(colour, land, strict=True)] for colour in expected]
    browser.shows(lambda: page.evaluate(COLOURS, inside), [pytest.approx(colour, abs=4) for colour in mixed])
    hatched = page.evaluate(COLOURS, [[11.135 + step / 4000, 46.01] for step in range(40)])
    assert len({tuple(one) for one in hatched}) == 2  # told apart without colours
    for place, name in zip(inside, names, strict=False):
        _click(page, place)
        page.wait_for_function("name => document.querySelector('input[list=tile-names]').value === name", arg=name)
    _click(page, outside[0])  # beside every tile: the last one stays chosen
    assert page.locator("input[list=tile-names]").input_value() == names[3]
    browser.picture("shapes")
    page.emulate_media(color_scheme="dark")  # the map follows the system, and turns with a phone
    browser.shows(lambda: page.evaluate(COLOURS, outside[-1:]), [[0x22, 0x30, 0x3C]])
    page.set_viewport_size({"width": 390, "height": 844})
    seen = """([west, east]) => {
      const bounds = document.querySelector(".map").map.getBounds();
      return bounds.getWest() < west && bounds.getEast() > east;
    }"""
    page.wait_for_function(seen, arg=[11.0, 11.15])


def _click(page: Any, place: list[float]) -> None:
    at = page.evaluate(
        "place => { const at = document.querySelector('.map').map.project(place); return [at.x, at.y]; }", place
    )
    page.locator(".map canvas").click(position={"x": at[0], "y": at[1]})


def test_a_run_that_ended_with_holes_is_not_just_called_finished(browser: Browser, service: Service) -> None:
    page, browser.expected = browser.page, ("404",)  # the service knows no such run
    counts = {"created": 0, "queued": 0, "running": 0, "finished": 5, "canceled": 1, "failed": 2}
    run = {"id": 1, "title": "t", "status": "finished", "phase": "ended", "tiles": 8, "counts": counts, "progress": 1}
    run |= {"costs": None, "created": "2026-01-01T00:00:00", "service": {"application": "a"}}
    other = {**run, "id": 2, "phase": "paused", "status": "running"}
    page.route("**/v1/runs?*", lambda route: route.fulfill(json=[run, other]))
    page.goto(f"{service.url}/#/runs")
    marks = page.locator(".runs .state")
    marks.nth(1).wait_for()
    browser.shows(marks.all_inner_texts, ["ended, 3 of 8 tiles missing", "paused"])

    run |= {"updated": run["created"], "kind": "task", "version": 1, "rate": None}
    run["reasons"] = {"ran out of memory": 1, "<b>wrong</b> answer": 1}
    browser.step("runs-with-holes")
    asked: list[Any] = []
    page.route("**/v1/runs/1", lambda route: route.fulfill(json=run))
    content = {"version": 1, "tiles": ["a"], "outlines": [None], "states": [[0, "failed"]]}
    page.route("**/v1/runs/1/tiles", lambda route: route.fulfill(json=content))
    page.route("**/v1/runs/1/events*", lambda route: None)  # open, and nothing comes

    def again(route: Any) -> None:
        asked.append(route.request.post_data_json)
        run.update(phase="running", rate=12.4)
        route.fulfill(json=run)

    page.route("**/v1/runs/1/ask", again)
    page.goto(f"{service.url}/#/runs/1")
    page.get_by_role("button", name="Retry these 1: <b>wrong</b> answer").wait_for()
    browser.step("failures")
    page.get_by_role("button", name="Retry these 1: <b>wrong</b> answer").click()
    page.get_by_text("12 tiles an hour").wait_for()
    assert asked == [{"action": "retry", "reason": "<b>wrong</b> answer"}]
    browser.shows(page.get_by_role("button", name="Retry these").count, 0)  # while it works
