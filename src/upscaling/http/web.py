"""Definitions and records from the web, of a size that they can have."""

from __future__ import annotations

from upscaling.errors import ConfigError, PlatformError
from upscaling.http.address import shown
from upscaling.http.transport import Transport

__all__ = ["fetch_text"]

_LARGEST = 20_000_000  # bytes; the catalogue's largest definition has 0.1 MB
_SECONDS = 60.0


def fetch_text(url: str) -> str:
    """Return the text at a URL, of 20 MB at most.

    Raises
    ------
    ConfigError
        If it cannot be had, or is not text.
    """
    place = shown(url)
    try:
        with Transport(seconds=_SECONDS, name="the server").open("GET", url, headers={"Accept": "*/*"}) as reply:
            return reply.content(_LARGEST).decode("utf-8")
    except PlatformError as error:
        words = str(error) if error.status else f"cannot be fetched: {error}"
        raise ConfigError(words, file=place, key="algorithm.source") from None
    except UnicodeDecodeError:
        raise ConfigError("is not text", file=place, key="algorithm.source") from None
