"""The way to servers: every HTTP session of this package is opened here, under the same rules.

A password of ``~/.netrc`` is never sent. Credentials go to the origin that they are for. A redirect never leads from
https to http, nor out of the web. No answer is read without a limit of bytes, and none that only trickles in. A
request is never repeated here but for one reason: a refused token was renewed, and the server did nothing. Everything
else is raised as PlatformError, which says whether the server may have acted and how long it asks to wait.
"""

from __future__ import annotations

import email.utils
import json
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from upscaling.errors import ErrorClass, PlatformError
from upscaling.http.address import is_web, origin, shown
from upscaling.http.reply import LONGEST_WORDS, Reply, translated
from upscaling.http.session import ANSWER_SECONDS, CONNECT_SECONDS, new_session
from upscaling.util.text import plain_text

if TYPE_CHECKING:
    pass

__all__ = [
    "TRANSIENT_STATUS",
    "BearerToken",
    "Credentials",
    "Reply",
    "Transport",
    "new_session",
    "retry_after",
    "status_class",
    "translated",
]

TRANSIENT_STATUS = frozenset({408, 425, 429, *range(500, 600)} - {501, 505, 506, 508, 510, 511})
_OUTCOME_UNKNOWN = frozenset({408, *range(500, 600)})  # the server, or what stands behind its gateway, may have acted
_DONE = range(200, 300)  # where it is not the answer that was asked for, it may come later
_LARGEST_REFUSAL = 1 << 20  # bytes
_LONGEST_WAIT = 10**9  # s
_WORDS = ("title", "detail", "description", "message", "error_description", "error", "code")
Words = Callable[[int, Mapping[str, Any]], tuple[str | None, str]]


class Credentials(Protocol):
    """Who we are to a server."""

    def header(self, url: str) -> Mapping[str, str]:
        """Return the headers that a request to an address gets; none for an address that they are not for."""

    def refused(self, sent: Mapping[str, str], error: PlatformError) -> bool:
        """Return whether the request may be sent again with new headers, as these were refused."""

    def accepted(self, url: str, sent: Mapping[str, str]) -> None:
        """Note that an address was answered with what was asked for."""


class BearerToken:
    """One token for one origin; nobody without a token.

    Parameters
    ----------
    home
        An address of the server that the token is for.
    """

    def __init__(self, home: str = "", token: str | None = None) -> None:
        self._origin, self._token = origin(home), token

    def header(self, url: str) -> Mapping[str, str]:
        """Return the token for its own origin, else nothing."""
        return {"Authorization": f"Bearer {self._token}"} if self._token and origin(url) == self._origin else {}

    def refused(self, sent: Mapping[str, str], error: PlatformError) -> bool:  # noqa: ARG002 -- as Credentials
        """Return False: there is no other token."""
        return False

    def accepted(self, url: str, sent: Mapping[str, str]) -> None:
        """Do nothing: the token stays as it is."""


