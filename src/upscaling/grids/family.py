"""What a module of a grid tells of it, so that it is found by its name: nothing else has to know the module."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Family"]


@dataclass(frozen=True)
class Family:
    """A family of grids. Its module lists it in ``FAMILIES``, and has ``make(name, **options)``.

    Attributes
    ----------
    rank
        Place in lists: the grids that most people look for first.
    pattern
        Names, as shown to people; one ``utm-<N>km`` stands for all sizes.
    expression
        Names, as a regular expression.
    example
        A name that fits.
    """

    rank: int
    pattern: str
    expression: str
    example: str
