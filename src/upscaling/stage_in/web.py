"""Documents and files of a catalogue: from http(s) and object storage, and nothing that a catalogue could smuggle in.

A token (``UPSCALING_STAGE_IN_TOKEN``) goes to the catalogue's own host only. Object storage: see ``upscaling.http.s3``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from upscaling.errors import ErrorClass, PlatformError, UpscalingError
from upscaling.http.address import is_remote, origin, shown
from upscaling.http.download import download
from upscaling.http.s3 import read_object
from upscaling.http.transport import BearerToken, Transport
from upscaling.jobs.platform import Patience, patiently

__all__ = ["TOKEN", "FetchError", "Web", "is_remote", "shown", "token_names"]

TOKEN = "UPSCALING_STAGE_IN_TOKEN"  # noqa: S105 -- the name of the variable
_LARGEST_DOCUMENT = 256 << 20  # bytes
_BUCKETS = "UPSCALING_S3"
_PATIENCE = Patience(shortest=2.0, longest=60.0, outage=60.0, tries=5)


class FetchError(UpscalingError):
    """Something named by a catalogue cannot be had; ``passing`` if it may be there later."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


def token_names(catalogues: Sequence[str]) -> list[str]:
    """Return the variable with the token of each catalogue: the first one's is for its own server only."""
    return [
        TOKEN if origin(catalogue) == origin(catalogues[0]) else f"{TOKEN}_{number}"
        for number, catalogue in enumerate(catalogues, 1)
    ]


class Web:
    """Fetches by address.

    Parameters
    ----------
    home
        The catalogue's address: the token is sent to its origin, and to no other.
    token
        Name of the variable that holds it.
    """

    def __init__(self, home: str = "", token: str = TOKEN) -> None:
        self.credentials = BearerToken(home, os.environ.get(token))
        self._transport = Transport(self.credentials)

    def document(self, url: str) -> bytes:
        """Return a document, of 256 MB at most.

        Raises
        ------
        FetchError
            If it cannot be had.
        """
        with _failing():
            if url.startswith("s3://"):
                return read_object(url, _BUCKETS, _LARGEST_DOCUMENT)
            with self._transport.open("GET", url, headers={"Accept": "application/json, */*"}) as reply:
                return reply.content(_LARGEST_DOCUMENT)

    def file(self, url: str, target: Path, **declared: Any) -> None:
        """Bring a file to ``target``, and try again while a fault may pass.

        Parameters
        ----------
        declared
            Of the file, see ``upscaling.http.download``.

        Raises
        ------
        FetchError
            If it does not arrive, or is not what is declared of it.
        """
        with _failing():
            patiently(lambda: download(self._transport, url, target, buckets=_BUCKETS, **declared), _PATIENCE)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except PlatformError as error:
        raise FetchError(str(error), passing=error.error_class is ErrorClass.TRANSIENT) from None
