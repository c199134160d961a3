"""Requests to an OGC API - Processes server: who asks, what a refusal means, and bodies kept as they came."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from upscaling.backends.ogcapi.auth import Credentials, Method, without_secrets
from upscaling.errors import ErrorClass
from upscaling.http.web import origin
from upscaling.jobs.failures import classify_http
from upscaling.jobs.remote_job import PlatformError
from upscaling.util.files import is_as_declared, write_json, written_whole

if TYPE_CHECKING:
    import requests

__all__ = [
    "JSON",
    "Transport",
    "is_html",
    "link_headers",
    "loaded",
    "printable",
    "save_reply",
    "small_json",
    "translated",
]

JSON = "application/json"
_UNKNOWN_OUTCOME = {408, *range(500, 600)}  # the platform, or what stands behind its gateway, may have acted
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LARGEST_FILE = 64 << 30  # bytes; more than any tile, less than a disk
_CONNECT_SECONDS, _ANSWER_SECONDS = 30.0, 120.0


class Transport:
    """One server, and who we are to it.

    Parameters
    ----------
    base
        Its landing page.
    auth
        How to log in; credentials go to the base's origin and to no other.
    """

    def __init__(self, base: str, auth: Method = "none") -> None:
        import requests
        from requests.adapters import HTTPAdapter

        self.base = base.rstrip("/")
        self._credentials = Credentials(auth, self.base)
        self.clock_offset = dt.timedelta()  # by how much the server's clock is ahead of ours, as it last said
        self._session = requests.Session()
        self._session.auth = _no_netrc
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=64))

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float = _ANSWER_SECONDS,
        **options: Any,
    ) -> requests.Response:
        """Send one request; anything but 2xx is raised as PlatformError with the server's own words.

        A refused token is renewed once; nothing else is repeated here.
        """
        for attempt in (1, 2):
            sent = {"Accept": JSON, **(headers or {}), **self._credentials.header(url)}
            with translated(url):
                answer = self._session.request(
                    method,
                    url,
                    headers=sent,
                    timeout=(_CONNECT_SECONDS, seconds),
                    # A redirected POST becomes a GET, and nobody knows what was done.
                    allow_redirects=method == "GET",
                    **options,
                )
            if answer.status_code != 401 or attempt == 2 or not self._credentials.forget():
                break
        if "Date" in answer.headers and origin(url) == origin(self.base):
            self.clock_offset = _clock_offset(answer.headers["Date"])
        if answer.ok and not answer.is_redirect:
            return answer
        with answer:
            raise _refused(answer)

    def download(self, href: str, target: Path, *, size: int | None = None, checksum: str = "") -> None:
        """Fetch one file: into ``.part``, continued where an earlier try broke off, checked, then renamed.

        Parameters
        ----------
        size, checksum
            What is declared of it: bytes, and a multihash (only sha2-256 is checked).

        Raises
        ------
        PlatformError
            If it does not arrive whole; calling again continues it.
        """
        if target.is_file() and size is not None and is_as_declared(target, size, checksum):
            return
        part = target.with_name(f"{target.name}.part")
        have = part.stat().st_size if part.is_file() else 0
        headers = {"Accept": "*/*", **({"Range": f"bytes={have}-"} if have else {})}
        try:
            answer = self.request("GET", href, headers=headers, stream=True)
        except PlatformError as error:
            if have and "answered 416" in str(error):
                part.unlink()  # longer than the file: not a part of it
                raise PlatformError(str(error), error_class=ErrorClass.TRANSIENT) from None
            raise
        with answer, translated(href.partition("?")[0]):
            resumed = have > 0 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            length = answer.headers.get("Content-Length", "")
            expected = size
            if size is None and length.isdigit() and not answer.headers.get("Content-Encoding"):
                expected = int(length) + (have if resumed else 0)
            written = have if resumed else 0
            with part.open("ab" if resumed else "wb") as stream:
                for block in answer.iter_content(1 << 20):
                    written += len(block)
                    if written > (_LARGEST_FILE if expected is None else expected):
                        break
                    stream.write(block)
                stream.flush()
                os.fsync(stream.fileno())
        if expected is not None and written < expected:
            raise PlatformError(
                f"a download broke off ({written} of {expected} bytes)", error_class=ErrorClass.TRANSIENT
            )
        if not is_as_declared(part, expected, checksum) or (expected is not None and written > expected):
            part.unlink()  # all there, but wrong: continuing it cannot help
            raise PlatformError("a download is not what was declared of it", error_class=ErrorClass.TRANSIENT)
        part.replace(target)


def printable(text: str) -> str:
    """Return a server's words as one line that is safe to print: without colours, other controls and our secrets."""
    line = " ".join(_COLOURS.sub("", text).split())
    return without_secrets("".join(sign for sign in line if sign.isprintable()))


