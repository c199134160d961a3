"""Read the values of configuration files: what YAML would silently read as something else is an error with its line.

Snakemake loads configuration files itself (JSON first, then YAML 1.1) and merges them. Here they are read by the same
rules, so that both ways see the same values, and checked for what Snakemake lets pass.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import ConfigError

if TYPE_CHECKING:
    import yaml

__all__ = ["Sources", "labels_of", "merge", "parse_value", "parse_values", "plain", "read_values", "with_new_names"]

_CORE = "tag:yaml.org,2002:"
_SCALARS = {_CORE + name for name in ("bool", "int", "float", "null", "str", "timestamp")}
_BOOLEANS = {"true", "True", "TRUE", "false", "False", "FALSE"}
_NUMBER_AS_TEXT = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")  # YAML 1.1 wants a dot and a sign
# Block, old name, new name. The old ones work for one version.
RENAMED = [("backend", "memory_ladder", "memory_levels")]
_FREE = {
    "parameters",
    "job_options",
    "memory_ladder",
    "memory_levels",
    "where",
    "extra",
}  # no model says which type is meant there
_MOST_NODES = 1_000_000  # aliases of aliases grow without bounds
_TEMPLATES = "__use_yte__"

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Sources:
    """Where the values of a configuration came from, for messages.

    Parameters
    ----------
    parts
        Label (a file, ``--config``) and values; later ones win.
    prefix
        Keys under which the configuration stands there, where another workflow imports this one.
    """

    parts: tuple[tuple[str, Any], ...]
    prefix: Keys = ()

    @property
    def files(self) -> list[str]:
        """Labels that are files."""
        return [label for label, _ in self.parts if not label.startswith("-")]

    def of(self, key: str | None) -> str:
        """Return the label of what gave ``key``, or the nearest block around it."""
        label: str
        path = (*self.prefix, *(key.split(".") if key else ()))
        for length in range(len(path), 0, -1):
            for label, values in reversed(self.parts):
                if _holds(values, path[:length]):
                    return label
        return ", ".join(dict.fromkeys(label for label, _ in self.parts))

    def named(self, error: ConfigError) -> ConfigError:
        """Return the error with file and whole key, unless it names something nearer."""
        if error.file:
            return error
        key = ".".join([*self.prefix, *([error.key] if error.key else [])])
        return ConfigError(error.message, key=key or None, file=self.of(error.key) or None)


def _holds(values: Any, path: Keys) -> bool:
    for part in path:
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return False
    return True


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``over`` on ``base`` as Snakemake does: blocks are merged, anything else is replaced. Returns ``base``."""
    for key, value in over.items():
        if isinstance(value, Mapping):
            below = base.get(key)
            base[key] = merge(below if isinstance(below, dict) else {}, value)
        else:
            base[key] = value
    return base


