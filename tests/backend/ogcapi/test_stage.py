"""Results are brought here from http and object storage; what a server says of them is not trusted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backend.ogcapi.replay import Replay
from tests.servers import free_port

from upscaling.backends.ogcapi.results import Found
from upscaling.backends.ogcapi.stage import stage
from upscaling.clients.ogcapi.client import OgcApiClient
from upscaling.errors import ErrorClass, PlatformError, TileFailedError

PIXELS = b"II*\0" + bytes(range(256)) * 20


def item(href: str, **more: Any) -> dict[str, Any]:
    asset = {"href": href, "type": "image/tiff", "roles": ["data"], "bands": [{"name": "ndvi"}], **more}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "i",
        "properties": {"datetime": "2022-06-12T10:10:00Z"},
        "links": [{"rel": "derived_from", "href": "https://h.example/S2A.json"}],
        "assets": {"ndvi": asset, "thumb": {"href": "t.png", "roles": ["thumbnail"]}},
    }


def catalog(kind: str, *links: tuple[str, str]) -> dict[str, Any]:
    extent = {"extent": {}} if kind == "Collection" else {}
    return {
        "type": kind,
        "id": "c",
        "stac_version": "1.0.0",
        **extent,
        "links": [{"rel": r, "href": h} for r, h in links],
    }


def test_a_catalogue_of_catalogues_over_http(replay: Replay, tmp_path: Path) -> None:
    replay.answers |= {
        "GET /f/catalog.json": (
            200,
            {},
            catalog("Catalog", ("child", "sub/collection.json"), ("self", "catalog.json")),
        ),
        "GET /f/sub/collection.json": (
            200,
            {},
            catalog("Collection", ("item", "./i/i.json"), ("root", "../catalog.json")),
        ),
        "GET /f/sub/i/i.json": (200, {}, item("../../px/n.TIF")),
        "GET /f/px/n.TIF": (200, {"Content-Type": "image/tiff"}, PIXELS),
    }
    found = [Found("result", href=f"http://127.0.0.1:{replay.port}/f/catalog.json")]
    outcome = stage(OgcApiClient(replay.base), found, tmp_path / "results")
    (asset,) = outcome.assets
    assert asset.path == tmp_path / "results" / "asset-0000.tif"
    assert asset.path.read_bytes() == PIXELS
    assert (asset.key, asset.datetime, asset.bands) == ("ndvi", "2022-06-12T10:10:00Z", ({"name": "ndvi"},))
    assert outcome.derived_from == ("https://h.example/S2A.json",)
    assert outcome.left_out == ("thumb: has the role thumbnail, beside results",)


def test_links_in_circles_end(replay: Replay, tmp_path: Path) -> None:
    replay.answers |= {
        "GET /f/a.json": (200, {}, catalog("Catalog", ("child", "b.json"))),
        "GET /f/b.json": (200, {}, catalog("Catalog", ("child", "a.json"))),
    }
    found = [Found("result", href=f"http://127.0.0.1:{replay.port}/f/a.json")]
    outcome = stage(OgcApiClient(replay.base), found, tmp_path)
    assert outcome.assets == () and "which contains it" in outcome.left_out[0]


def test_geojson_that_links_to_its_collection(replay: Replay, tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{replay.port}"
    feature = {"type": "Feature", "geometry": None, "links": [{"rel": "collection", "href": f"{base}/c.json"}]}
    replay.answers |= {
        "GET /c.json": (200, {}, catalog("Collection", ("item", "i.json"))),
        "GET /i.json": (200, {}, item("n.tif")),
        "GET /n.tif": (200, {}, PIXELS),
    }
    linked = Found("r", content=json.dumps({"type": "FeatureCollection", "features": [feature]}).encode())
    linked = Found("r", content=linked.content, media_type="application/geo+json")
    plain = Found("p", content=b'{"type": "FeatureCollection", "features": []}', media_type="application/geo+json")
    assets = stage(OgcApiClient(replay.base), [linked, plain], tmp_path).assets
    assert {(asset.key, asset.path.suffix) for asset in assets} == {("ndvi", ".tif"), ("p", ".geojson")}


@pytest.mark.parametrize("href", ["file:///etc/passwd", "ftp://h.example/x.tif", "gopher://h/x", "data:text/plain,x"])
def test_only_http_and_s3_are_followed(replay: Replay, tmp_path: Path, href: str) -> None:
    with pytest.raises(TileFailedError, match="only http"):
        stage(OgcApiClient(replay.base), [Found("x", href=href)], tmp_path)
    with pytest.raises(TileFailedError, match="only http"):
        stage(OgcApiClient(replay.base), [Found("x", stac=item(href), base=f"{replay.base}/i.json")], tmp_path)


def test_names_never_choose_a_place(replay: Replay, tmp_path: Path) -> None:
    replay.answers["GET /api/x"] = (200, {}, PIXELS)
    hrefs = (f"{replay.base}/x?a=/../../../evil.tif", f"{replay.base}/x#..%2F..%2Fevil")
    found = [Found("../../evil", href=href) for href in hrefs]
    assets = stage(OgcApiClient(replay.base), found, tmp_path / "results").assets
    assert {asset.path.parent for asset in assets} == {tmp_path / "results"}
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_sizes_and_checksums_are_held_against_the_file(replay: Replay, tmp_path: Path) -> None:
    replay.answers["GET /api/n.tif"] = (200, {}, PIXELS)
    client, base = OgcApiClient(replay.base), f"{replay.base}/i.json"
    good = {"file:size": len(PIXELS), "file:checksum": "1220" + hashlib.sha256(PIXELS).hexdigest()}
    assets = stage(client, [Found("x", stac=item("n.tif", **good), base=base)], tmp_path / "a").assets
    assert assets[0].path.read_bytes() == PIXELS
    before = len(replay.requests)
    stage(client, [Found("x", stac=item("n.tif", **good), base=base)], tmp_path / "a")
    assert len(replay.requests) == before, "what is there already was fetched again"
    for wrong in ({"file:size": 7}, {"file:size": len(PIXELS) + 7}, {"file:checksum": "1220" + "0" * 64}):
        with pytest.raises(PlatformError) as caught:
            stage(client, [Found("x", stac=item("n.tif", **wrong), base=base)], tmp_path / "b")
        assert caught.value.error_class is ErrorClass.OUTPUT  # three times: to ask for ever cannot help


def test_a_broken_download_is_continued(replay: Replay, tmp_path: Path) -> None:
    asked: list[str | None] = []

    def serve(handler: Any, _body: bytes) -> Any:
        asked.append(handler.headers.get("Range"))
        if asked[-1] is None:
            return 200, {}, PIXELS
        start = int(asked[-1].removeprefix("bytes=").rstrip("-"))
        return 206, {"Content-Range": f"bytes {start}-{len(PIXELS) - 1}/{len(PIXELS)}"}, PIXELS[start:]

    replay.answers["GET /api/n.tif"] = serve
    (tmp_path / "asset-0000.tif.part").write_bytes(PIXELS[:1000])
    (tmp_path / "asset-0000.tif.part.etag").touch()  # of a server that names no version
    assets = stage(OgcApiClient(replay.base), [Found("x", href=f"{replay.base}/n.tif")], tmp_path).assets
    assert asked == ["bytes=1000-"]
    assert assets[0].path.read_bytes() == PIXELS


def test_too_many_files_and_a_missing_one(replay: Replay, tmp_path: Path) -> None:
    many = [Found(str(number), content=b"1") for number in range(1001)]
    with pytest.raises(TileFailedError, match="1001 files for one tile"):
        stage(OgcApiClient(replay.base), many, tmp_path)
    with pytest.raises(PlatformError, match="answered 404"):
        stage(OgcApiClient(replay.base), [Found("x", href=f"{replay.base}/gone.tif")], tmp_path)


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Object storage of its own (moto), that checks nobody's signature but serves like S3."""
    from moto.server import ThreadedMotoServer

    port = free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    yield f"http://127.0.0.1:{port}"
    server.stop()


