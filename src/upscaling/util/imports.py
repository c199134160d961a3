"""Libraries that threads use are imported before there are threads."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection
from typing import Any, cast

__all__ = ["import_early"]


def import_early(*modules: str, without: Collection[str] = ()) -> None:
    """Import these modules now, in this thread.

    Threads that import a package of circular imports at the same time see it half made: Python gives up its import
    locks there, rather than wait for ever.

    Parameters
    ----------
    without
        Modules that are not found meanwhile, as if they were not installed: what would be imported with them takes much
        memory, and is not needed.
    """
    hidden = [name for name in without if name not in sys.modules]
    cast("dict[str, Any]", sys.modules).update(dict.fromkeys(hidden))  # None: cannot be imported
    try:
        for name in modules:
            importlib.import_module(name)
    finally:
        for name in hidden:
            del sys.modules[name]