def read_values(path: Path, prefix: Keys = ()) -> dict[str, Any]:
    """Return the values of a YAML or JSON file.

    Parameters
    ----------
    path
        The file.
    prefix
        Keys to the block that is read; the rest of the file belongs to another workflow, and is not checked.

    Raises
    ------
    ConfigError
        If the file cannot be read, or holds what YAML would silently read as something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no such file (looked in {Path(os.curdir).resolve()})", file=path) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text (byte {error.start})", file=path) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from None
    return parse_values(text, str(path), prefix)


def parse_values(text: str, label: str, prefix: Keys = ()) -> dict[str, Any]:
    """Return the values of a text, of a file or of an option; ``label`` names it in messages.

    Raises
    ------
    ConfigError
        As `read_values`.
    """
    value = parse_value(text, label, prefix)
    if not isinstance(value, dict):
        what = "is empty; it" if value is None else "has no keys at its top; it"
        raise ConfigError(f"{what} must be a mapping of run, algorithm, area and backend", file=label)
    return value


def parse_value(text: str, label: str, prefix: Keys = ()) -> Any:
    """Return any value, as `parse_values`."""
    reader = _Reader(label, prefix)
    try:
        values = json.loads(text)
    except RecursionError:
        raise ConfigError("is nested too deeply", file=label) from None
    except ValueError:
        return reader.read(text)
    # JSON has one type for each value; only its keys can surprise. It is YAML too, but for tabs.
    reader.read(text.replace("\t", " "), only_keys=True)
    return values


class _Reader:
    """Turns the nodes of a YAML text into values."""

    def __init__(self, label: str, prefix: Keys) -> None:
        self._label, self._prefix = label, prefix
        self._left = _MOST_NODES
        self._open: set[int] = set()
        self._only_keys = False

    def read(self, text: str, *, only_keys: bool = False) -> Any:
        """Return the value of the whole text."""
        import yaml

        self._only_keys = only_keys
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            return None if node is None else self._value(node, ())
        except yaml.MarkedYAMLError as error:
            if only_keys:
                return None
            mark = error.problem_mark or error.context_mark
            tabs = "; indent with spaces, not tabs" if "\\t" in str(error.problem) else ""
            message = f"is not YAML: {error.problem or error.context}{tabs}"
            raise ConfigError(message, file=self._at(mark.line + 1 if mark else None)) from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise ConfigError(f"is not YAML: {error.reason}", file=self._at(line)) from None
        except yaml.YAMLError as error:
            raise ConfigError(f"is not YAML: {error}", file=self._label) from None
        except RecursionError:
            raise ConfigError("is nested too deeply", file=self._label) from None

    def _at(self, line: int | None) -> str:
        return f"{self._label}, line {line}" if line and self._label != "--config" else self._label

    def _fail(self, node: yaml.Node, path: Keys, message: str) -> ConfigError:
        return ConfigError(message, key=".".join(path) or None, file=self._at(node.start_mark.line + 1))

    def _value(self, node: yaml.Node, path: Keys) -> Any:
        import yaml

        self._left -= 1
        if self._left < 0:
            raise self._fail(node, path, "holds too many values (aliases of aliases?)")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            raise self._fail(node, path, "contains itself, by an alias")
        self._open.add(id(node))
        try:
            if node.tag not in (_CORE + "map", _CORE + "seq"):
                raise self._fail(node, path, f"the tag {node.tag.removeprefix(_CORE)!r} is not supported")
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self._value(item, (*path, str(number))) for number, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Keys) -> dict[str, Any]:
        import yaml

        depth = len(path)
        inside = depth >= len(self._prefix)
        self._unique(node, path, inside)
        flat = yaml.SafeLoader("")
        flat.flatten_mapping(node)
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path, inside)
            if inside or key == self._prefix[depth]:
                values[key] = self._value(value_node, (*path, key))
        return values

    def _unique(self, node: yaml.MappingNode, path: Keys, inside: bool) -> None:
        """Refuse a key that stands twice; keys from a merge (``<<``) are there to be written over."""
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            key = self._key(key_node, path, inside)
            if (inside or key == self._prefix[len(path)]) and key in seen:
                message = f"stands twice in this block, here and in line {seen[key]}; keep one"
                raise self._fail(key_node, (*path, key), message)
            seen[key] = key_node.start_mark.line + 1

    def _key(self, node: yaml.Node, path: Keys, inside: bool) -> str:
        import yaml

        if not isinstance(node, yaml.ScalarNode):
            raise self._fail(node, path, "a key must be a word, not a list or a block")
        if not inside or self._only_keys or node.tag == _CORE + "merge":
            return str(node.value)
        if not path and node.value == _TEMPLATES:
            raise self._fail(node, path, f"templates ({_TEMPLATES}) are not supported; write the values")
        value = self._scalar(node, (*path, str(node.value)))
        if str(value) != node.value:
            read = json.dumps(value) if value is None or isinstance(value, bool) else value
            raise self._fail(node, (*path, str(node.value)), f"YAML reads this key as {read}; put it in quotes")
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode, path: Keys) -> Any:
        import yaml

        if self._only_keys:
            return None
        text, written = str(node.value), node.style is None
        if node.tag not in _SCALARS:
            what = "an = sign alone" if node.tag == _CORE + "value" else f"the tag {node.tag.removeprefix(_CORE)!r}"
            raise self._fail(node, path, f"{what} is not supported; put the value in quotes")
        try:
            value = yaml.constructor.SafeConstructor().construct_object(node)
        except (ValueError, KeyError, OverflowError) as error:
            kind = "date" if node.tag.endswith("timestamp") else "value"
            reason = " ".join(str(error).split()) if kind == "date" else "it is too long, or not of that type"
            raise self._fail(node, path, f"{text[:60]} is no {kind} ({reason})") from None
        surprise = _surprise(text, value, path) if written else None
        if surprise:
            raise self._fail(node, path, surprise)
        try:
            return plain(value)
        except ConfigError as error:
            raise self._fail(node, path, error.message) from None


def _surprise(text: str, value: Any, path: Keys) -> str | None:
    """Return what is wrong with an unquoted scalar that is another value than it seems to be."""
    quote = "put it in quotes if text is meant"
    if isinstance(value, bool):
        return None if text in _BOOLEANS else f"YAML reads {text} as {str(value).lower()}; write that, or {quote}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{text} is not a finite number; {quote}"
    if isinstance(value, int | float):
        digits = text.lstrip("+-").replace("_", "")
        octal = isinstance(value, int) and len(digits) > 1 and digits[0] == "0" and digits.isdigit()
        return f"YAML reads {text} as the number {value}; write that, or {quote}" if octal or ":" in text else None
    if isinstance(value, str) and _FREE & set(path) and _NUMBER_AS_TEXT.match(text):
        return f"YAML reads {text} as text; write {float(text)!r} if a number is meant, else put it in quotes"
    return None


def plain(value: Any, path: Keys = ()) -> Any:
    """Return a value as JSON has it; dates, which YAML makes of unquoted text, as the text that was meant.

    Raises
    ------
    ConfigError
        For what no configuration file can hold: numbers that are not finite, broken text, other types.
    """
    if isinstance(value, Mapping):
        return {str(name): plain(item, (*path, str(name))) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, (*path, str(number))) for number, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, dt.datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    wrong = None
    if isinstance(value, float) and not math.isfinite(value):
        wrong = f"{value} is not a finite number"
    elif isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        wrong = "holds half a character (a lone surrogate)"
    elif not isinstance(value, bool | int | float | str | None):
        wrong = f"a value of type {type(value).__name__} has no place in a configuration"
    if wrong:
        raise ConfigError(wrong, key=".".join(path) or None)
    return value


def labels_of(files: Iterable[object]) -> Iterator[str]:
    """Return how files are named in messages: from the working directory, if they lie below it."""
    for file in files:
        near = os.path.relpath(str(file))
        yield str(file) if near.startswith(os.pardir) else near


def with_new_names(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a configuration in which every key has its name of today, and a line on each that had not.

    Raises
    ------
    ConfigError
        A key stands there under both names.
    """
    found, notices = dict(values), []
    for name, old, new in RENAMED:
        block = found.get(name)
        if isinstance(block, Mapping) and old in block:
            if new in block:
                raise ConfigError(f"is the old name of {new}, which is there too; leave it out", key=f"{name}.{old}")
            found[name] = {new if key == old else key: value for key, value in block.items()}
            notices.append(f"{name}.{old} is called {name}.{new} now; the old name works until version 0.2")
    return found, notices
