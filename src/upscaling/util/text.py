"""Texts that others wrote, made fit to be shown or kept: one printable line, without secrets."""

from __future__ import annotations

import os
import re
from typing import Any

__all__ = ["keep_secret", "plain_text", "redact"]

_SECRET_VARIABLE = re.compile(r"(?:OPENEO|OGCAPI|UPSCALING|AWS)_.*(?:PASSWORD|TOKEN|SECRET|SECRET_ACCESS_KEY)")
_USER_INFO = re.compile(r"(?<=://)[^\s/?#@'\"]+(?:@[^\s/?#@'\"]*)*@")
_QUERY = re.compile(r"(?<=[A-Za-z0-9/._~%-])\?[^\s'\"<>)\]},;]*=[^\s'\"<>)\]},;]*")
_HEADER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NAMED: set[str] = set()  # other variables of the environment that hold secrets
_SHORTEST_SECRET = 3  # characters; to replace shorter ones would only make text unreadable


def keep_secret(variable: str) -> None:
    """Note that a variable of the environment holds a secret, for ``redact``."""
    _NAMED.add(variable)


def plain_text(value: Any, limit: int = 200) -> str:
    """Return what others wrote as one printable line without secrets: it may hold anything, also halves of characters.

    Parameters
    ----------
    limit
        Characters that are kept.
    """
    signs = "".join(sign if sign.isprintable() else " " for sign in _COLOURS.sub("", str(value)))
    return redact(" ".join(signs.split()))[:limit]


def redact(text: str) -> str:
    """Return a text without secrets: a server may repeat what it was sent, and an address may hold a signature.

    Left out are the values of this package's secret environment variables, users and queries of addresses, and what
    follows ``Bearer`` and ``Basic``.
    """
    for name, secret in os.environ.items():
        named = name in _NAMED or _SECRET_VARIABLE.fullmatch(name)
        if named and len(secret) >= _SHORTEST_SECRET and secret in text:
            text = text.replace(secret, "***")
    text = _QUERY.sub("?***", _USER_INFO.sub("***@", text))
    return _HEADER.sub(r"\1 ***", text)
