"""The service's own API: algorithms as files, publishing, comparing platforms."""

from __future__ import annotations

import errno
import json
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers import BIN, EmbeddedBackend
from upscaling.planning.plan import load_plan
from upscaling.service.phase import Phase, write_phase
from upscaling.util.files import write_json

from .conftest import UDP, Service


def config_of(backend: EmbeddedBackend, source: str, **more: Any) -> dict[str, Any]:
    """A configuration of one tile."""
    return {
        "run": "any",
        "algorithm": {"source": source, "parameters": {"temporal_extent": ["2023-06-01", "2023-07-01"]}},
        "area": {"aoi": [11.30, 46.46, 11.31, 46.47], "grid": "utm-5km"},
        "backend": {"kind": "openeo", "url": backend.url},
        **more,
    }


def test_an_algorithm_is_brought_as_a_file(service: Service, backend: EmbeddedBackend) -> None:
    own = {**json.loads(UDP.read_text()), "id": "my_own"}
    for name, content, words in (
        ("a.txt", b"x", "an algorithm is an openEO process"),
        ("../../a.json", b" ", "a.json: the file is empty"),
    ):
        answer = service.call("POST", f"/v1/algorithms?name={name}", data=content)
        assert (answer.status_code, words in answer.json()["message"]) == (422, True), answer.text
    kept = service.call("POST", "/v1/algorithms?name=../mine.json", data=json.dumps(own)).json()
    assert kept["source"].startswith(str(service.folder))
    described = service.call("POST", "/v1/describe", json=kept).json()
    assert described["id"] == "my_own"
    checked = service.call("POST", "/v1/check", json={"config": config_of(backend, kept["source"])})
    assert checked.json()["targets"] == 1, checked.text
    elsewhere = service.call("POST", "/v1/check", json={"config": config_of(backend, "/etc/passwd")})
    assert elsewhere.status_code == 422
    broken = service.call("POST", "/v1/algorithms?name=broken.json", data=b"{").json()
    refused = service.call("POST", "/v1/describe", json=broken)
    assert refused.status_code == 422
    assert "is not JSON" in refused.json()["message"]


def test_a_result_is_published_and_platforms_are_compared(service: Service, backend: EmbeddedBackend) -> None:
    body = {"title": "Café & fields", "config": config_of(backend, str(UDP)), "start": True}
    run = service.call("POST", "/v1/runs", json=body).json()["id"]
    early = service.call("POST", f"/v1/runs/{run}/publish", json={"target": "products"})
    assert early.status_code == 409, early.text
    _until(lambda: service.call("GET", f"/v1/runs/{run}").json()["phase"] == "ended")
    rows = service.call("GET", f"/v1/runs/{run}/compare").json()
    assert [(row["platform"], row["kind"]) for row in rows] == [(backend.url, "openeo")]
    assert rows[0]["cost"]["p50"] > 0
    page = service.call("GET", f"/v1/runs/{run}/requirements")
    assert (page.status_code, page.headers["Content-Security-Policy"]) == (200, "sandbox allow-popups")
    assert "<h1>Café &amp; fields</h1>" in page.text

    for wrong, words in (
        ({"target": "nowhere"}, "it has products"),
        ({"s3": "s3://bucket/mine"}, "name one of this service's"),
    ):
        answer = service.call("POST", f"/v1/runs/{run}/publish", json=wrong)
        assert (answer.status_code, words in answer.json()["message"]) == (422, True), answer.text
    looked = service.call("POST", f"/v1/runs/{run}/publish", json={"target": "products"})
    assert looked.status_code == 200, looked.text
    assert any("to send" in line for line in looked.json()["lines"])
    assert service.call("GET", f"/v1/runs/{run}/publication").json()["state"] == "none"
    begun = service.call("POST", f"/v1/runs/{run}/publish", json={"target": "products", "dry_run": False})
    assert begun.json()["state"] == "running", begun.text
    _until(lambda: service.call("GET", f"/v1/runs/{run}/publication").json()["state"] != "running")
    done = service.call("GET", f"/v1/runs/{run}/publication").json()
    assert done["state"] == "published", done
    collection = requests.get(done["record"]["collection"], timeout=120).json()
    assert collection["id"].startswith("caf-fields-")  # no other run of the service has this name
    assert done["record"]["collection"] == f"{_products(service)}/{collection['id']}/collection.json"
    config = service.call("GET", f"/v1/runs/{run}/config").text
    assert "very-secret" not in config + (service.folder / "service.log").read_text()


