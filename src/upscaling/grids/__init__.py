"""Grids: an AOI becomes tiles. One module per family; a new one is found by its ``FAMILIES``."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
import re
from typing import TYPE_CHECKING, Any

from upscaling.errors import ConfigError
from upscaling.grids.family import Family
from upscaling.util.extras import absent

if TYPE_CHECKING:
    from upscaling.grids.base import BaseGrid

__all__ = ["Family", "forget_cells", "get_grid", "list_grids"]


@functools.cache
def _families() -> list[Family]:
    """Return the families that the modules of this folder list."""
    modules = [importlib.import_module(f"upscaling.grids.{entry.name}") for entry in pkgutil.iter_modules(__path__)]
    found = (family for module in modules for family in getattr(module, "FAMILIES", ()))
    return sorted(found, key=lambda family: family.rank)


def forget_cells() -> None:
    """Forget the cells of whole zones, which are kept for the next selection of tiles: tens of MB at small sizes."""
    from upscaling.grids import equi7, utm_zones

    for kept in (equi7.zone_cells, utm_zones.zone_cells):
        kept.cache_clear()


_NAMES = re.IGNORECASE | re.ASCII  # of the digits of other scripts no name of a tile could be made


def get_grid(name: str, **options: Any) -> BaseGrid:
    """Return a grid by name.

    Parameters
    ----------
    name
        As listed by ``list_grids``.
    options
        Of the family: ``path`` and ``id_column`` for ``file``, ``resolution`` in metres for ``none``.

    Raises
    ------
    ConfigError
        If there is no such grid, an option is unknown to it, or the extra that it needs is not installed.
    """
    for family in _families():
        if match := re.fullmatch(family.expression, name, _NAMES):
            return _made(family, name, match.groups(), options)
    if "," in name and any(re.fullmatch(one.expression, name.replace(",", "."), _NAMES) for one in _families()):
        raise ConfigError(f"there is no grid {name!r}: write {name.replace(',', '.')}, with a point", key="area.grid")
    close = difflib.get_close_matches(name.lower(), [family.example for family in _families()], n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ""
    known = ", ".join(family.pattern for family in _families())
    raise ConfigError(f"there is no grid {name!r}{hint} (grids: {known})", key="area.grid")


def _made(family: Family, name: str, groups: tuple[str | Any, ...], options: dict[str, Any]) -> BaseGrid:
    try:
        inspect.signature(family.make).bind(*groups, **options)
    except TypeError as error:
        raise ConfigError(f"grid {name}: {error}", key="area.grid") from None
    try:
        return family.make(*groups, **options)
    except ModuleNotFoundError as error:
        raise ConfigError(f"grid {name} {absent(error.name, 'grids')}", key="area.grid") from None


def list_grids() -> list[Family]:
    """Return all families of grids, in the order in which people look for them."""
    return list(_families())
