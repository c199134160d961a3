"""Libraries that threads use are imported before there are threads."""

from __future__ import annotations

import importlib

__all__ = ["import_early"]


def import_early(*modules: str) -> None:
    """Import these modules now, in this thread.

    Threads that import a package of circular imports at the same time see it half made: Python gives up its import
    locks there, rather than wait for ever.
    """
    for name in modules:
        importlib.import_module(name)