SQUARE = [[11, 46], [11.1, 46], [11.1, 46.1], [11, 46.1], [11, 46]]
CROSSED = [[11, 46], [11.1, 46.1], [11.1, 46], [11, 46.1], [11, 46]]


def _shapefile(folder: Path, *, whole: bool) -> bytes:
    """A shapefile without its .prj: all other parts as a zip, or the .shp alone."""
    import geopandas
    import shapely

    geopandas.GeoDataFrame(geometry=[shapely.Polygon(SQUARE)], crs=4326).to_file(folder / "a.shp")
    if not whole:
        return (folder / "a.shp").read_bytes()
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for ending in ("shp", "shx", "dbf"):
            archive.write(folder / f"a.{ending}", f"a.{ending}")
    return (folder / "a.zip").read_bytes()


def test_tiles_that_failed_for_one_reason_run_again_and_no_others(service: Service, backend: EmbeddedBackend) -> None:
    area = {"aoi": [11.30, 46.46, 11.33, 46.47], "grid": "utm-1km"}
    config = config_of(backend, str(UDP), area=area)
    run = service.call("POST", "/v1/runs", json={"title": "group", "config": config}).json()["id"]
    folder = next(path for path in (service.folder / "data" / "tasks").iterdir() if _title(path) == "group")
    plan = next((folder / "results").glob("*/plan"))
    rows = list(load_plan(plan.parent).tiles.items())
    for number, (tile, row) in enumerate(rows):
        words = f"worker {number} ran out of memory" if number < 2 else "the platform gave a wrong answer"
        error = {"class": "permanent", "message": words}
        receipt = {"tile": tile, "key": row.key, "state": "failed", "attempt": 1, "error": error}
        write_json(plan.parent / "receipts" / f"{tile}.json", receipt)
    write_phase(folder, Phase("ended"))
    before = len(backend.jobs())
    _until(lambda: service.call("GET", f"/v1/runs/{run}").json()["counts"]["failed"] == len(rows))
    facts = service.call("GET", f"/v1/runs/{run}").json()
    assert facts["reasons"] == {"worker 0 ran out of memory": 2, "the platform gave a wrong answer": len(rows) - 2}
    refused = service.call("POST", f"/v1/runs/{run}/ask", json={"action": "retry", "reason": "none of these"})
    assert (refused.status_code, refused.json()["message"]) == (409, "no tile of this run failed for this reason")
    asked = {"action": "retry", "reason": "worker 0 ran out of memory"}
    assert service.call("POST", f"/v1/runs/{run}/ask", json=asked).status_code == 200
    _until(lambda: service.call("GET", f"/v1/runs/{run}").json()["phase"] == "ended")
    facts = service.call("GET", f"/v1/runs/{run}").json()
    assert (facts["counts"]["finished"], facts["reasons"]) == (2, {"the platform gave a wrong answer": len(rows) - 2})
    assert len(backend.jobs()) == before + 2
    assert len((plan.parent / "report.html").read_text()) > 1000  # of what is done now
    collection = json.loads((plan.parent / "collection.json").read_text())
    assert len([link for link in collection["links"] if link["rel"] == "item"]) == 2


def _title(task: Path) -> str:
    return str(json.loads((task / "request.json").read_text())["title"])


def _layers(folder: Path) -> bytes:
    """A GeoPackage with two layers."""
    import geopandas
    import shapely

    for number, layer in enumerate(("fields", "farms")):
        parts = [shapely.box(11 + k, 46, 11.1 + k, 46.1) for k in range(number + 1)]
        geopandas.GeoDataFrame(geometry=[shapely.MultiPolygon(parts)], crs=4326).to_file(folder / "b.gpkg", layer=layer)
    return (folder / "b.gpkg").read_bytes()


