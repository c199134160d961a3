"""Bad input as people give it: each a sentence at the right place; nothing that was typed is lost, by no reload."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely

from tests.conftest import missing
from tests.service.conftest import UDP, Service

from .conftest import PHONE, Browser

BOX = "11.30, 46.46, 11.34, 46.48"
HOSTILE = "<img src=x onerror=alert(1)>"
BOW_TIE = {
    "type": "Polygon",
    "coordinates": [[[11.3, 46.46], [11.34, 46.48], [11.34, 46.46], [11.3, 46.48], [11.3, 46.46]]],
}
RECORD = {
    "id": "no-service",
    "type": "Feature",
    "conformsTo": ["http://www.opengis.net/spec/ogcapi-records-1/1.0/req/record-core"],
    "properties": {"type": "service", "title": "Nothing to run"},
    "links": [{"rel": "application", "href": str(UDP)}],
}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Service]:
    """A service whose platform is down, and whose disk is small."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        missing("a file system of its own (mount)")
    started = Service(disk, {"any_source": True}).start()
    yield started
    started.stop()
    subprocess.run(["umount", "-l", disk], check=True)


def shapefile_without_prj(folder: Path) -> Path:
    folder.mkdir()
    table = geopandas.GeoDataFrame({"field": [1]}, geometry=[shapely.box(11.3, 46.46, 11.34, 46.48)], crs=4326)
    table.to_file(folder / "fields.shp")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in folder.glob("fields.*"):
            if path.suffix != ".prj":
                archive.write(path, path.name)
    path = folder.with_suffix(".zip")
    path.write_bytes(content.getvalue())
    return path


@dataclass(frozen=True)
class Row:
    """What somebody does at a step, the sentence that is wanted, and where."""

    name: str
    step: str
    act: Callable[[Any], object]
    sentence: str
    place: str = "[role=alert]"


def rows(service: Service, folder: Path) -> list[Row]:
    bow_tie, record, huge = folder / "fields.geojson", folder / "record.json", folder / "europe.gpkg"
    bow_tie.write_text(json.dumps(BOW_TIE))
    record.write_text(json.dumps(RECORD))
    with huge.open("wb") as stream:
        stream.truncate(3_000_000_000)
    upload = lambda path: lambda page: page.get_by_label("Upload a vector file").set_input_files(str(path))  # noqa: E731
    press = lambda name: lambda page: page.get_by_role("button", name=name).click()  # noqa: E731

    nothing, swapped, layers = folder / "nothing.zip", folder / "swapped.geojson", folder / "layers.gpkg"
    with zipfile.ZipFile(nothing, "w") as archive:
        archive.writestr("readme.txt", "no area")
    swapped.write_text(shapely.to_geojson(shapely.box(40, -100, 41, -99)))
    for layer in ("fields", "farms"):
        geopandas.GeoDataFrame(geometry=[shapely.box(11.3, 46.46, 11.34, 46.48)], crs=4326).to_file(layers, layer=layer)

    def hostile(page: Any) -> None:
        content = {"name": f"{HOSTILE}.json", "mimeType": "application/json", "buffer": b"{"}
        page.get_by_label("Upload a vector file").set_input_files(content)

    def pick(page: Any) -> None:
        upload(layers)(page)
        page.get_by_label("Layer of layers.gpkg").select_option("farms")

    def reverse(page: Any) -> None:
        page.get_by_label("From").fill("2023-07-01")
        page.get_by_label("Until").fill("2023-06-01")

    def half(page: Any) -> None:
        page.get_by_label("From").fill("")
        page.get_by_label("Until").fill("")
        press("Apply")(page)

    def comma(page: Any) -> None:
        page.get_by_label("Grid", exact=True).fill("utm-1,5km")
        page.get_by_label("Grid", exact=True).press("Tab")

    def use(page: Any) -> None:
        page.get_by_label("Or the address or path").fill(str(record))
        press("Use this address")(page)

    def ended(page: Any) -> None:
        refusal = {"status": 401, "json": {"detail": "Not authenticated"}}
        page.route("**/v1/check", lambda route: route.fulfill(**refusal), times=1)
        press("Check")(page)

    def full(page: Any) -> None:
        page.goto(f"{service.url}/#/new/area")
        page.get_by_label("Grid", exact=True).fill("utm-1.5km")
        page.get_by_label("Grid", exact=True).press("Tab")
        page.goto(f"{service.url}/#/new/feasibility")
        with (service.folder / "filling").open("wb", buffering=0) as stream:
            try:
                while stream.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        press("Plan the run")(page)

    def free(page: Any) -> None:
        (service.folder / "filling").unlink()
        press("Plan the run")(page)

    def down(page: Any) -> None:
        service.stop()
        press("Compare the platforms")(page)

    return [
        Row("a record without a service", "algorithm", use, "names no platform", ".card.chosen [role=alert]"),
        Row(
            "a shapefile without .prj",
            "area",
            upload(shapefile_without_prj(folder / "fields")),
            "needs its .prj",
            ".panel [role=alert]",
        ),
        Row(
            "3 GB",
            "area",
            upload(huge),
            "europe.gpkg has 3000 MB; this service takes files of up to",
            ".panel [role=alert]",
        ),
        Row(
            "an outline that crosses itself",
            "area",
            upload(bow_tie),
            "fields.geojson: 1 invalid",
            ".panel [role=status]",
        ),
        Row("a zip without an area", "area", upload(nothing), "has no vector file in it", ".panel [role=alert]"),
        Row("latitude first", "area", upload(swapped), "longitude comes first", ".panel [role=alert]"),
        Row("a hostile name", "area", hostile, f"{HOSTILE}.json: cannot be read", ".panel [role=alert]"),
        Row("a layer to choose", "area", pick, "km²", ".count[aria-busy=false]"),
        Row("dates in reverse", "area", reverse, "“Until” must lie after “From” (2023-07-01)", "fieldset [role=alert]"),
        Row("half a box", "area", half, "Four numbers", ".panel [role=alert]"),
        Row("a grid with a comma", "area", comma, "write utm-1.5km, with a point", "label + [role=alert]"),
        Row("a number with a comma", "parameters", lambda _: None, "Write 1.5, with a point", ".field [role=alert]"),
        Row("a log-in that has ended", "parameters", ended, "Your log-in has ended"),
        Row("a full disk", "feasibility", full, "disk of the service is full"),
        Row("a platform that is down", "feasibility", free, "cannot be reached", ".checks .no"),
        Row("a service that is down", "feasibility", down, "does not answer. What you typed is kept"),
    ]


