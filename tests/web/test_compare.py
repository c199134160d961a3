"""The results of two runs on one map."""

from __future__ import annotations

import time

import pytest

from tests.service.conftest import UDP, Service

from .conftest import Browser

OPACITIES = """() => [0, 1].map(place => {
  const map = document.querySelector('.map').map;
  return map?.getLayer(`raster-${place}`) ? map.getPaintProperty(`raster-${place}`, 'raster-opacity') : null;
})"""


def run_of(service: Service, title: str, end: str) -> int:
    config = {
        "run": "run",
        "algorithm": {"source": str(UDP), "parameters": {"temporal_extent": ["2023-06-01", end]}},
        "area": {"aoi": [11.30, 46.46, 11.33, 46.48], "grid": "utm-2km"},
        "backend": {"kind": "openeo", "url": service.settings["platforms"][0]["endpoint"]},
    }
    made = service.call("POST", "/v1/runs", json={"title": title, "config": config, "start": True})
    assert made.status_code == 201, made.text
    return int(made.json()["id"])


@pytest.mark.parametrize("browser", [(1400, 900, "dark"), (390, 844, "light")], indirect=True, ids=["wide", "phone"])
def test_another_run_lies_over_this_one(browser: Browser, service: Service) -> None:
    june, summer = run_of(service, "June", "2023-07-01"), run_of(service, "June and July", "2023-08-01")
    for run in (june, summer):
        assert _ended(service, run)
    page = browser.page
    page.goto(f"{service.url}/#/runs/{june}")
    page.locator(".ramp").wait_for()
    page.wait_for_function(f"() => JSON.stringify(({OPACITIES})()) === '[0.85,null]'")
    page.get_by_label("Compare with another run").select_option(str(summer))
    mix = page.get_by_label("This run or the other one")
    mix.wait_for()
    page.wait_for_function(f"() => JSON.stringify(({OPACITIES})()) === '[0.425,0.425]'")
    mix.focus()
    mix.press("End")
    page.wait_for_function(f"() => JSON.stringify(({OPACITIES})()) === '[0,0.85]'")
    page.locator(".map canvas").hover()
    page.locator("output").nth(1).filter(has_text=".").wait_for()
    browser.accessible()
    mix.scroll_into_view_if_needed()
    browser.picture("compare")
    page.get_by_label("Compare with another run").select_option("")
    page.wait_for_function(f"() => JSON.stringify(({OPACITIES})()) === '[0.85,null]'")


def _ended(service: Service, run: int) -> bool:
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        found = service.call("GET", f"/v1/runs/{run}").json()
        if found["phase"] in {"ended", "stopped"}:
            return bool(found["counts"]["finished"] == found["tiles"])
        time.sleep(0.5)
    return False
