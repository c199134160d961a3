"""The way to an openEO platform: one log-in and one pool of connections for all threads of a process.

Requests are never repeated here but for one reason: a token that has expired is renewed, once for all threads, and the
request that it was refused for is sent again (the platform did nothing with it). Everything else is told to the
caller as a PlatformError, which knows whether the platform may have acted and how long it asks to wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import urljoin, urlsplit

from upscaling.backends.openeo.auth import log_in, translated
from upscaling.errors import ConfigError, ErrorClass, PlatformError
from upscaling.http.session import new_session
from upscaling.http.transport import Transport
from upscaling.jobs.failures import classify_http

__all__ = ["Answer", "Session"]

_MOST_PAGES, _MOST_EMPTY = 10_000, 10
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: status, headers, and the JSON of its body (None where there is none)."""

    status: int
    headers: Mapping[str, str]
    content: Any


class Session:
    """Requests to one platform as one user; safe to use from many threads.

    Parameters
    ----------
    url
        Address of the platform, as the user wrote it.
    method
        How to log in: ``none``, ``basic``, ``oidc``, ``bearer``.
    seconds
        Within which a platform must go on answering, and have answered a question.
    """

    def __init__(self, url: str, method: str, *, seconds: float = 120.0) -> None:
        self.url, self._log_in = url, _LogIn(url, method, seconds)
        self.transport = Transport(self._log_in, classify=classify_http, words=_words_of, name=url, seconds=seconds)

    # --- questions ---

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """Return the JSON that a GET answers with, a mapping."""
        content = self.ask("get", path, expected={200}, params=parameters).content
        if not isinstance(content, dict):
            raise PlatformError(f"{self.url} answered {path} with no JSON object", error_class=ErrorClass.TRANSIENT)
        return content

    def pages(
        self, path: str, name: str, see: Callable[[Mapping[str, Any]], object] | None = None, **parameters: Any
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the entries of a list that may be paged, page by page; the end is where nothing new comes.

        Parameters
        ----------
        name
            What the list is called in the answer: ``jobs``, ``logs``, ``processes``, ``collections``.
        see
            Called with each whole answer; it may raise.
        """
        asked, seen, empty = {path}, set[int](), 0
        for number in range(_MOST_PAGES):
            answer = self.get(path, **parameters)
            if see is not None:
                see(answer)
            listed = answer.get(name)
            entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
            marks = _marks(entries) if number else None  # most callers stop at the first page
            empty = 0 if (entries if marks is None else marks - seen) else empty + 1
            if entries and empty:
                return  # nothing new: the list leads back into itself
            yield entries
            links = answer.get("links")
            found = [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []
            following = next((link.get("href") for link in found if link.get("rel") == "next"), None)
            if not following or empty > _MOST_EMPTY:
                return
            path, parameters = self.resolve(following, path), {}
            if path in asked:
                return
            asked.add(path)
            seen |= _marks(entries) if marks is None else marks

    def ask(self, method: str, path: str, *, expected: Collection[int], **options: Any) -> Answer:
        """Send a request and read its answer whole.

        Raises
        ------
        PlatformError
            If there is no answer, another one than ``expected``, or one that does not end.
        """
        with self.transport.open(method, self.address(path), expected=expected, **options) as reply:
            return Answer(reply.status_code, reply.headers, reply.json())

    def address(self, path: str) -> str:
        """Return a path of the API as an address; an address stays as it is."""
        return path if "://" in path else f"{self.root.rstrip('/')}/{path.lstrip('/')}"

    def resolve(self, link: Any, base: str = "") -> str:
        """Return a link of the platform as a full address.

        Raises
        ------
        PlatformError
            If it is not a link, or not one of the web: a link to a file of this machine, say.
        """
        try:
            address = urljoin(urljoin(f"{self.root}/", base.lstrip("/")), str(link))
            place = urlsplit(address)
            usable = place.scheme in {"http", "https"} and place.hostname and place.port != 0
        except ValueError:
            usable, address = False, ""
        if not usable or not isinstance(link, str) or any(ord(sign) < 32 for sign in link):
            raise PlatformError(
                f"{self.url} gives a link that is not valid: {str(link)[:100]!r}", error_class=ErrorClass.OUTPUT
            )
        return address

    @property
    def root(self) -> str:
        """Address of the platform's API, as its version discovery says."""
        return str(self._log_in.ready().root_url)

    def capabilities(self) -> Any:
        """Return what the platform says of itself (``GET /``)."""
        connection = self._log_in.ready()
        with translated(self.url):
            return connection.capabilities()


class _LogIn:
    """Who we are to the platform: the client's connection and its token, one for all threads."""

    def __init__(self, url: str, method: str, seconds: float) -> None:
        self.url, self._method, self._seconds = url, method, seconds
        self._lock = threading.Lock()
        self._connected: Any = None
        self._log_ins = 0
        self._proven = 0  # the log-in whose token the platform has accepted
        self._numbers: dict[str, int] = {}  # token -> number of the log-in that gave it

    def header(self, url: str) -> dict[str, str]:
        """Return the token, for the platform's own addresses only."""
        import requests

        connection = self.ready()
        root = str(connection.root_url).rstrip("/")
        if self._method == "none" or (url != root and not url.startswith(f"{root}/")):
            return {}
        with self._lock:
            request = connection.auth(requests.Request(headers={}))
            sent = {name: str(value) for name, value in request.headers.items()}
            self._numbers.setdefault(sent.get("Authorization", ""), self._log_ins)
            return sent

    def refused(self, sent: Mapping[str, str], error: PlatformError) -> bool:
        """Log in again, once for all threads, if the token that was refused had been good."""
        # Some gateways answer with a page of their own, without a code.
        known = error.code in {"TokenInvalid", "AuthenticationRequired"} and error.status in {401, 403}
        if not known and not (error.status == 401 and error.code is None):
            return False
        number = self._numbers.get(sent.get("Authorization", ""), 0)
        with self._lock:
            if self._log_ins > number:
                return True  # another thread has done it
            if self._method == "bearer":
                raise PlatformError(f"{error}; set a new OPENEO_AUTH_TOKEN", error_class=ErrorClass.AUTH)
            if number - self._proven > 1:
                return False  # two fresh ones were refused: another one would be too
            try:
                self._bounded(lambda: log_in(self._connected, self._method, self.url))
            except ConfigError as reason:
                self._proven = -(10**9)  # not tried again by every thread: accounts are locked for less
                raise PlatformError(str(reason), error_class=ErrorClass.AUTH) from None
            self._log_ins += 1
            return True

    def accepted(self, url: str, sent: Mapping[str, str]) -> None:
        """Note that a token is good: jobs are never listed without one."""
        if "/jobs" in url and sent:
            self._proven = max(self._proven, self._numbers.get(sent.get("Authorization", ""), 0))

    def ready(self) -> Any:
        """Return the client's connection, logged in."""
        with self._lock:
            if self._connected is None:
                self._connected = self._bounded(self._connect)
                self._log_ins = 1
            return self._connected

    def _connect(self) -> Any:
        from openeo.rest.connection import connect

        with translated(self.url, acted=False):
            # Retries are the caller's: the client's would repeat a POST whose outcome is unknown.
            connection = connect(
                self.url,
                session=new_session(self._seconds),
                auto_validate=False,
                retry=False,
                default_timeout=cast("int", self._seconds),
            )
        if self.url.startswith("https://") and not connection.root_url.startswith("https://"):
            raise ConfigError(f"{self.url} refers to an address without encryption", key="backend.url")
        log_in(connection, self._method, self.url)
        return connection

    def _bounded(self, action: Callable[[], _T]) -> _T:
        """Call ``action``, but do not wait for ever: the client talks to identity providers without a time-out."""
        outcome: list[Any] = []

        def work() -> None:
            try:
                outcome.extend((True, action()))
            except BaseException as error:
                outcome.extend((False, error))

        thread = threading.Thread(target=work, name="log-in", daemon=True)
        thread.start()
        thread.join(3 * self._seconds)
        if len(outcome) < 2:
            raise PlatformError(f"the log-in to {self.url} takes too long", error_class=ErrorClass.TRANSIENT)
        if not outcome[0]:
            raise outcome[1]
        return cast("_T", outcome[1])


def _marks(entries: list[dict[str, Any]]) -> set[int]:
    return {hash(repr(entry)) for entry in entries}


def _words_of(status: int, content: Mapping[str, Any]) -> tuple[str | None, str]:  # noqa: ARG001 -- for the transport
    """Return code and words of a refusal, if they are openEO's: what stands before a platform answers otherwise."""
    code, message = content.get("code"), content.get("message")
    code = code if isinstance(code, str) and "message" in content else None
    return code, f"{code}: {message}" if code else str(message or "")