def test_stac_in_object_storage_with_the_buckets_own_credentials(
    storage: str, replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore
    import requests
    from obstore.store import S3Store

    requests.put(f"{storage}/my-results", timeout=60).raise_for_status()
    options = {"access_key_id": "k", "secret_access_key": "s", "endpoint": storage, "region": "us-east-1"}
    store = S3Store("my-results", client_options={"allow_http": True}, **options)
    files = {
        "j/catalog.json": json.dumps(catalog("Catalog", ("item", "./i/i.json"))).encode(),
        "j/i/i.json": json.dumps(item("../n.tif", **{"file:size": len(PIXELS)})).encode(),
        "j/n.tif": PIXELS,
    }
    for name, content in files.items():
        obstore.put(store, name, content)
    monkeypatch.setenv("OGCAPI_S3_MY_RESULTS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("OGCAPI_S3_MY_RESULTS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("OGCAPI_S3_MY_RESULTS_ENDPOINT", storage)
    found = [Found("result", href="s3://my-results/j/catalog.json")]
    (asset,) = stage(OgcApiClient(replay.base), found, tmp_path).assets
    assert asset.path.read_bytes() == PIXELS
    with pytest.raises(PlatformError, match="is not there") as caught:
        stage(OgcApiClient(replay.base), [Found("x", href="s3://my-results/j/gone.tif")], tmp_path)
    assert caught.value.error_class is ErrorClass.OUTPUT
