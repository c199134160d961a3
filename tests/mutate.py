"""Damage to documents, the same for the same seed: values of another type, odd numbers and texts, losses."""

from __future__ import annotations

import copy
import datetime as dt
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["SEED", "MutationError", "guarded", "how_many", "mutated", "sent_as_json"]

SEED = int(os.environ.get("UPSCALING_SEED", "11"))


def how_many(parts: int, usual: int) -> int:
    """Return how many documents each of a file's tests damages: ``UPSCALING_MUTATIONS`` in all, else a usual number."""
    given = os.environ.get("UPSCALING_MUTATIONS")
    return max(1, int(given) // parts) if given else usual


def _deep() -> Any:
    value: Any = 1
    for number in range(250):
        value = [value] if number % 2 else {"anyOf" if number % 4 else "process_graph": value}
    return value


_ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**70, -0.5, 1e308, float("inf"), float("nan"), 0.1, 360, 1e9),
    *("", " ", "x", "-", "..", "/", "~", "~nobody/x", "a\0b", "\ud800", "x" * 5000, "http://[", "file:///etc/passwd"),
    *("nan", "1e400", "2023-02-30", "9999-12-31", "0000-00-00", "EPSG:0", "EPSG:999999", "POLYGON EMPTY", "e,e,e,e"),
    *("{", "[]", "null", "\x1b[31m", "工", "a/b", "a b", "0 days", "9999999 days", "time-start", "bbox", "epsg"),
    *([], {}, [None], [[]], [[[1]]], {"x": 1}, {"": ""}, ["a", "a"], [1, 2, 3, 4], [180, 0, -180, 1], [1e300] * 4),
    *({"type": "date"}, {"from_parameter": "x"}, {"from_node": "x"}, {"process_graph": {}}, {"$ref": "http://x.invalid"}),
    *(dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC), dt.time(1), b"x", {1: 2}, {None: []}, {1, 2}),
]  # fmt: skip


class MutationError(AssertionError):
    """A damaged document was no error in one line: a traceback, or too slow."""


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _places(entry, (*path, key))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _places(entry, (*path, index))


def mutated(document: Any, chance: random.Random, *, most: int = 2) -> Any:
    """Return a copy with one or more changes."""
    value = copy.deepcopy(document)
    for _ in range(chance.randint(1, most)):
        places = [place for place in _places(value) if place]
        if not places:
            return value
        *path, last = chance.choice(places)
        holder = value
        for key in path:
            holder = holder[key]
        _change(holder, last, value, chance)
    if chance.random() < 0.01:
        *path, last = chance.choice([place for place in _places(value) if place] or [("x",)])
        holder = value
        for key in path:
            holder = holder[key]
        holder[last] = _deep()
    return value


def _change(holder: Any, last: Any, value: Any, chance: random.Random) -> None:
    kind = chance.randrange(8)
    if kind == 0:
        del holder[last]
    elif kind == 1 and isinstance(holder, dict):
        holder[chance.choice(["x", "", last.upper() if isinstance(last, str) else last])] = holder.pop(last)
    elif kind == 2 and isinstance(holder, list):
        holder.insert(0, copy.deepcopy(holder[last]))
    elif kind == 3 and isinstance(holder[last], str):
        text = holder[last]
        holder[last] = chance.choice([text[:-1], text * 2, text.upper(), f" {text}", text[::-1], f"{text}\0"])
    elif kind == 4:
        *path, other = chance.choice([place for place in _places(value) if place])
        found = value
        for key in (*path, other):
            found = found[key]
        holder[last] = copy.deepcopy(found)
    else:
        holder[last] = copy.deepcopy(chance.choice(_ODD))


def sent_as_json(value: Any) -> Any:
    """Return a value without what JSON text cannot hold, NaN and infinity excepted (Python reads and writes those)."""
    if isinstance(value, dict):
        return {str(key): sent_as_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [sent_as_json(entry) for entry in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _shown(document: Any) -> str:
    try:
        return repr(document)[:3000]
    except RecursionError:
        return "(nested deeply)"


@contextmanager
def guarded(what: str, document: Any, *, seconds: int = 20) -> Iterator[None]:
    """Let pass what the package says in one line; raise MutationError for anything else, or after some seconds."""
    from upscaling.errors import UpscalingError

    def late(*_: Any) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # of the processor: how busy the machine is says nothing
    try:
        yield
    except UpscalingError as error:
        if "\n" in str(error):
            raise MutationError(f"{what}: more than a line: {error!r}\n{_shown(document)}") from error
    except Exception as error:
        raise MutationError(f"{what}: {type(error).__name__}: {error}\n{_shown(document)}") from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