class Transport:
    """Requests to servers as one user; safe to use from many threads.

    Parameters
    ----------
    credentials
        Who we are; nobody if not given.
    classify
        Class of a refusal by its status and the server's own code for it.
    words
        Code and message of a refusal, from its status and the JSON object in its body.
    name
        What messages call the server, instead of the request's address.
    seconds
        Within which a server must go on answering, and have answered a question.
    at_once
        Requests at the same time; downloads are counted apart.
    """

    def __init__(
        self,
        credentials: Credentials | None = None,
        *,
        classify: Callable[[int, str | None], ErrorClass] | None = None,
        words: Words | None = None,
        name: str = "",
        seconds: float = ANSWER_SECONDS,
        at_once: int = 16,
    ) -> None:
        self.credentials: Credentials = credentials or BearerToken()
        self._classify, self._words, self._name = classify or status_class, words or _words_of, name
        self.seconds = seconds
        self.session = new_session(seconds, pool=2 * at_once)
        self._questions, self._downloads = (threading.BoundedSemaphore(at_once) for _ in range(2))

    @contextmanager
    def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        expected: Collection[int] | None = None,
        seconds: float | None = None,
        download: bool = False,
        **options: Any,
    ) -> Iterator[Reply]:
        """Send a request and yield its answer, the body still to be read.

        Parameters
        ----------
        expected
            Status codes that are an answer; 2xx if not given.
        seconds
            Of silence that are borne, if others than the transport's.
        download
            Whether a file is asked for.
        options
            ``params``, ``json``, ``data`` as requests takes them.

        Raises
        ------
        PlatformError
            If there is no answer, or another one than ``expected``, with the server's own words.
        """
        with ExitStack() as stack:
            stack.enter_context(self._downloads if download else self._questions)
            for last in (False, False, True):  # a platform of several machines may not know a new token everywhere
                sent = self.credentials.header(url)
                reply = self._send(method, url, {**(headers or {}), **sent}, seconds, options)
                with ExitStack() as closing:
                    closing.callback(reply.close)
                    error = self._refusal(reply, expected)
                    if error is not None and (last or not sent or not self.credentials.refused(sent, error)):
                        raise error
                    if error is None:
                        stack.push(closing.pop_all())
                        break
            self.credentials.accepted(url, sent)
            yield reply

    def json(self, method: str, url: str, *, expected: Collection[int] | None = None, **options: Any) -> Any:
        """Return the JSON of an answer, None where its body is empty.

        Raises
        ------
        PlatformError
            As ``open``; ``transient`` if the answer is not JSON or does not end.
        """
        with self.open(method, url, expected=expected, **options) as reply:
            return reply.json()

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], seconds: float | None, options: dict[str, Any]
    ) -> Reply:
        name = self._name or shown(url)
        if not is_web(url):  # file: would read this machine's own files
            raise PlatformError(f"{shown(url)} is not an address of the web", error_class=ErrorClass.OUTPUT)
        silence = self.seconds if seconds is None else seconds
        with translated(name):
            answer = self.session.request(
                method.upper(),
                url,
                headers=dict(headers),
                timeout=(min(CONNECT_SECONDS, silence), silence),
                # A redirected POST becomes a GET, and nobody knows what was done.
                allow_redirects=method.upper() == "GET",
                stream=True,
                **options,
            )
        return Reply(answer, name, silence)

    def _refusal(self, reply: Reply, expected: Collection[int] | None) -> PlatformError | None:
        """Make an error of an answer that was not wanted, with the server's own code and words."""
        status = reply.status_code
        if status in expected if expected is not None else 200 <= status < 300:
            return None
        if 300 <= status < 400 and "Location" in reply.headers:
            target = shown(reply.headers["Location"])
            words = f"{reply.name} has moved to {target}; name that in the configuration"
            return PlatformError(words, error_class=ErrorClass.PERMANENT, status=status)
        try:
            content = reply.content(_LARGEST_REFUSAL)
        except PlatformError:
            content = b""
        code, said = self._words(status, _object_in(content)) if content else (None, "")
        said = plain_text(said or reply.reason, LONGEST_WORDS)
        return PlatformError(
            f"{reply.name} answered {status}: {said}",
            error_class=self._classify(status, code),
            outcome_unknown=status in _OUTCOME_UNKNOWN or status in _DONE,
            retry_after=retry_after(reply.headers.get("Retry-After")),
            code=code,
            status=status,
        )


def status_class(status: int, code: str | None = None) -> ErrorClass:  # noqa: ARG001 -- by status alone
    """Return the class of a refusal from its HTTP status."""
    if status in TRANSIENT_STATUS or status in _DONE:
        return ErrorClass.TRANSIENT
    return {401: ErrorClass.AUTH, 402: ErrorClass.QUOTA, 403: ErrorClass.AUTH}.get(status, ErrorClass.PERMANENT)


def retry_after(text: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks to wait: a number, or a date."""
    if text is None:
        return None
    try:
        seconds = float(text)
        return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_WAIT)
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _object_in(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object in a body; an empty one for anything else."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _words_of(status: int, content: Mapping[str, Any]) -> tuple[str | None, str]:  # noqa: ARG001 -- as Words
    """Return the code and the words of a refusal (RFC 7807, OGC API, STAC API, OAuth)."""
    words = list(dict.fromkeys(str(content[name]) for name in _WORDS if isinstance(content.get(name), str)))
    code = content.get("code")
    return (code if isinstance(code, str) else None), ": ".join(words)
