"""Algorithms that users bring as files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from upscaling.service.access.auth import User
from upscaling.service.tasks import RefusedError, Tasks

__all__ = ["keep_algorithm"]

_ENDINGS = {".json", ".cwl", ".yaml", ".yml"}


def keep_algorithm(tasks: Tasks, user: User, name: str, content: bytes) -> Path:
    """Keep an algorithm that a user brings, and return its path; the same file is kept once.

    Raises
    ------
    RefusedError
        If this service takes none, it is empty, or its name is not that of an algorithm.
    """
    if not tasks.settings.takes_uploads:
        raise RefusedError("this service takes no files of algorithms; name one that it lists", status=403)
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(name).name)[-80:].lstrip(".") or "algorithm"
    if Path(clean).suffix.lower() not in _ENDINGS:
        raise RefusedError(f"{clean}: an algorithm is an openEO process (.json) or a package (.cwl)")
    if not content.strip():
        raise RefusedError(f"{clean}: the file is empty")
    path = tasks.uploads(user) / hashlib.sha256(content).hexdigest()[:16] / clean
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
