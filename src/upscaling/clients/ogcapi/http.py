"""Requests to an OGC API - Processes server: who asks, what a refusal means, and bodies kept as they came."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from upscaling.clients.ogcapi.auth import Credentials, Method
from upscaling.http.address import origin
from upscaling.http.download import download
from upscaling.http.reply import Reply
from upscaling.http.transport import Transport
from upscaling.jobs.failures import classify_http
from upscaling.util.files import write_json, written_whole

__all__ = ["JSON", "Server", "is_html", "link_headers", "loaded", "save_reply", "small_json"]

JSON = "application/json"
_LARGEST_FILE = 64 << 30  # bytes; more than any tile, less than a disk


class Server:
    """One server, and who we are to it.

    Parameters
    ----------
    base
        Its landing page.
    auth
        How to log in; credentials go to the base's origin and to no other.
    """

    def __init__(self, base: str, auth: Method = "none") -> None:
        self.base = base.rstrip("/")
        self.clock_offset = dt.timedelta()  # how far the server's clock is ahead, by its last answer
        credentials = Credentials(auth, self.base)
        self.transport = Transport(credentials, classify=classify_http, words=_words_of, at_once=32)

    @contextmanager
    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Iterator[Reply]:
        """Send one request and yield its answer; anything but 2xx is raised in the server's own words.

        A refused token is renewed once; nothing else is repeated here.

        Raises
        ------
        PlatformError
            As ``upscaling.http.transport`` says.
        """
        with self.transport.open(method, url, headers={"Accept": JSON, **(headers or {})}, **options) as reply:
            if "Date" in reply.headers and origin(url) == origin(self.base):
                self.clock_offset = _clock_offset(reply.headers["Date"])
            yield reply

    def send(self, method: str, url: str) -> None:
        """Send one request whose answer does not matter if it is 2xx; raises as ``request``."""
        with self.request(method, url):
            pass

    def download(
        self, href: str, target: Path, *, size: int | None = None, checksum: str = "", media_type: str = ""
    ) -> None:
        """Fetch one file of the results, see ``upscaling.http.download``."""
        download(
            self.transport,
            href,
            target,
            largest=_LARGEST_FILE,
            size=size,
            checksum=checksum,
            media_type=media_type,
            buckets="OGCAPI_S3",
        )


def link_headers(answer: Reply) -> list[dict[str, str]]:
    """Return the Link headers: ``rel``, absolute ``href`` and ``type`` of each."""
    import requests

    header = answer.headers.get("Link", "")
    links = requests.utils.parse_header_links(header) if header else []
    return [
        {"rel": link.get("rel", ""), "href": urljoin(answer.url, link["url"]), "type": link.get("type", "")}
        for link in links
    ]


def save_reply(answer: Reply, path: Path) -> None:
    """Store a body as it comes, and what its headers say, as ``<name>.headers.json`` beside it; the body last."""
    facts = {
        "url": answer.url,
        "status": answer.status_code,
        "type": answer.headers.get("Content-Type", ""),
        "disposition": answer.headers.get("Content-Disposition", ""),
        "links": link_headers(answer),
    }
    write_json(path.with_name(f"{path.name}.headers.json"), facts)
    with written_whole(path) as temporary, temporary.open("wb") as stream:
        size = 0
        for block in answer.blocks():
            size += len(block)
            if size > _LARGEST_FILE:
                raise answer.endless(f"sent an answer that does not end ({size} bytes)")
            stream.write(block)


def is_html(answer: Reply) -> bool:
    """Whether a server sent a page for people although it was asked for JSON."""
    return "html" in str(answer.headers.get("Content-Type", "")).lower()


def loaded(answer: Reply) -> dict[str, Any]:
    """Return the JSON object in a body; an empty one for pygeoapi's ``null`` and for anything else."""
    return _object_in(answer.content())


def small_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one where it holds anything else, or more than a megabyte."""
    return _object_in(path.read_bytes()) if path.stat().st_size <= 1_000_000 else {}


def _object_in(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _words_of(status: int, content: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return code and words of a refusal (RFC 7807, or OGC's own code and description)."""
    names = ("title", "detail", "description", "message", "code")
    words = list(dict.fromkeys(str(content[name]) for name in names if isinstance(content.get(name), str)))
    kind = str(content.get("type") or content.get("code") or "")
    return f"{status} {kind or ' '.join(words)}".strip() if content else None, ": ".join(words)


def _clock_offset(date: str) -> dt.timedelta:
    try:
        return email.utils.parsedate_to_datetime(date) - dt.datetime.now(dt.UTC)
    except (TypeError, ValueError):
        return dt.timedelta()
