"""Log-in on the page with a real OpenID provider: there and back, and again after it has ended; nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import EmbeddedBackend, free_port
from tests.service.conftest import ACCOUNT, AREA, UDP, Service, platform_of, upscaling_request
from tests.service.provider import AUDIENCE, OidcProvider, installed

from .conftest import Browser, pictures

__all__ = ["installed"]  # a fixture


@pytest.fixture
def guarded(backend: EmbeddedBackend, installed: Path, tmp_path: Path) -> Iterator[tuple[Service, OidcProvider]]:
    port = free_port()
    provider = OidcProvider(installed, redirects=(f"http://127.0.0.1:{port}/",)).start()
    oidc = {"issuer": provider.issuer, "audience": AUDIENCE, "client_id": "page", "resource": AUDIENCE}
    settings = {
        "platforms": [platform_of(backend)],
        "sources": [str(UDP.parent)],
        "auth": "oidc",
        "oidc": {**oidc, "scope": "openid api"},
    }
    started = Service(tmp_path / "guarded", settings, variables=ACCOUNT, port=port).start()
    yield started, provider
    started.stop()
    provider.stop()


@pytest.fixture
def opened(chromium: Any, guarded: tuple[Service, OidcProvider], tmp_path: Path) -> Iterator[Browser]:
    service, provider = guarded
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    context.route(lambda url: "127.0.0.1" not in url, lambda route: route.abort())  # the provider's form wants a font
    place = pictures(tmp_path, 1400, "light")
    found = Browser(context.new_page(), service.url, place, also=(provider.issuer, "https://fonts."))
    yield found
    context.close()
    # refusals are what is tested; the provider's form is not the page
    quiet = ("401", "fonts.", "ERR_FAILED", provider.issuer)
    assert [line for line in found.problems if not any(part in line for part in quiet)] == []


def log_in(page: Any, name: str) -> None:
    page.get_by_placeholder("Enter any login").fill(name)
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def test_there_and_back_and_again_after_its_end(
    opened: Browser, guarded: tuple[Service, OidcProvider], backend: EmbeddedBackend
) -> None:
    service, provider = guarded
    page = opened.page
    page.goto(f"{service.url}/#/new/area")
    page.get_by_role("heading", name="Log in").wait_for()
    opened.step("login")
    page.get_by_role("button", name="Log in").click()
    log_in(page, "carol")
    page.locator(".user", has_text="carol").wait_for()
    assert page.url == f"{service.url}/#/new/area"  # where it was begun; neither code nor state are left in the address
    assert page.evaluate("() => document.cookie") == ""  # no script reads the token's cookie
    token = page.evaluate("() => sessionStorage.getItem('upscaling-login')")
    assert token not in (service.folder / "service.log").read_text()

    # what a browser asks by itself: events of a run, its pictures, its report
    body = upscaling_request(backend, [AREA], title="of carol")
    made = service.call("POST", "/upscale_tasks", json=body, headers={"Authorization": f"Bearer {token}"}).json()["id"]
    page.goto(f"{service.url}/#/runs/{made}")
    page.locator("h1 + .state.finished").wait_for(timeout=400_000)
    page.get_by_label("Tile", exact=True).fill(page.locator("#tile-names option").first.get_attribute("value"))
    page.get_by_label("Tile", exact=True).press("Tab")
    page.locator("img.preview").wait_for()
    page.wait_for_function("() => document.querySelector('img.preview').naturalWidth > 0")
    cookie = {"upscaling-token": token}
    path = f"/v1/runs/{made}"
    assert service.call("GET", path, cookies=cookie).status_code == 200
    assert service.call("POST", f"{path}/ask", json={"action": "archive"}, cookies=cookie).status_code == 401

    page.goto(f"{service.url}/#/new/area")
    page.get_by_label("Box").fill("11.30, 46.46, 11.34")  # not yet a box, and so in no draft
    provider.rotate()  # from now on the old token is nobody's, as after its time
    service.stop()
    service.start()
    page.get_by_label("Upload a vector file").set_input_files(str(UDP))
    ended = page.locator(".panel").get_by_role("alert").filter(has_text="Your log-in has ended")
    ended.wait_for()
    opened.picture("login-ended")
    ended.get_by_role("button", name="Log in").click()
    log_in(page, "carol")
    page.locator(".user", has_text="carol").wait_for()
    opened.shows(page.get_by_label("Box").input_value, "11.30, 46.46, 11.34")

    ours = lambda: [one["name"] for one in page.context.cookies(f"{service.url}/v1/me") if one["path"] == "/v1"]  # noqa: E731
    opened.shows(ours, ["upscaling-token"])
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Log in").wait_for()
    opened.shows(ours, [])
    page.goto(f"{service.url}/?code=stolen&state=other#/runs")
    page.get_by_text("was not begun in this window").wait_for()
    page.goto(f"{service.url}/?error=access_denied&state=other")
    page.get_by_role("heading", name="Log in").wait_for()
