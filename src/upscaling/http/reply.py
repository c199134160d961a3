"""An answer of a server, read within limits, and what goes wrong on the way as PlatformError."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from upscaling.errors import ErrorClass, PlatformError
from upscaling.util.text import plain_text

if TYPE_CHECKING:
    import requests

__all__ = ["LONGEST_WORDS", "MOST_REDIRECTS", "Reply", "cause_of", "translated"]

LONGEST_WORDS = 500  # characters of a server's message that are passed on
MOST_REDIRECTS = 5
LARGEST_ANSWER = 64 << 20  # bytes of an answer that is no file
_BLOCK = 1 << 16  # bytes; of a connection that breaks, less than this is lost
_SLOWEST = 1000.0  # bytes per second


class Reply:
    """An answer whose body is read as it comes."""

    def __init__(self, answer: requests.Response, name: str, seconds: float) -> None:
        self._answer, self.name, self._seconds = answer, name, seconds
        self.status_code, self.headers, self.url = answer.status_code, answer.headers, str(answer.url)
        self.reason = str(answer.reason or "")

    def close(self) -> None:
        """Give the connection up, or back if the body was read."""
        self._answer.close()

    def blocks(self, *, decode: bool = True) -> Iterator[bytes]:
        """Yield the body as it comes; one that is too slow for longer than the transport's ``seconds`` is given up.

        Parameters
        ----------
        decode
            False for the bytes as they were sent (``Content-Encoding``).
        """
        begun, size = time.monotonic(), 0
        with translated(self.name):
            # Not ``iter_content``: it waits for whole blocks, and a body that trickles in would never be given up.
            while block := self._answer.raw.read1(_BLOCK, decode_content=decode):
                size += len(block)
                yield block
                age = time.monotonic() - begun
                if age > self._seconds and size < _SLOWEST * age:
                    raise self.endless(f"sends too slowly ({size / age:.0f} bytes a second)")

    def content(self, largest: int = LARGEST_ANSWER) -> bytes:
        """Return the body, of ``largest`` bytes at most, which must have come within the transport's ``seconds``."""
        body, begun = bytearray(), time.monotonic()
        for block in self.blocks():
            body += block
            is_late = time.monotonic() - begun > max(self._seconds, len(body) / _SLOWEST / 64)
            if is_late or len(body) > largest:
                raise self.endless(f"sent an answer that does not end ({len(body)} bytes)")
        return bytes(body)

    def json(self, largest: int = LARGEST_ANSWER) -> Any:
        """Return the JSON in the body, None where it is empty."""
        body = self.content(largest)
        if not body.strip():
            return None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise self.endless("answered with something that is not JSON") from None

    def endless(self, words: str) -> PlatformError:
        """Return the error of a body that is of no use."""
        return PlatformError(f"{self.name} {words}", error_class=ErrorClass.TRANSIENT, outcome_unknown=True)


@contextmanager
def translated(name: str, *, acted: bool = True) -> Iterator[None]:
    """Turn what requests and urllib3 raise into PlatformError.

    Parameters
    ----------
    name
        What the message calls the server.
    acted
        Whether the server may have done what it was asked although it did not say so.
    """
    import requests
    import urllib3.exceptions

    try:
        yield
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError) as error:
        words = plain_text(error, LONGEST_WORDS)
        words = words if words.startswith("redirects") else f"is not a valid address ({words})"
        raise PlatformError(f"{name} {words}", error_class=ErrorClass.OUTPUT) from None
    except requests.exceptions.TooManyRedirects:
        raise PlatformError(
            f"{name} redirects more than {MOST_REDIRECTS} times", error_class=ErrorClass.PERMANENT
        ) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise PlatformError(
            f"{name} cannot be reached ({cause_of(error)})",
            error_class=ErrorClass.TRANSIENT,
            outcome_unknown=acted and not _never_sent(error),
        ) from None


def _causes(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    seen: set[int] = set()
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        reason = getattr(following, "reason", None)
        reason = reason or next(iter(following.args), None)
        following = following.__cause__ or following.__context__ or (reason if isinstance(reason, Exception) else None)


def _never_sent(error: BaseException) -> bool:
    """Whether there was no connection, so that nothing can have arrived."""
    import urllib3.exceptions

    kinds = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    return any(isinstance(cause, (*kinds, urllib3.exceptions.NameResolutionError)) for cause in _causes(error))


def cause_of(error: BaseException) -> str:
    """Return the innermost reason: ``Connection refused``, not four layers of urllib3."""
    *_, last = _causes(error)
    return plain_text(getattr(last, "strerror", None) or str(last) or type(last).__name__, LONGEST_WORDS)
