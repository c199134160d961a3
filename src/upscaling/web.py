"""Definitions and records from the web, of a size that they can have."""

from __future__ import annotations

from upscaling.errors import ConfigError

__all__ = ["fetch_text"]

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
