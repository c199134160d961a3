"""Texts that others wrote, made fit to be shown or kept: one printable line, without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

__all__ = ["counted", "duration", "keep_secret", "last_words", "numbered", "plain_text", "redact"]

# What is searched for begins at a word, or is of bounded length: others write words of many megabytes.
_SECRET_VARIABLE = re.compile(r"(?:OPENEO|OGCAPI|UPSCALING|AWS)_.*(?:PASSWORD|TOKEN|SECRET|SECRET_ACCESS_KEY)")
_USER_INFO = re.compile(r"(?<=://)[^\s/?#@'\"]+(?:@[^\s/?#@'\"]*)*@")
_QUERY = re.compile(r"(?<=[A-Za-z0-9/._~%-])\?[^\s'\"<>)\]},;?=]*=[^\s'\"<>)\]},;]*")
_HEADER = re.compile(r"\b(bearer|basic):?\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"\b(authorization['\"]?\s*[:=]\s*['\"]?\w+)\s+[^\s'\",;}]+", re.IGNORECASE)
# password=…, "access_token": "…1…", X-Api-Key: …1…: after a colon only what has a figure, as words may follow, too
_NAMED_SECRET = re.compile(
    r"((?:password|passwd|secret|token|api[_-]?key)['\"]?\s*(?:=\s*['\"]?(?!\*)|:\s*['\"]?(?=[^\s'\",;&}\d]{0,64}\d)))"
    r"[^\s'\",;&}]{3,}",
    re.IGNORECASE,
)
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+\.[\w-]*")
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# What os.environ keeps: to decode every variable for every text took a tenth of a tile's time.
_ENVIRONMENT: Any = getattr(os.environ, "_data", os.environ)
_NAMED: set[str] = set()  # other variables of the environment that hold secrets
_MARGIN = 20_000  # characters beyond those that are kept, in which a secret may begin before them or end behind
_SHORTEST_SECRET = 3  # characters; to replace shorter ones would only make text unreadable


def counted(number: int, what: str) -> str:
    """Return ``1 tile``, ``2 tiles``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86400:.1f} days"


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
    return redact(" ".join(signs.split())[: limit + _MARGIN])[:limit]


def last_words(output: str) -> str:
    """Return what a program said last, of its lines with ``error:`` if it has any; empty if it said nothing."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return plain_text((errors or lines or [""])[-1].removeprefix("error: "))


@lru_cache(maxsize=4)
def _secrets(environment: frozenset[tuple[Any, Any]], named: frozenset[str]) -> tuple[str, ...]:
    """Return the secrets that variables hold, the longest first: one may be a part of another."""
    found = {
        os.fsdecode(value)
        for name, value in environment
        if os.fsdecode(name) in named or _SECRET_VARIABLE.fullmatch(os.fsdecode(name))
    }
    return tuple(sorted((secret for secret in found if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True))


def redact(text: str) -> str:
    """Return a text without secrets: a server may repeat what it was sent, and an address may hold a signature.

    Left out are the values of this package's secret environment variables, users and queries of addresses, and what
    follows ``Bearer`` and ``Basic``, or the name of a password, token or key.
    """
    for secret in _secrets(frozenset(_ENVIRONMENT.items()), frozenset(_NAMED)):
        text = text.replace(secret, "***")
    text = _QUERY.sub("?***", _USER_INFO.sub("***@", text))
    text = _AUTHORIZATION.sub(r"\1 ***", _HEADER.sub(r"\1 ***", _JWT.sub("***", text)))
    return _NAMED_SECRET.sub(r"\1***", text)


def numbered(keys: Sequence[str]) -> list[str]:
    """Return keys with a number behind each that was there before."""
    taken: set[str] = set()
    names = []
    for key in keys:
        name, number = key, 2
        while name in taken or (name != key and name in keys):
            name, number = f"{key}_{number}", number + 1
        taken.add(name)
        names.append(name)
    return names
