"""Grids: an AOI becomes tiles. One module per family, imported only when one of its grids is asked for."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from upscaling.errors import ConfigError

if TYPE_CHECKING:
    from upscaling.grids.base import Grid

__all__ = ["Family", "get_grid", "list_grids"]


@dataclass(frozen=True)
class Family:
    """A family of grids: a pattern of names, and the module whose ``make(name, **options)`` returns one.

    Attributes
    ----------
    pattern
        As shown to people, for one ``utm-<N>km``.
    example
        A name that fits.
    """

    pattern: str
    expression: str
    module: str
    example: str


_FAMILIES = (
    Family("utm-<N>km", r"utm-\d+(\.\d+)?k?m", "utm", "utm-20km"),
    Family("s2", r"s2", "s2", "s2"),
    Family("mgrs-100km", r"mgrs-100km", "mgrs", "mgrs-100km"),
    Family("laea-<N>km", r"laea-\d+(\.\d+)?k?m", "planar", "laea-20km"),
    Family("deg-1, deg-3", r"deg-[13]", "planar", "deg-1"),
    Family("tms-<TMS>-<zoom>", r"tms-\w+-\d+", "tms", "tms-WebMercatorQuad-12"),
    Family("equi7-T1, equi7-T3, equi7-T6", r"equi7-t[136]", "equi7", "equi7-T1"),
    Family("h3-<res>", r"h3-\d+", "h3", "h3-5"),
    Family("majortom-<N>km", r"majortom-\d+km", "majortom", "majortom-10km"),
    Family("apex-20x20km, apex-250x250km", r"apex-(20x20|250x250)km", "apex", "apex-20x20km"),
    Family("file", r"file", "file", "file"),
    Family("none", r"none", "none", "none"),
)


def get_grid(name: str, **options: Any) -> Grid:
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
    for family in _FAMILIES:
        if re.fullmatch(family.expression, name, re.IGNORECASE):
            module = importlib.import_module(f"upscaling.grids.{family.module}")
            return _made(module.make, name, options)
    close = difflib.get_close_matches(name.lower(), [family.example for family in _FAMILIES], n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ""
    known = ", ".join(family.pattern for family in _FAMILIES)
    raise ConfigError(f"there is no grid {name!r}{hint} (grids: {known})", key="area.grid")


def _made(make: Callable[..., Grid], name: str, options: dict[str, Any]) -> Grid:
    try:
        inspect.signature(make).bind(name, **options)
    except TypeError as error:
        raise ConfigError(f"grid {name}: {error}", key="area.grid") from None
    try:
        return make(name, **options)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"grid {name} needs the package {error.name}: pip install 'eo-upscaling[grids]'", key="area.grid"
        ) from None


def list_grids() -> list[Family]:
    """Return all families of grids, in the order in which people look for them."""
    return list(_FAMILIES)
