"""Secret inputs of an algorithm: the configuration names a variable of the environment, and its value is sent alone.

``password: ${env:MY_PASSWORD}`` stays so in plan, job files and copies of the configuration. What the variable holds is
put in place when a job is sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from upscaling.errors import ConfigError, ErrorClass, TileFailedError
from upscaling.model import Parameter
from upscaling.util.text import keep_secret

__all__ = ["check_secrets", "has_secrets", "revealed"]

_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(
    r"(?:.*[_\W])?(?:password|passwd|pwd|passphrase|secret|token|credentials?"
    r"|(?:api|access|secret|private|auth)[_-]?(?:key|token))",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def check_secrets(parameters: Mapping[str, Any], known: Mapping[str, Parameter], columns: Iterable[str] = ()) -> None:
    """See that no secret stands in clear among the values for an algorithm.

    Parameters
    ----------
    columns
        Parameters whose values come from ``for_each``.

    Raises
    ------
    ConfigError
        A value of an input that is a secret by its name or schema is written out, or names a variable that is not set.
    """
    for name in columns:
        if _is_secret(name, known):
            raise ConfigError(
                f"{name} would stand in clear in the plan; give it in algorithm.parameters", key="for_each"
            )
    for name, value in parameters.items():
        key = f"algorithm.parameters.{name}"
        if isinstance(value, str) and value and _is_secret(name, known) and not _REFERENCE.fullmatch(value):
            raise ConfigError(
                "would stand in clear in the plan; write ${env:NAME} and set NAME in the environment", key=key
            )
        for variable in sorted(_references(value)):
            if variable not in os.environ:
                raise ConfigError(f"{variable} is not set in the environment", key=key)
            keep_secret(variable)


def has_secrets(parameters: Mapping[str, Any]) -> bool:
    """Return whether values refer to variables of the environment."""
    return bool(_references(parameters))


def revealed(value: Any) -> Any:
    """Return values with what the environment holds in place of ``${env:NAME}``, to be sent and not kept.

    Raises
    ------
    TileFailedError
        ``authentication`` if a variable is not set.
    """
    if isinstance(value, str):
        found = _REFERENCE.fullmatch(value)
        if found is None:
            return value
        if found[1] not in os.environ:
            words = f"{found[1]} is not set in the environment"
            raise TileFailedError(words, error_class=ErrorClass.AUTH)
        keep_secret(found[1])
        return os.environ[found[1]]
    if isinstance(value, Mapping):
        return {name: revealed(entry) for name, entry in value.items()}
    return [revealed(entry) for entry in value] if isinstance(value, list) else value


def _references(value: Any) -> set[str]:
    if isinstance(value, str):
        found = _REFERENCE.fullmatch(value)
        return {found[1]} if found else set()
    if isinstance(value, Mapping):
        value = list(value.values())
    return set().union(*map(_references, value)) if isinstance(value, list) else set()


def _is_secret(name: str, known: Mapping[str, Parameter]) -> bool:
    schema = known[name].schema if name in known else {}
    declared = isinstance(schema, Mapping) and schema.get("format") == "password"
    return declared or _NAME.fullmatch(_CAMEL.sub("_", name)) is not None
