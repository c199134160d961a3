"""What others wrote, made fit to be shown or kept: one printable line, and none of our secrets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

__all__ = ["masked", "plain_text"]


def plain_text(value: Any, limit: int = 200) -> str:
    """Return what a platform wrote as one printable line: it may hold anything, also halves of characters."""
    words = " ".join(str(value).split())
    return "".join(character for character in words if character.isprintable())[:limit]


def masked(text: str, variables: Iterable[str]) -> str:
    """Return a message without what these environment variables hold: a server may repeat what it was sent."""
    for name in variables:
        secret = os.environ.get(name)
        if secret:
            text = text.replace(secret, "***")
    return text
