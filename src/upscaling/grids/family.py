"""What a module of a grid tells of it, so that it is found by its name: nothing else has to know the module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upscaling.errors import ConfigError

if TYPE_CHECKING:
    from upscaling.grids.base import BaseGrid

__all__ = ["Family", "metres_of"]


@dataclass(frozen=True)
class Family:
    """A family of grids. Its module lists it in ``FAMILIES``.

    Attributes
    ----------
    rank
        Place in lists: the grids that most people look for first.
    pattern
        Names, as shown to people; one ``utm-<N>km`` stands for all sizes.
    expression
        Names, as a regular expression.
    make
        Returns the grid, given the groups of the expression and the options.
    example
        A name that fits.
    """

    rank: int
    pattern: str
    expression: str
    example: str
    make: Callable[..., BaseGrid]


def metres_of(number: str, kilo: str, least: int) -> int:
    """Return the side of square cells that a name like ``utm-20km`` or ``laea-500m`` says.

    Raises
    ------
    ConfigError
        If it is not between ``least`` and 500 km, or no whole number of metres.
    """
    metres = float(number) * (1000 if kilo else 1)
    if not least <= metres <= 500_000 or abs(metres - round(metres)) > 1e-6:
        size = f"{number} {kilo}m".lower()
        raise ConfigError(f"cells of {least} m to 500 km, in whole metres, are possible, not {size}", key="area.grid")
    return round(metres)