def _no_netrc(request: Any) -> Any:
    """Add nothing: without this requests would look for a password in ~/.netrc, for any host."""
    return request


def link_headers(answer: requests.Response) -> list[dict[str, str]]:
    """Return the Link headers: ``rel``, absolute ``href`` and ``type`` of each."""
    import requests

    header = answer.headers.get("Link", "")
    links = requests.utils.parse_header_links(header) if header else []
    return [
        {"rel": link.get("rel", ""), "href": urljoin(answer.url, link["url"]), "type": link.get("type", "")}
        for link in links
    ]


def save_reply(answer: requests.Response, path: Path) -> None:
    """Store a body as it comes, and what its headers say, as ``<name>.headers.json`` beside it; the body last."""
    facts = {
        "url": answer.url,
        "status": answer.status_code,
        "type": answer.headers.get("Content-Type", ""),
        "disposition": answer.headers.get("Content-Disposition", ""),
        "links": link_headers(answer),
    }
    write_json(path.with_name(f"{path.name}.headers.json"), facts)
    with translated(answer.url), written_whole(path) as temporary, temporary.open("wb") as stream:
        for block in answer.iter_content(1 << 20):
            stream.write(block)


def is_html(answer: requests.Response) -> bool:
    """Whether a server sent a page for people although it was asked for JSON."""
    return "html" in str(answer.headers.get("Content-Type", "")).lower()


def loaded(answer: requests.Response) -> dict[str, Any]:
    """Return the JSON object in a body; an empty one for pygeoapi's ``null`` and for anything else."""
    with translated(answer.url):
        text = answer.content
    try:
        content = json.loads(text or b"{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def small_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one where it holds anything else, or more than a megabyte."""
    if path.stat().st_size > 1_000_000:
        return {}
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _refused(answer: requests.Response) -> PlatformError:
    """Make the error of an answer, in the server's words (RFC 7807, or OGC's own code and description)."""
    if answer.is_redirect:
        return PlatformError(
            f"{answer.url} has moved to {answer.headers.get('Location')}; name that in backend.url",
            error_class=ErrorClass.PERMANENT,
        )
    content = loaded(answer)
    names = ("title", "detail", "description", "message", "code")
    words = list(dict.fromkeys(str(content[name]) for name in names if isinstance(content.get(name), str)))
    kind = str(content.get("type") or content.get("code") or "")
    code = f"{answer.status_code} {kind or ' '.join(words)}".strip() if content else None
    status = answer.status_code
    wait = answer.headers.get("Retry-After", "")
    return PlatformError(
        printable(f"{answer.url} answered {status}: {': '.join(words) or answer.reason}"),
        error_class=classify_http(status, code),
        outcome_unknown=status in _UNKNOWN_OUTCOME,
        retry_after=float(wait) if wait.isdigit() else None,
        code=code,
    )


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn what requests raises into PlatformError; a request that never left has a known outcome."""
    import requests
    from urllib3.exceptions import NameResolutionError, NewConnectionError

    try:
        yield
    except requests.RequestException as error:
        inner: Any = error
        never_left = isinstance(error, requests.exceptions.ConnectTimeout)
        while inner is not None:
            never_left = never_left or isinstance(inner, (NewConnectionError, NameResolutionError))
            reason = getattr(inner, "reason", None) or next(iter(getattr(inner, "args", ())), None)
            following = inner.__cause__ or inner.__context__
            inner = following or (reason if isinstance(reason, BaseException) else None)
        raise PlatformError(
            without_secrets(f"{url} cannot be reached ({type(error).__name__})"),
            error_class=ErrorClass.TRANSIENT,
            outcome_unknown=not never_left,
        ) from None


def _clock_offset(date: str) -> dt.timedelta:
    try:
        return email.utils.parsedate_to_datetime(date) - dt.datetime.now(dt.UTC)
    except (TypeError, ValueError):
        return dt.timedelta()