def choose_what_can_run(page: Any, url: str) -> None:
    page.goto(f"{url}/#/new/algorithm")
    page.get_by_label("Or the address or path").fill(str(UDP))
    page.get_by_role("button", name="Use this address").click()
    chosen = "name => JSON.parse(localStorage.getItem('upscaling-draft')).algorithm.source.endsWith(name)"
    page.wait_for_function(chosen, arg=UDP.name)
    page.locator(".card.chosen").get_by_label("Platform").fill("http://127.0.0.1:9/openeo")
    page.locator(".card.chosen").get_by_label("Platform").press("Tab")
    page.goto(f"{url}/#/new/parameters")
    page.locator("input[type=date]").nth(0).fill("2023-06-01")
    page.locator("input[type=date]").nth(1).fill("2023-07-01")


def test_bad_input_is_a_sentence_at_its_place_and_nothing_is_lost(
    browser: Browser, small: Service, tmp_path: Path
) -> None:
    page, sent = browser.page, []
    browser.origin = small.url
    browser.expected = ("Failed to load resource",)  # of each refusal, and of the service that was gone
    page.on("request", lambda request: sent.append((request.method, request.url)))
    typed = {
        "algorithm": ("Search algorithms", "ndvi"),
        "area": ("Box", "11.30, 46.46, 11"),
        "parameters": ("highest_class", "1,5"),
    }
    page.goto(small.url)
    for row in rows(small, tmp_path):
        page.goto(f"{small.url}/#/new/{row.step}")
        page.locator("h1", has_text=row.step.capitalize()).wait_for()
        label, value = typed.get(row.step, ("", ""))
        if label:
            page.get_by_label(label).fill(value)
        sent.clear()
        row.act(page)
        page.locator(row.place, has_text=row.sentence).first.wait_for()
        browser.step(row.name.replace(" ", "-"), sizes=[PHONE])
        browser.picture(row.name.replace(" ", "-"))
        if row.name == "3 GB":  # told before the first byte was read
            assert [one for one in sent if one[0] == "POST"] == []
        if small.process is None:
            break
        page.reload()
        page.locator("h1").wait_for()
        if label:
            browser.shows(page.get_by_label(label).input_value, value)
        if row.step == "algorithm":
            browser.shows(page.get_by_label("Or the address or path").input_value, str(tmp_path / "record.json"))
            choose_what_can_run(page, small.url)
            continue
        draft = json.loads(page.evaluate("() => localStorage.getItem('upscaling-draft')"))
        assert draft["algorithm"]["platform"] == "http://127.0.0.1:9/openeo", row.name
        assert draft["parameters"] == {"temporal_extent": ["2023-06-01", "2023-07-01"]}, row.name
