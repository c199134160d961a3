"""Definitions and records from the web, of a size that they can have; and which server an address is of."""

from __future__ import annotations

from urllib.parse import urlsplit

from upscaling.errors import ConfigError

__all__ = ["fetch_text", "origin"]

_LARGEST = 20_000_000  # bytes; the catalogue's largest definition has 0.1 MB


def fetch_text(url: str) -> str:
    """Return the text at a URL, of 20 MB at most.

    Raises
    ------
    ConfigError
        If it cannot be had, or is no text.
    """
    import requests

    try:
        with requests.get(url, timeout=60, stream=True) as reply:
            if not reply.ok:
                raise ConfigError(
                    f"the server answered {reply.status_code} {reply.reason}", file=url, key="algorithm.source"
                )
            body = bytearray()
            for block in reply.iter_content(65536):
                body += block
                if len(body) > _LARGEST:
                    raise ConfigError("is larger than any process definition (20 MB)", file=url, key="algorithm.source")
            return body.decode("utf-8")
    except requests.RequestException as error:
        raise ConfigError(f"cannot be fetched: {type(error).__name__}", file=url, key="algorithm.source") from None
    except UnicodeDecodeError:
        raise ConfigError("is no text", file=url, key="algorithm.source") from None


def origin(url: str) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port, which must be the same for credentials to be sent; None for what is not http(s)."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in {"http", "https"}:
        return None
    return scheme, (parts.hostname or "").lower(), parts.port or {"https": 443, "http": 80}[scheme]
