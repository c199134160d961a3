"""The page in Debian's Chromium, on a real service with the embedded back-end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.servers import EmbeddedBackend
from tests.service.conftest import ROOT, Service, backend, local_service, storage

__all__ = ["Browser", "backend", "storage"]  # the same fixtures, of this folder's own

PHONE = (390, 844)
SIZES = ((1400, 900), (768, 1024), PHONE)
SCHEMES = ("light", "dark")
# The map has its size and what it shows, or some frames have passed, and is drawn; "idle" comes seconds later here.
SETTLED = """async () => {
  const frame = () => new Promise(done => requestAnimationFrame(done));
  await frame();
  await frame();
  const map = document.querySelector('.map')?.map;
  if (!map) return;
  const [canvas, box] = [map.getCanvas(), map.getContainer()];
  const sized = () => canvas.clientWidth === box.clientWidth && canvas.clientHeight === box.clientHeight;
  for (let turn = 0; turn < 40 && !(sized() && map.loaded()); turn++) await frame();
  map.redraw();
}"""
IS_LIGHT = "() => matchMedia('(prefers-color-scheme: light)').matches"
MAP_IS_THERE = "() => document.querySelector('.map[data-ready=no]') === null"
PAGE = ROOT / "src" / "upscaling" / "service" / "page"
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
# the driver tells of its own slowness, which is software rendering here
_HARMLESS = ("GPU stall due to ReadPixels", "GL Driver Message")


@dataclass
class Browser:
    """A page, and all that went wrong in it."""

    page: Any
    origin: str
    pictures: Path
    also: tuple[str, ...] = ()  # other origins that may be asked
    expected: tuple[str, ...] = ()  # words of what the browser says of refusals that a test brings about, early or late
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("request", self._request)
        self.page.set_default_timeout(180_000)

    def _console(self, message: Any) -> None:
        if message.type in {"error", "warning"} and not any(
            words in message.text for words in (*_HARMLESS, *self.expected)
        ):
            self.problems.append(f"console: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.origin, *self.also, "blob:", "data:")):
            self.problems.append(f"another origin: {request.url}")

    def shows(self, read: Callable[[], Any], expected: Any) -> None:
        """Wait until what is read of the page is what is expected: a page follows its user a moment later."""
        deadline = time.monotonic() + 180
        while (found := read()) != expected and time.monotonic() < deadline:
            time.sleep(0.1)
        assert found == expected

    def picture(self, name: str) -> None:
        self.page.screenshot(path=self.pictures / f"{name}.png", full_page=True)

    def step(self, name: str, sizes: Sequence[tuple[int, int]] = SIZES) -> None:
        """Take pictures of the whole page in every size, light and dark; nothing scrolls sideways, axe is content."""
        before, light = self.page.viewport_size, self.page.evaluate(IS_LIGHT)
        self.page.wait_for_function(MAP_IS_THERE)
        for width, height in sizes:
            self.page.set_viewport_size({"width": width, "height": height})
            for scheme in SCHEMES:
                self.page.emulate_media(color_scheme=scheme)
                self.page.evaluate(SETTLED)
                wide = self.page.evaluate("() => document.documentElement.scrollWidth")
                assert wide <= width, f"{name} scrolls sideways at {width}: {wide}"
                folder = self.pictures.parent / f"{width}-{scheme}"
                folder.mkdir(exist_ok=True)
                self.page.screenshot(path=folder / f"{name}.png", full_page=True)
        self.accessible()
        self.page.set_viewport_size(before)
        self.page.emulate_media(color_scheme="light" if light else "dark")
        self.accessible()

    def accessible(self) -> None:
        """No serious or critical finding of axe; it is injected past the policy, as a browser extension would be."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Runtime.evaluate", {"expression": AXE.read_text()})
        rows = "v => [v.impact, v.id, v.nodes.map(n => n.html.slice(0, 120))]"
        run = f"axe.run().then(r => JSON.stringify(r.violations.map({rows})))"
        answer = session.send("Runtime.evaluate", {"expression": run, "awaitPromise": True, "returnByValue": True})
        found = [
            one for one in __import__("json").loads(answer["result"]["value"]) if one[0] in {"serious", "critical"}
        ]
        assert not found, found


def pictures(instead: Path, width: int, scheme: str) -> Path:
    """Return the folder of pictures of a size and scheme: an output of CI, or ``instead``."""
    folder = Path(os.environ.get("CI_OUTPUT_DIR", instead)) / "page" / f"{width}-{scheme}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="package", autouse=True)
def packages() -> None:
    """The page is built, and axe is there."""
    if not (PAGE / "vendor" / "earcut.js").is_file() or not AXE.is_file():
        missing("the page's packages (make page)")


@pytest.fixture(scope="module")
def service(backend: EmbeddedBackend, storage: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that no other file of tests has used: a page may be empty."""
    started = local_service(backend, storage, tmp_path_factory.mktemp("service"))
    yield started
    started.stop()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        missing("Debian's chromium")
    arguments = ["--no-sandbox", "--disable-background-networking", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(params=[(1400, 900, "light")], ids=lambda value: f"{value[0]}-{value[2]}")
def browser(request: Any, chromium: Any, service: Service, tmp_path: Path) -> Iterator[Browser]:
    width, height, scheme = request.param
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    opened = Browser(context.new_page(), service.url, pictures(tmp_path, width, scheme))
    yield opened
    context.close()
    assert opened.problems == []
