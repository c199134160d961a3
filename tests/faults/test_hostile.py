"""A platform that means harm, or has very many tiles to serve: nothing gets out of a tile's folders, nor to others."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from tests.faults.hostile import FakeHostilePlatform
from upscaling.backends.openeo.backend import OpenEOBackend
from upscaling.config import OpenEOBackendConfig
from upscaling.errors import ConfigError, ErrorClass, TileFailedError
from upscaling.jobs.receipts import open_receipt
from upscaling.model import Algorithm, Bounds, Outcome, Tile, TileJob

Given = dict[str, Any]
GRAPH = '{"process_graph": {"a": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": true}}}'


@pytest.fixture
def platform() -> Iterator[FakeHostilePlatform]:
    server = FakeHostilePlatform()
    yield server
    server.close()


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("OPENEO_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("UPSCALING_SESSION", raising=False)
    monkeypatch.setenv("OPENEO_CONFIG_HOME", str(tmp_path / "openeo"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("OPENEO_AUTH_USERNAME", "hostile-user")
    monkeypatch.setenv("OPENEO_AUTH_PASSWORD", "hostile-password")


def backend_of(platform: FakeHostilePlatform, run: Path, **changes: Any) -> OpenEOBackend:
    config = OpenEOBackendConfig.model_validate(
        {
            "kind": "openeo",
            "url": platform.url,
            "auth": "basic",
            "slots": 300,
            "poll_seconds": [0.02, 0.2],
            "lag_seconds": 0.2,
            "outage_hours": 300 / 3600,
            "request_seconds": 30,
            **changes,
        }
    )
    return OpenEOBackend(config, url=platform.url, output_format="GTiff", run_folder=run)


def job_of(run: Path, number: int = 1) -> TileJob:
    run.mkdir(parents=True, exist_ok=True)
    definition = run / "a.json"
    if not definition.exists():
        definition.write_text(GRAPH)
    name, key = f"t{number}", f"{number:064x}"[::-1]
    algorithm = Algorithm("openeo", "a", definition, "0" * 64, "a.json")
    places = {
        "folder": run / "tiles" / name,
        "receipt": run / f"receipts/{name}.json",
        "scratch": run / "scratch" / name,
    }
    return TileJob("hostile", Tile(name, "EPSG:32632", Bounds(0, 0, 80, 80)), key, {}, algorithm, **places)


def run_one(backend: OpenEOBackend, job: TileJob) -> Outcome:
    with open_receipt(job) as receipt:
        return backend.run(job, receipt)


def tiff() -> bytes:
    with MemoryFile() as memory:
        shape = {"driver": "GTiff", "width": 8, "height": 8, "count": 1, "dtype": "uint8", "crs": "EPSG:32632"}
        with memory.open(**shape, transform=Affine(10, 0, 0, 0, -10, 80)) as target:
            target.write(np.ones((1, 8, 8), "uint8"))
        return bytes(memory.read())


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


NAMES = [
    "../../../escaped.tif",
    "/etc/escaped.tif",
    "nul\0.tif",
    "a/b/../../..",
    "",
    ".",
    "x" * 5000,
    "\x1b[31m.tif",
    "CON",
]


def test_names_of_files_choose_no_place(platform: FakeHostilePlatform, user: None, tmp_path: Path) -> None:
    content = tiff()
    for name in NAMES:
        platform.files[f"/{name.replace(chr(0), '%00')}"] = content
    platform.files["/..%2F..%2Fescaped.tif"] = content
    hrefs = {name: f"{platform.url}/files/good.tif?{number}" for number, name in enumerate(NAMES)}
    platform.files["/good.tif"] = content
    assets = {
        name: {"href": href.replace("good", f"good{number}")} for number, (name, href) in enumerate(hrefs.items())
    }
    for number in range(len(NAMES)):
        platform.files[f"/good{number}.tif"] = content
    assets["dots"] = {"href": f"{platform.url}/files/%2e%2e%2F%2e%2e%2Fescaped.tif"}
    assets["odd"] = {"href": 5, "roles": 7}  # type: ignore[dict-item]
    assets["none"] = None  # type: ignore[assignment]
    document = {"type": "Collection", "assets": assets, "links": [{"rel": "item"}, 3, None]}
    platform.results = lambda job_id: document
    run, around = tmp_path / "deep" / "deeper" / "run", tree(tmp_path)
    outcome = run_one(backend_of(platform, run), job_of(run))
    assert len(outcome.assets) == len(NAMES) + 1
    scratch = (run / "scratch" / "t1").resolve()
    for asset in outcome.assets:
        assert asset.path.resolve().is_relative_to(scratch)
        with rasterio.open(asset.path) as source:
            assert source.read(1).sum() == 64
    written = {path for path in tree(tmp_path) - around if not path.startswith("deep")}
    assert written == set()
    allowed = ("scratch/t1", "receipts", "a.json")
    assert all(path.startswith(allowed) or path == "scratch" for path in tree(run))


def links_to(count: int) -> Given:
    return {"assets": {f"a{n}.tif": {"href": f"http://127.0.0.1:1/a{n}.tif"} for n in range(count)}}


def items(platform: FakeHostilePlatform, count: int) -> Given:
    return {"links": [{"rel": "item", "href": f"{platform.url}/files/i{n}"} for n in range(count)]}


def endless() -> Iterator[bytes]:
    while True:
        yield b"\0" * 65536


def deep() -> bytes:
    return b'{"a":' * 50_000


HARM: dict[str, tuple[Callable[[FakeHostilePlatform], Given], str]] = {
    "10,000 assets": (lambda p: links_to(10_000), "more than 1000 files"),
    "10,000 items": (lambda p: items(p, 10_000), "more than 1000 files"),
    "10 GB declared": (
        lambda p: {"assets": {"a": {"href": f"{p.url}/files/endless", "file:size": 10**10}}},
        r"more than 0\.01 GB, and are not fetched \(backend.tile_gb\)",
    ),
    "endless": (lambda p: {"assets": {"a": {"href": f"{p.url}/files/endless"}}}, "more than 0.01 GB"),
    "a file of this machine": (
        lambda p: {"assets": {"a": {"href": "file:///etc/passwd"}}},
        "gives a link that is not valid",
    ),
    "no address": (lambda p: {"assets": {"a": {"href": "http://[::1"}}}, "gives a link that is not valid"),
    "control signs": (lambda p: {"assets": {"a": {"href": "http://a\x00b/\n"}}}, "gives a link that is not valid"),
    "endless redirects": (lambda p: {"assets": {"a": {"href": f"{p.url}/files/circle"}}}, "redirects"),
    "a redirect to this machine": (
        lambda p: {"assets": {"a": {"href": f"{p.url}/files/passwd"}}},
        "redirects out of the web",
    ),
    "an item that does not end": (lambda p: {"links": [{"rel": "item", "href": f"{p.url}/files/endless"}]}, "not end"),
    "an item too deep": (lambda p: {"links": [{"rel": "item", "href": f"{p.url}/files/deep"}]}, "not JSON"),
    "wrong kinds everywhere": (
        lambda p: {"assets": 3, "links": "x", "bands": 1, "type": ["Feature"]},
        "lists neither assets nor items",
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_harm_ends_in_one_line(harm: str, platform: FakeHostilePlatform, user: None, tmp_path: Path) -> None:
    platform.files |= {"/endless": endless, "/circle": f"{platform.url}/files/circle", "/passwd": "file:///etc/passwd"}
    platform.files["/deep"] = deep()
    given, words = HARM[harm]
    platform.results = lambda job_id: {"type": "Collection", "assets": {}, "links": [], **given(platform)}
    run = tmp_path / "run"
    backend = backend_of(platform, run, tile_gb=0.01, outage_hours=1 / 3600)
    with pytest.raises(TileFailedError, match=words) as caught:
        run_one(backend, job_of(run))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) < 12_000_000
    assert len(platform.jobs) == 1


def test_no_credential_goes_to_another_host(platform: FakeHostilePlatform, user: None, tmp_path: Path) -> None:
    stranger = FakeHostilePlatform(files={"/b.tif": tiff(), "/c.tif": tiff(), "/item": {"assets": {}}})
    try:
        platform.files["/moved.tif"] = f"{stranger.url}/files/b.tif"
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password else\n")
        os.environ["NETRC"] = str(netrc)
        platform.results = lambda job_id: {
            "type": "Collection",
            "links": [{"rel": "item", "href": f"{stranger.url}/files/item"}],
            "assets": {
                "b": {"href": f"{platform.url}/files/moved.tif"},
                "c": {"href": f"{stranger.url}/files/c.tif"},
                "d": {"href": f"{stranger.url.replace('http://', 'http://x:y@')}/files/c.tif?d"},
            },
        }
        run = tmp_path / "run"
        outcome = run_one(backend_of(platform, run), job_of(run))
        assert len(outcome.assets) == 3
        seen = [seen for seen in stranger.seen if "/item" not in "".join(map(str, seen))]
        assert len(seen) == 3, stranger.seen  # each file once; what the list links to is looked at again
        assert {secret for _, _, secret in stranger.seen} == {""}
        text = "".join(path.read_text(errors="replace") for path in run.rglob("*") if path.is_file())
        assert "very-secret" not in text
        assert "hostile-password" not in text
    finally:
        del os.environ["NETRC"]
        stranger.close()


def test_two_hundred_threads_log_in_once_and_do_not_storm(
    platform: FakeHostilePlatform, user: None, tmp_path: Path
) -> None:
    """Each thread makes a back-end of its own, as a tile by itself does; the token dies now and then."""
    content = tiff()
    platform.files["/a.tif"] = content
    platform.results = lambda job_id: {"assets": {"a": {"href": f"{platform.url}/files/a.tif"}}}
    platform.runs_for, platform.life = 1.0, 500
    run, ends = tmp_path / "run", list[Any]()
    job_of(run)

    def see_through(number: int) -> None:
        try:
            backend = backend_of(platform, run, lag_seconds=5)
            ends.append(len(run_one(backend, job_of(run, number)).assets))
        except BaseException as error:
            ends.append(error)

    threads = [threading.Thread(target=see_through, args=(number,), daemon=True) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert ends == [1] * 200
    assert len(platform.jobs) == 200
    assert {job["starts"] for job in platform.jobs.values()} == {1}
    asked = sum(platform.tokens.values())
    assert platform.log_ins <= asked // 500 + 2, platform.log_ins
    assert platform.most_at_once <= 16 + 16 + 1
    print(f"log-ins {platform.log_ins}, at once {platform.most_at_once}, {dict(platform.calls)}")


def test_jobs_are_watched_through_the_list(platform: FakeHostilePlatform, user: None, tmp_path: Path) -> None:
    platform.files["/a.tif"] = tiff()
    platform.results = lambda job_id: {"assets": {"a": {"href": f"{platform.url}/files/a.tif"}}}
    platform.runs_for = 3.0
    run, ends = tmp_path / "run", list[Any]()
    job_of(run)
    backend = backend_of(platform, run, lag_seconds=5)

    def see_through(number: int) -> None:
        ends.append(len(run_one(backend, job_of(run, number)).assets))

    threads = [threading.Thread(target=see_through, args=(number,), daemon=True) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    assert ends == [1] * 30
    # One by one, 3 s at a pause of 0.02 to 0.3 s would be 30 times 20 or more.
    assert platform.calls["GET /jobs/ID"] < 30 * 12, platform.calls
    assert platform.calls["GET /jobs"] > 5


@pytest.mark.parametrize("life", [None, 3])
def test_client_credentials_are_renewed(
    life: int | None, platform: FakeHostilePlatform, user: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENEO_AUTH_METHOD", "client_credentials")
    monkeypatch.setenv("OPENEO_AUTH_CLIENT_ID", "ours")
    monkeypatch.setenv("OPENEO_AUTH_CLIENT_SECRET", "client-secret-of-ours")
    platform.life, platform.files["/a.tif"] = life, tiff()
    platform.results = lambda job_id: {"assets": {"a": {"href": f"{platform.url}/files/a.tif"}}}
    run = tmp_path / "run"
    for number in range(3):
        assert len(run_one(backend_of(platform, run, auth="oidc"), job_of(run, number)).assets) == 1
    assert len(platform.jobs) == 3
    assert (platform.log_ins == 1) if life is None else (platform.log_ins > 3)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"client-secret-of-ours" not in path.read_bytes()
            assert b"very-secret" not in path.read_bytes()


def test_a_refresh_token_that_is_good_for_one_use_is_kept(
    platform: FakeHostilePlatform, user: None, tmp_path: Path
) -> None:
    from openeo.rest.auth.config import RefreshTokenStore

    RefreshTokenStore().set_refresh_token(issuer=platform.url, client_id="default-client", refresh_token="refresh-0")
    platform.life, platform.rotate, platform.files["/a.tif"] = 4, True, tiff()
    platform.results = lambda job_id: {"assets": {"a": {"href": f"{platform.url}/files/a.tif"}}}
    run = tmp_path / "run"
    for number in range(3):
        assert len(run_one(backend_of(platform, run, auth="oidc"), job_of(run, number)).assets) == 1
    assert platform.calls["refresh_token"] == platform.log_ins > 2
    stored = RefreshTokenStore().get_refresh_token(issuer=platform.url, client_id="default-client")
    assert {stored} == platform.refresh


def test_nobody_is_asked_in_a_batch_run(platform: FakeHostilePlatform, user: None, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"No refresh token .*a batch run never asks a person"):
        run_one(backend_of(platform, run, auth="oidc"), job_of(run))
    assert platform.calls == {}


def test_a_bearer_token_that_expired_says_what_to_do(
    platform: FakeHostilePlatform, user: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.tokens["handed-over"] = 0
    platform.life = 4
    monkeypatch.setenv("OPENEO_AUTH_TOKEN", "basic//handed-over")
    run = tmp_path / "run"
    with pytest.raises(TileFailedError, match="set a new OPENEO_AUTH_TOKEN") as caught:
        run_one(backend_of(platform, run, auth="bearer"), job_of(run))
    assert caught.value.error_class is ErrorClass.AUTH
    assert len(platform.jobs) == 1
    platform.tokens["the-next"], platform.life, platform.files["/a.tif"] = 0, None, tiff()
    platform.results = lambda job_id: {"assets": {"a": {"href": f"{platform.url}/files/a.tif"}}}
    monkeypatch.setenv("OPENEO_AUTH_TOKEN", "basic//the-next")
    assert len(run_one(backend_of(platform, run, auth="bearer"), job_of(run)).assets) == 1
    assert len(platform.jobs) == 1
