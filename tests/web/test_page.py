"""From an empty page to a result, with mouse and keyboard only, over a kill of the service in the middle."""

from __future__ import annotations

import signal
from typing import Any

import requests

from tests.service.conftest import UDP, Service, upscaling_request

from .conftest import PHONE, Browser


def test_a_run_from_an_empty_page_to_its_result(browser: Browser, service: Service) -> None:
    page, browser.expected = browser.page, ("422",)
    page.goto(service.url)
    page.get_by_text("No runs yet").wait_for()
    browser.step("1-empty")
    page.get_by_role("link", name="Make the first one").click()

    page.get_by_label("Or a file").set_input_files({"name": "a.json", "mimeType": "application/json", "buffer": b"{"})
    page.get_by_role("alert").filter(has_text="is not JSON").wait_for()
    page.get_by_label("Or a file").set_input_files(str(UDP))
    page.locator(".card.chosen").wait_for()
    page.get_by_label("Search algorithms").fill("ndvi")
    page.locator(".cards .card").first.click()
    page.locator(".card.chosen").wait_for()
    browser.step("2-algorithm")
    page.get_by_role("link", name="Next").click()

    page.locator(".map[data-ready=yes]").wait_for()
    page.get_by_label("Country").select_option("Fiji")  # on both sides of the antimeridian
    page.locator(".count[aria-busy=false]", has_text="tiles,").wait_for()
    page.get_by_label("Box").fill("11.2, nonsense")
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("Four numbers").wait_for()
    page.get_by_label("Box").fill("11.30, 46.46, 11.34, 46.48")
    page.get_by_role("button", name="Apply").click()
    page.get_by_label("Grid", exact=True).fill("utm-3km")
    page.get_by_label("Grid", exact=True).press("Tab")
    page.locator(".count[aria-busy=false]", has_text="tiles,").wait_for()
    tiles = int(page.locator(".count").text_content().split()[0])
    browser.step("3-area")
    page.reload()  # what was typed is kept
    page.locator(".count", has_text=f"{tiles} tiles,").wait_for()
    page.get_by_role("link", name="Next").click()

    page.get_by_role("button", name="Check").click()
    page.get_by_role("alert").wait_for()  # the dates are missing: told beside their field, in the command line's words
    page.get_by_role("alert").filter(has_text="temporal_extent").first.wait_for()
    page.locator("input[type=date]").nth(0).fill("2023-06-01")
    page.locator("input[type=date]").nth(1).fill("2023-07-01")
    page.get_by_role("button", name="Check").click()
    page.get_by_text(f"{tiles} jobs can be made of this").wait_for()
    browser.step("4-parameters")
    page.get_by_role("link", name="Next").click()

    page.get_by_role("button", name="Plan the run").click()
    page.locator(".estimate").wait_for()
    page.get_by_label("Pilot tiles").fill("1")
    page.get_by_role("button", name="Run a pilot").click()
    page.get_by_role("button", name="Start the pilot").click()
    page.locator(".counts .finished b", has_text="1").wait_for()
    page.get_by_text("From 1 finished job").wait_for()
    page.get_by_role("button", name="Compare the platforms").click()
    page.get_by_role("rowheader", name="http://127.0.0.1").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the page").click()
    assert download.value.suggested_filename.endswith("-requirements.html")
    assert "Open questions" in download.value.path().read_text()
    browser.step("5-feasibility")
    page.locator(".pager").get_by_role("link", name="Next").click()

    page.get_by_label("Name of the run").fill("<img src=x onerror=alert(1)> & more")
    page.get_by_label("Name of the run").press("Tab")
    started = page.get_by_role("button", name="Start")
    browser.shows(started.is_enabled, True)
    browser.step("6-start")
    started.click()
    page.locator(".counts").wait_for()
    browser.shows(page.locator("h1").text_content, "<img src=x onerror=alert(1)> & more")  # a text, and no picture
    browser.expected = ("422", "net::ERR_")  # that the service was gone is told now or later
    service.stop(signal.SIGKILL)
    service.start()
    page.reload()
    page.locator(".counts").wait_for()
    browser.problems.clear()  # of the page that was there when it was gone: it may have been loading its map
    browser.step("7-watch")
    page.locator("h1 + .state.finished").wait_for(timeout=400_000)
    page.get_by_label("Tile", exact=True).fill(page.locator("#tile-names option").first.get_attribute("value"))
    page.get_by_label("Tile", exact=True).press("Enter")
    page.get_by_label("Tile", exact=True).press("Tab")
    page.locator("img.preview").wait_for()
    page.get_by_role("button", name="Log").click()
    page.locator("pre").wait_for()
    page.locator(".ramp").wait_for()
    page.wait_for_function("() => Boolean(document.querySelector('.map').map?.getLayer('raster-0'))")
    drawn = "() => { const t = document.querySelector('.map').tiles; return t.outlines.map((_, n) => t.state(n)); }"
    browser.shows(lambda: page.evaluate(drawn), ["finished"] * tiles)
    browser.step("8-result")
    page.get_by_role("button", name="Show what would be sent").click()
    page.locator("pre.published", has_text="to send").wait_for()
    page.get_by_role("button", name="Publish", exact=True).click()
    page.locator("dialog").get_by_role("button", name="Publish").click()
    published = page.locator(".notice.good", has_text="Published").text_content().split()[1]
    assert requests.get(published, timeout=120).json()["type"] == "Collection"
    browser.step("9-published")
    page.get_by_role("link", name="Runs", exact=True).click()
    page.locator(".runs .card").first.wait_for()
    browser.step("10-runs")
    jobs = service.call("GET", "/v1/runs").json()
    assert [run["counts"]["finished"] for run in jobs] == [tiles]


def test_a_long_name_stays_inside_a_small_window(browser: Browser, service: Service, backend: Any) -> None:
    title = f"small windows {'without_any_space' * 8}"
    task = service.call("POST", "/upscale_tasks", json=upscaling_request(backend, [_box()], title=title))
    for name, address in (("long-name-runs", "#/runs"), ("long-name-run", f"#/runs/{task.json()['id']}")):
        browser.page.goto(f"{service.url}/{address}")
        browser.page.get_by_text("without_any_space").first.wait_for()
        browser.step(name, sizes=[PHONE])


def _box() -> dict[str, Any]:
    ring = [[11.3, 46.46], [11.32, 46.46], [11.32, 46.48], [11.3, 46.48], [11.3, 46.46]]
    return {"type": "Polygon", "coordinates": [ring]}


def test_first_load_is_small_and_its_policy_is_strict(service: Service) -> None:
    answer = service.call("GET", "/", headers={"Accept-Encoding": "gzip"})
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    total = 0
    vendor = ("maplibre-gl.mjs", "maplibre-gl-worker.mjs", "maplibre-gl.css", "preact.js", "terra-draw.js")
    for path in (*(f"page/vendor/{name}" for name in vendor), "page/vendor/land-110m.json", "page/style.css"):
        reply = service.call("GET", f"/{path}", headers={"Accept-Encoding": "gzip"}, stream=True)
        assert reply.headers["Content-Encoding"] == "gzip", path
        total += len(reply.raw.read())
    assert total < 1_000_000
    for path in ("page/../app.py", "page/%2e%2e/app.py", "page//etc/passwd", "page/none.js"):
        assert service.call("GET", f"/{path}").status_code == 404