def test_areas_as_people_give_them(service: Service, tmp_path: Path) -> None:
    """One sentence that names the file and what would be right, and no path of the service's."""
    for name, content, words in (
        ("fields.zip", _shapefile(tmp_path, whole=True), "fields.zip: has no CRS (a shapefile needs its .prj)"),
        ("fields.shp", _shapefile(tmp_path, whole=False), "fields.shp: a shapefile is several files"),
        ("fields.geojson", b"{nonsense", "fields.geojson: cannot be read as a vector file"),
        ("fields.geojson", b'{"type": "FeatureCollection", "features": []}', "fields.geojson is empty"),
        ("fields.geojson", b"", "fields.geojson: the file is empty"),
        ("fields.geojson", b" " * 33_000_000, "32 MB"),
    ):
        answer = service.call("POST", f"/v1/area?name={name}", data=content)
        assert answer.status_code in {413, 422}, name
        message = answer.json()["message"]
        assert words in message, message
        assert "/tmp" not in message, message
    gpkg = {"name": "fields.gpkg"}
    asked = service.call("POST", "/v1/area", params=gpkg, data=_layers(tmp_path)).json()
    assert asked == {"choices": ["|layername=fields", "|layername=farms"]}
    for part, words in (("|layername=none", "fields.gpkg: cannot be read"), ("!../../x", "no such file")):
        answer = service.call("POST", "/v1/area", params={**gpkg, "part": part}, data=_layers(tmp_path))
        assert (answer.status_code, words in answer.json()["message"]) == (422, True), answer.text
    chosen = service.call("POST", "/v1/area", params={**gpkg, "part": asked["choices"][1]}, data=_layers(tmp_path))
    assert chosen.json()["geometry"]["type"] == "MultiPolygon", chosen.text
    crossed = json.dumps({"type": "Polygon", "coordinates": [CROSSED]})
    repaired = service.call("POST", "/v1/area?name=fields.geojson", data=crossed).json()
    assert repaired["geometry"]["type"] == "MultiPolygon"
    assert repaired["notices"]
    area = {"type": "Polygon", "coordinates": [SQUARE]}
    for change, words in (
        ({"grid": "none-such"}, "grid: there is no grid"),
        ({"aoi": {"type": "Polygon", "coordinates": [[[100, 95], [101, 95], [101, 96], [100, 95]]]}}, "aoi: "),
        ({"time": {"start": "2023-07-01", "end": "2023-06-01", "step": "month"}}, "time.end: must lie after"),
        ({"time": {"start": "2023-06-01", "end": "2023-07-01", "step": "fortnight"}}, "time.step: "),
    ):
        answer = service.call("POST", "/v1/tiles", json={"aoi": area, "grid": "utm-5km", **change})
        assert (answer.status_code, words in answer.json()["message"]) == (422, True), answer.text
        about = answer.json()["details"]  # for a page, which puts it beside the field
        assert answer.json()["message"] == f"{about['key']}: {about['reason']}"


LATE = """
import sys
from pathlib import Path
from fastapi.testclient import TestClient
from upscaling.service.app import make_app
from upscaling.service.settings import ServiceSettings

box = '{"type": "Polygon", "coordinates": [[[11.3,46.4],[11.4,46.4],[11.4,46.5],[11.3,46.5],[11.3,46.4]]]}'
with TestClient(make_app(ServiceSettings(folder=Path(sys.argv[1])))) as client:
    before = {name.partition(".")[0] for name in sys.modules}
    assert client.post("/v1/area", params={"name": "a.geojson"}, content=box).status_code == 200
    area = client.post("/v1/area", params={"name": "a.geojson"}, content=box).json()["geometry"]
    assert client.post("/v1/tiles", json={"aoi": area, "grid": "utm-5km"}).status_code == 200
print(*{name.partition(".")[0] for name in sys.modules} - before)
"""


def test_no_thread_is_the_first_to_import_a_library_of_circular_imports(tmp_path: Path) -> None:
    done = subprocess.run([BIN / "python", "-c", LATE, tmp_path], capture_output=True, text=True, check=True)
    circular = {
        "geopandas",
        "numpy",
        "openeo",
        "pandas",
        "pyarrow",
        "pyogrio",
        "pyproj",
        "pystac",
        "rasterio",
        "shapely",
    }
    assert circular.isdisjoint(done.stdout.split()), done.stdout


def test_a_full_disk_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    from upscaling.service.app import make_app
    from upscaling.service.settings import ServiceSettings
    from upscaling.service.tasks import Tasks

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Tasks, "from_config", full)
    client = TestClient(make_app(ServiceSettings(folder=tmp_path)), raise_server_exceptions=False)
    answer = client.post("/v1/runs", json={"config": {}})
    assert (answer.status_code, answer.json()["error_code"]) == (507, "INSUFFICIENT_STORAGE")
    assert "disk of the service is full" in answer.json()["message"]
    client.close()


def _products(service: Service) -> str:
    return str(service.settings["publish"][0]["public_url"])


def _until(true: Any, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.3)
