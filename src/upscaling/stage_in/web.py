"""Documents and files of a catalogue: from http(s) and object storage, and nothing that a catalogue could smuggle in.

A token (``UPSCALING_STAGE_IN_TOKEN``) goes to the catalogue's own host only. Object storage: see ``upscaling.http.s3``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from upscaling.errors import UpscalingError
from upscaling.http.web import origin

if TYPE_CHECKING:
    import requests

__all__ = ["TOKEN", "FetchError", "Web", "is_remote", "shown"]

TOKEN = "UPSCALING_STAGE_IN_TOKEN"  # noqa: S105 -- the name of the variable
_TIMES_OUT = (30.0, 120.0)  # s to connect, s of silence
_MOST_REDIRECTS = 5
_LARGEST_DOCUMENT = 256 << 20  # bytes
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_BLOCK = 1 << 16  # bytes; of a connection that breaks, less than this is lost


class FetchError(UpscalingError):
    """Something named by a catalogue cannot be had; ``passing`` if it may be there later."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


def is_remote(href: str) -> bool:
    """Whether an address is of the web or of object storage."""
    return urlsplit(href).scheme.lower() in {"http", "https", "s3"}


def shown(href: str) -> str:
    """Return an address without its query, which may be a signature."""
    return "".join(character for character in href.partition("?")[0][:200] if character.isprintable())


class Web:
    """Fetches by address.

    Parameters
    ----------
    home
        The catalogue's address: the token is sent to its origin, and to no other.
    """

    def __init__(self, home: str = "") -> None:
        import requests

        self._home = origin(home)
        self._session = requests.Session()
        self._session.auth = _nobody

    def headers_for(self, url: str) -> dict[str, str]:
        """Return what tells a host who asks."""
        token = os.environ.get(TOKEN)
        return {"Authorization": f"Bearer {token}"} if token and self._home and origin(url) == self._home else {}

    def document(self, url: str) -> bytes:
        """Return a document, of 256 MB at most.

        Raises
        ------
        FetchError
            If it cannot be had.
        """
        if url.startswith("s3://"):
            return b"".join(_of_bucket(url, 0, _LARGEST_DOCUMENT))
        body = bytearray()
        with self._answer(url, {"Accept": "application/json, */*"}) as answer, _failing(url):
            for block in answer.iter_content(_BLOCK):
                body += block
                if len(body) > _LARGEST_DOCUMENT:
                    raise FetchError(f"{shown(url)} is larger than {_LARGEST_DOCUMENT >> 20} MB")
        return bytes(body)

    def file(self, url: str, target: Path, *, largest: int, size: int | None = None) -> None:
        """Write a file to ``target``, continuing what is there; whole, as far as anybody said how long it is.

        Parameters
        ----------
        largest
            Bytes; more are not written.
        size
            Bytes that the catalogue declares.

        Raises
        ------
        FetchError
            If it does not arrive, or is longer than declared; ``target`` may then hold a part.
        """
        have = target.stat().st_size if target.is_file() else 0
        if size is not None and have > size:
            target.unlink()
            have = 0
        most = largest if size is None else min(largest, size)
        if url.startswith("s3://"):
            with target.open("wb") as stream:  # small enough a loss to begin anew
                stream.writelines(_of_bucket(url, size, most))
            return
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
        with self._answer(url, headers) as answer:
            if answer.status_code == 416:
                target.unlink()  # longer than the file: not a part of it
                raise FetchError(f"{shown(url)} is not what it was when its download began", passing=True)
            resumed = have > 0 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            written = have if resumed else 0
            length = answer.headers.get("Content-Length", "")
            whole = written + int(length) if length.isdigit() else None
            _not_more(url, whole, most, size)
            with target.open("ab" if resumed else "wb") as stream, _failing(url):
                for block in answer.iter_content(_BLOCK):
                    written += len(block)
                    _not_more(url, written, most, size)
                    stream.write(block)
        if whole is not None and written < whole:
            raise FetchError(f"the download of {shown(url)} broke off ({written} of {whole} bytes)", passing=True)

    def _answer(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Return a good answer, following redirects, but not from https to http nor out of the web."""
        for _ in range(_MOST_REDIRECTS):
            if urlsplit(url).scheme.lower() not in {"http", "https"}:
                # file: would read this machine's own files into a tile
                raise FetchError(f"{shown(url)} is no address of the web or of object storage")
            with _failing(url):
                answer = self._session.get(
                    url,
                    headers={**headers, **self.headers_for(url)},
                    timeout=_TIMES_OUT,
                    allow_redirects=False,
                    stream=True,
                )
            if answer.is_redirect:
                following = urljoin(url, answer.headers["Location"])
                answer.close()
                if url.lower().startswith("https:") and not following.lower().startswith("https:"):
                    raise FetchError(f"{shown(url)} redirects out of https, to {shown(following)}")
                url = following
                continue
            if answer.ok or answer.status_code == 416:
                return answer
            answer.close()
            passing = answer.status_code in _PASSING
            raise FetchError(f"{shown(url)} answered {answer.status_code} {answer.reason}", passing=passing)
        raise FetchError(f"{shown(url)} redirects more than {_MOST_REDIRECTS} times")


def _not_more(url: str, found: int | None, most: int, declared: int | None) -> None:
    if found is not None and found > most:
        said = f"the {declared} bytes that the catalogue declares" if declared == most else f"{most / 1e9:g} GB"
        raise FetchError(f"{shown(url)} is larger than {said}")


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add nothing: without this requests would look for a password in ~/.netrc, for any host."""
    return request


@contextmanager
def _failing(url: str) -> Iterator[None]:
    import requests

    try:
        yield
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError):
        raise FetchError(f"{shown(url)} is no address") from None
    except requests.RequestException as error:
        raise FetchError(f"{shown(url)} cannot be reached ({type(error).__name__})", passing=True) from None


def _of_bucket(href: str, size: int | None, most: int) -> Iterator[bytes]:
    import obstore
    from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError

    from upscaling.http.s3 import bucket_store

    try:
        store, key = bucket_store(href, "UPSCALING_S3")
        answer = obstore.get(store, key)
        _not_more(href, int(answer.meta["size"]), most, size)
        for block in answer.stream(min_chunk_size=8 << 20):
            yield bytes(block)
    except (PermissionDeniedError, UnauthenticatedError):
        name = href.removeprefix("s3://").partition("/")[0]
        raise FetchError(
            f"no access to bucket {name}; set UPSCALING_S3_<BUCKET>_ACCESS_KEY_ID and _SECRET_ACCESS_KEY"
        ) from None
    except (NotFoundError, FileNotFoundError):
        raise FetchError(f"{shown(href)} is not there") from None
    except BaseError:
        raise FetchError(f"{shown(href)} cannot be read from object storage", passing=True) from None
