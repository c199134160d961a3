"""What is used of other projects although it is not for others, each bound to the versions that were tested.

Every module that replaces, or looks into, another project's internals has a ``Patch`` that names them. With a version
in which a name is gone or takes other parameters it stops with one line, or leaves the other project as it is. What
their projects should change is in ``docs/upstream.md``.
"""

from __future__ import annotations

import importlib
import inspect
import logging
from dataclasses import dataclass
from functools import cache
from typing import Any

from upscaling.errors import UpscalingError

__all__ = ["Patch"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patch:
    """Names of another project's internals, and the versions in which they are known to be what we take them for.

    Parameters
    ----------
    distribution
        The other project's name, as pip knows it.
    tested
        Its versions, as pip writes bounds: ``>=9.6,<9.7``.
    names
        ``module:Class.attribute``, ``module:function(first, second)`` with its first parameters, or ``module:``.
    without
        What is so with another version, for the person who is warned.
    """

    distribution: str
    tested: str
    names: tuple[str, ...]
    without: str

    def applies(self) -> bool:
        """Return whether the installed version is a tested one and has all names; if not, warn once."""
        unfit = self._untested() or self._absent()
        if unfit:
            _warn_once(f"{unfit}; it is left as it is: {self.without}")
        return not unfit

    def insist(self) -> None:
        """Check that all names are there; a version that was not tested is used with one warning.

        Raises
        ------
        UpscalingError
            A name is gone, or takes other parameters.
        """
        if absent := self._absent():
            raise UpscalingError(f"{absent}: {self.without}; pip install '{self.distribution}{self.tested}'")
        if untested := self._untested():
            _warn_once(f"{untested}; its internals look the same, and it is used")

    def _untested(self) -> str:
        """Say that the installed version is none of those that were tested; nothing if it is."""
        if _is_tested(self.distribution, self.tested):
            return ""
        return f"{self.distribution} {_version(self.distribution)} was not tested with eo-upscaling ({self.tested} was)"

    def _absent(self) -> str:
        """Say which is the first name that is not there, or takes other parameters; nothing if all are well."""
        absent = _absent(self.names)
        return (
            f"{self.distribution} {_version(self.distribution)} has no {absent} that eo-upscaling knows"
            if absent
            else ""
        )


@cache
def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


@cache
def _is_tested(distribution: str, tested: str) -> bool:
    from packaging.specifiers import SpecifierSet

    found = _version(distribution)
    return found is not None and SpecifierSet(tested).contains(found, prereleases=True)


@cache
def _absent(names: tuple[str, ...]) -> str | None:
    """Return the first name that is not there, or takes other parameters."""
    return next((name for name in names if not _is_there(name)), None)


def _is_there(name: str) -> bool:
    path, _, parameters = name.rstrip(")").partition("(")
    module, _, attributes = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for attribute in attributes.split(".") if attributes else ():
            if not hasattr(found, attribute):
                return not parameters and _sets(found, attribute)
            found = getattr(found, attribute)
        if not parameters:
            return True
        known = list(inspect.signature(found).parameters)
    except (ImportError, TypeError, ValueError):
        return False
    wanted = parameters.split(", ")
    return known[: len(wanted)] == wanted


def _sets(owner: Any, attribute: str) -> bool:
    """Return whether objects of a class get an attribute when they are made."""
    makers = (getattr(owner, name, None) for name in ("__new__", "__init__", "__post_init__"))
    codes = [code for maker in makers if (code := getattr(maker, "__code__", None))]
    declared = [vars(base).get("__annotations__", {}) for base in getattr(owner, "__mro__", ())]
    return any(attribute in names for names in (*declared, *(code.co_names for code in codes)))


@cache
def _warn_once(line: str) -> None:
    log.warning("%s", line)
