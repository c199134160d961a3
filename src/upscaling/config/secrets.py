"""Addresses of a configuration: none holds a password, token or signature, as the run's files are copies of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from upscaling.errors import ConfigError
from upscaling.http.address import is_remote, secret_in

__all__ = ["refuse_secrets"]

_INSTEAD = {
    "algorithm": "download the file and name its path",
    "area": "download the file and name its path",
    "backend": "log-in data come from the environment (backend.auth)",
    "for_each": "a token comes from UPSCALING_STAGE_IN_TOKEN",
    "stage_in": "a token comes from UPSCALING_STAGE_IN_TOKEN",
    "publish": "a token comes from UPSCALING_STAC_TOKEN, keys of buckets from AWS_ACCESS_KEY_ID and so on",
}


def refuse_secrets(values: Mapping[str, Any]) -> None:
    """See that no address in a configuration holds a secret; the message does not repeat it.

    Raises
    ------
    ConfigError
        One does.
    """
    for keys, text in _texts(values, ()):
        found = secret_in(text)
        if not found and keys == ("backend", "url") and is_remote(text) and "?" in text:
            found = "a query"
        if found:
            instead = _INSTEAD.get(keys[0], "it comes from the environment")
            if keys[:2] == ("algorithm", "parameters"):
                instead = "write ${env:NAME} and set NAME in the environment"
            raise ConfigError(f"is an address with credentials in it ({found}); {instead}", key=".".join(keys))


def _texts(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every text of a configuration that may be an address, with its keys."""
    if isinstance(value, str):
        if "://" in value:
            yield keys, value
    elif isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _texts(entry, (*keys, str(name)))
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            yield from _texts(entry, (*keys, str(number)))
