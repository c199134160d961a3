"""Serve a run's folder on this machine, so that a browser, QGIS and a STAC Browser read it as they would in public."""

from __future__ import annotations

import asyncio
import mimetypes
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from upscaling.errors import UpscalingError
from upscaling.http.address import THIS_MACHINE

__all__ = ["serve"]

_TYPES = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".gpkg": "application/geopackage+sqlite3",
    ".parquet": "application/vnd.apache.parquet",
    ".geojson": "application/geo+json",
    ".log": "text/plain; charset=utf-8",
}


def serve(run_folder: Path, *, port: int = 8780, say: Callable[[str], Any] = print) -> None:
    """Serve until interrupted, on 127.0.0.1 only; ranges are answered (206), and pages from elsewhere may read (CORS).

    Parameters
    ----------
    port
        0 takes any that is free.
    say
        Is told the addresses, line by line.

    Raises
    ------
    UpscalingError
        If the folder is not that of a run, or the port is taken.
    """
    from upscaling.monitor.report import write_report

    if not (run_folder / "report.html").is_file():
        write_report(run_folder)
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(run_folder.resolve(), port, say))


async def _serve(folder: Path, port: int, say: Callable[[str], Any]) -> None:
    from tornado.httpserver import HTTPServer

    server = HTTPServer(_application(folder))
    try:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
    except OSError as error:
        raise UpscalingError(f"cannot serve on port {port} ({error.strerror}); choose another with --port") from None
    listener.setblocking(False)
    server.add_socket(listener)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    say(f"report       {address}/report.html")
    if (folder / "collection.json").is_file():
        say(f"collection   {address}/collection.json")
    for index in sorted(folder.glob("mosaic/*.gti.gpkg")):
        say(f"mosaic       {index}   (QGIS)")
    say("Ctrl-C ends it")
    try:
        await asyncio.Event().wait()
    finally:
        server.stop()


def _hidden(name: str) -> bool:
    """Tell what is hidden; the metadata of a Zarr store (version 2) only looks like it."""
    return name.startswith(".") and name not in {".zgroup", ".zarray", ".zattrs", ".zmetadata"}


def _application(folder: Path) -> Any:
    from tornado.web import Application, HTTPError, RedirectHandler, StaticFileHandler

    class RunFiles(StaticFileHandler):
        """Files of the run; nothing hidden (lock, and how the run was started), and nothing outside by way of links."""

        def prepare(self) -> None:
            # A page from elsewhere may point a name of its own at this machine.
            if urlsplit(f"//{self.request.host}").hostname not in THIS_MACHINE:
                raise HTTPError(403)

        def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
            path = Path(absolute_path).resolve()
            if not path.is_relative_to(root) or any(map(_hidden, path.relative_to(root).parts)):
                raise HTTPError(404)
            return super().validate_absolute_path(root, str(path))

        def set_default_headers(self) -> None:
            self.set_header("Access-Control-Allow-Origin", "*")
            self.set_header("Access-Control-Allow-Headers", "Range, If-None-Match, If-Modified-Since")
            self.set_header("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
            self.set_header("Access-Control-Expose-Headers", "Accept-Ranges, Content-Range, Content-Length, Etag")
            self.set_header("X-Content-Type-Options", "nosniff")
            self.set_header("Cache-Control", "no-cache")

        def options(self, *_: str) -> None:
            self.set_status(204)

        def get_content_type(self) -> str:
            path = Path(str(self.absolute_path))
            if path.name == "item.json":
                return "application/geo+json"
            known = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            return _TYPES.get(path.suffix.lower(), known)

    return Application(
        [
            (r"/", RedirectHandler, {"url": "/report.html", "permanent": False}),
            (r"/(.*)", RunFiles, {"path": str(folder)}),
        ],
        log_function=lambda _: None,
    )
