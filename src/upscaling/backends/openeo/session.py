"""The way to an openEO platform: one log-in and one pool of connections for all threads of a process.

Requests are never repeated here but for one reason: a token that has expired is renewed, once for all threads, and the
request that it was refused for is sent again (the platform did nothing with it). Everything else is told to the
caller as a PlatformError, which knows whether the platform may have acted and how long it asks to wait.
"""

from __future__ import annotations

import email.utils
import json
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import urljoin, urlsplit

from upscaling.backends.openeo.auth import LONGEST_WORDS, log_in, plain_words, translated
from upscaling.errors import ConfigError, ErrorClass
from upscaling.jobs.failures import classify_http
from upscaling.jobs.remote_job import PlatformError

__all__ = ["Answer", "Session"]

_UNKNOWN_OUTCOME = {408, *range(500, 600)}  # the platform, or what stands behind its gateway, may have acted
_LARGEST_ANSWER = 64 << 20  # bytes of JSON
_AT_ONCE = 16  # requests of this process at the same time, however many tiles wait; as many downloads beside them
_BLOCK = 1 << 20
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
        self.url, self._method, self._seconds = url, method, seconds
        self._lock = threading.Lock()
        self._places, self._lanes = (threading.BoundedSemaphore(_AT_ONCE) for _ in range(2))
        self._connected: Any = None
        self._log_ins = 0
        self._proven = 0  # the log-in whose token the platform has accepted

    # --- questions ---

    def get(self, path: str, **parameters: Any) -> Any:
        """Return the JSON that a GET answers with, a mapping."""
        content = self.ask("get", path, expected={200}, params=parameters).content
        if not isinstance(content, dict):
            raise PlatformError(f"{self.url} answered {path} with no JSON object", error_class=ErrorClass.TRANSIENT)
        return content

    def ask(self, method: str, path: str, *, expected: Collection[int], **options: Any) -> Answer:
        """Send a request and read its answer whole.

        Raises
        ------
        PlatformError
            If there is no answer, another one than ``expected``, or one that does not end.
        """
        with self._places, self._open(method, path, expected, options) as reply:
            return Answer(reply.status_code, reply.headers, self._json(reply))

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str], expected: Collection[int]) -> Iterator[Any]:
        """Open the answer to a GET, for a file; read it with ``blocks``."""
        with self._lanes, self._open("get", path, expected, {"headers": dict(headers)}) as reply:
            yield reply

    def blocks(self, reply: Any, slowest: float = 1000.0) -> Iterator[bytes]:
        """Yield the body of an answer as it comes.

        Parameters
        ----------
        slowest
            Bytes per second; a body that comes more slowly for longer than the session's ``seconds`` is given up.
        """
        begun, size = time.monotonic(), 0
        with translated(self.url):
            # Not ``iter_content``: it waits for whole blocks, and a body that trickles in would never be given up.
            while block := reply.raw.read1(_BLOCK, decode_content=True):
                size += len(block)
                yield block
                age = time.monotonic() - begun
                if age > self._seconds and size < slowest * age:
                    raise PlatformError(
                        f"{self.url} sends too slowly ({size / age:.0f} bytes a second)",
                        error_class=ErrorClass.TRANSIENT,
                        outcome_unknown=True,
                    )

    def resolve(self, link: Any, base: str = "") -> str:
        """Return a link of the platform as a full address.

        Raises
        ------
        PlatformError
            If it is none, or not one of the web: a link to a file of this machine, say.
        """
        try:
            address = urljoin(urljoin(f"{self.root}/", base.lstrip("/")), str(link))
            place = urlsplit(address)
            usable = place.scheme in {"http", "https"} and place.hostname and place.port != 0
        except ValueError:
            usable, address = False, ""
        if not usable or not isinstance(link, str) or any(ord(sign) < 32 for sign in link):
            raise PlatformError(
                f"{self.url} gives a link that is none: {str(link)[:100]!r}", error_class=ErrorClass.OUTPUT
            )
        return address

    @property
    def root(self) -> str:
        """Address of the platform's API, as its version discovery says."""
        return str(self._ready()[0].root_url)

    def capabilities(self) -> Any:
        """Return what the platform says of itself (``GET /``)."""
        connection, _ = self._ready()
        with translated(self.url):
            return connection.capabilities()

    # --- the way there ---

    @contextmanager
    def _open(self, method: str, path: str, expected: Collection[int], options: dict[str, Any]) -> Iterator[Any]:
        from openeo.rest.auth.auth import NullAuth

        connection, log_in_number = self._ready()
        ours = "://" not in path or path.startswith(f"{connection.root_url.rstrip('/')}/")
        if not ours:
            options = {**options, "auth": NullAuth()}  # not even what ~/.netrc has for another host
        reply = self._send(connection, method, path, options)
        try:
            if ours and reply.status_code in {401, 403} and self._method != "none":
                refusal = self._refusal(reply)
                if refusal.code not in {"TokenInvalid", "AuthenticationRequired"}:
                    raise refusal
                log_in_number = self._renew(log_in_number, refusal)
                reply.close()
                reply = self._send(connection, method, path, options)
            if reply.status_code not in expected:
                raise self._refusal(reply)
            if path.startswith("/jobs"):  # never answered without a token
                self._proven = max(self._proven, log_in_number)
            yield reply
        finally:
            reply.close()

    def _send(self, connection: Any, method: str, path: str, options: dict[str, Any]) -> Any:
        with translated(self.url):
            # The client adds the token, and only for addresses below the platform's own.
            return connection.request(
                method, path, check_error=False, stream=True, allow_redirects=method == "get", **options
            )

    def _json(self, reply: Any) -> Any:
        body, begun = bytearray(), time.monotonic()
        for block in self.blocks(reply):
            body += block
            if len(body) > _LARGEST_ANSWER or time.monotonic() - begun > self._seconds:
                raise PlatformError(
                    f"{self.url} sent an answer that does not end ({len(body)} bytes)",
                    error_class=ErrorClass.TRANSIENT,
                    outcome_unknown=True,
                )
        if not body.strip():
            return None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise PlatformError(
                f"{self.url} answered with something that is not JSON",
                error_class=ErrorClass.TRANSIENT,
                outcome_unknown=True,
            ) from None

    def _refusal(self, reply: Any) -> PlatformError:
        """Make an error of an answer that was not wanted, with the platform's own code and words."""
        status = int(reply.status_code)
        try:
            said = self._json(reply)
        except PlatformError:
            said = None
        said = said if isinstance(said, dict) else {}
        code = said["code"] if isinstance(said.get("code"), str) and "message" in said else None
        words = plain_words(said.get("message", reply.reason))[:LONGEST_WORDS]
        return PlatformError(
            f"{self.url} answered {status} {code or ''}: {words}",
            error_class=classify_http(status, code),
            outcome_unknown=status in _UNKNOWN_OUTCOME,
            retry_after=_seconds_of(reply.headers.get("Retry-After")),
            code=code,
            status=status,
        )

    # --- who we are ---

    def _ready(self) -> tuple[Any, int]:
        """Return the connection, logged in, and the number of its log-in."""
        with self._lock:
            if self._connected is None:
                self._connected = self._bounded(self._connect)
                self._log_ins = 1
            return self._connected, self._log_ins

    def _connect(self) -> Any:
        import requests.adapters
        from openeo.rest.connection import connect

        with translated(self.url, acted=False):
            # Retries are ours: the client's would repeat a POST whose outcome is unknown.
            session = _session()
            for scheme in ("https://", "http://"):
                session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=2 * _AT_ONCE))
            connection = connect(
                self.url, session=session, auto_validate=False, retry=False, default_timeout=cast("int", self._seconds)
            )
        if self.url.startswith("https://") and not connection.root_url.startswith("https://"):
            raise ConfigError(f"{self.url} refers to an address without encryption", key="backend.url")
        log_in(connection, self._method, self.url)
        return connection

    def _renew(self, refused: int, refusal: PlatformError) -> int:
        """Log in again, once for all threads, if the token that was refused had been good; return its number."""
        with self._lock:
            if self._log_ins > refused:
                return self._log_ins  # another thread has done it
            if self._method == "bearer":
                raise PlatformError(f"{refusal}; set a new OPENEO_AUTH_TOKEN", error_class=ErrorClass.AUTH)
            if refused - self._proven > 1:
                raise refusal  # two fresh ones were refused: another one would be too
            try:
                self._bounded(lambda: log_in(self._connected, self._method, self.url))
            except ConfigError as error:
                self._proven = -(10**9)  # not tried again by every thread: accounts are locked for less
                raise PlatformError(str(error), error_class=ErrorClass.AUTH) from None
            self._log_ins += 1
            return self._log_ins

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


def _session() -> Any:
    import requests

    class OnlyOurs(requests.Session):
        def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
            """After a redirect: drop the token for another host, and add nothing (requests asks ~/.netrc)."""
            if self.should_strip_auth(response.request.url, prepared_request.url):  # type: ignore[no-untyped-call]
                prepared_request.headers.pop("Authorization", None)

    return OnlyOurs()


def _seconds_of(text: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks to wait: a number, or a date."""
    if text is None:
        return None
    if text.strip().isdigit():
        return float(text.strip()[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
