"""Items into a plan: searched once, for all tiles together, and pinned; each tile's choice is made here.

``plan/items.ndjson`` keeps the items that tiles stage, ``plan/items.csv`` where in it each begins.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from shapely.geometry import shape

from upscaling.area.aoi import read_aoi
from upscaling.binding.cwl import space_choice
from upscaling.config.stage_in import Search, StageIn
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Parameter, Row, Step, Tile
from upscaling.stage_in.choose import (
    Choice,
    Pinned,
    fits,
    instant,
    overlaps,
    pin,
    pinned_document,
    span_of,
    spans_merged,
    within,
)
from upscaling.stage_in.inputs import Form, form_of, input_of, unreachable, written
from upscaling.stage_in.sources import Box, Span, found, say_left_out
from upscaling.stage_in.web import TOKEN, FetchError, is_remote, shown, token_names
from upscaling.util.files import write_whole, written_whole
from upscaling.util.text import plain_text

if TYPE_CHECKING:
    from upscaling.config import Config

__all__ = ["Staging", "item_rows", "item_store"]

Say = Callable[[str], None]
_MOST = 1_000_000
# What reading an item raises that is not as STAC has it.
_ODD = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
_CELL = 5.0  # degrees: what one search covers at the most, along each axis
_LABEL = re.compile(r"[^A-Za-z0-9_-]+")


class Store:
    """Items that are written down once, however many tiles have them."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.offsets: dict[str, int] = {}

    def add(self, digest: str, document: Mapping[str, Any]) -> None:
        """Write an item down."""
        if digest not in self.offsets:
            self.offsets[digest] = self._stream.tell()
            self._stream.write(orjson.dumps(document) + b"\n")


@contextmanager
def item_store(folder: Path) -> Iterator[Store]:
    """Yield the store of a plan's items; nothing is left of it if it stays empty."""
    names = folder / "items.ndjson", folder / "items.csv"
    with written_whole(names[0]) as temporary, temporary.open("wb") as stream:
        store = Store(stream)
        yield store
        stream.flush()
        write_whole(names[1], "".join(f"{digest},{offset}\n" for digest, offset in store.offsets.items()))
    if not store.offsets:
        for name in names:
            name.unlink()


def _searched(
    search: Search,
    boxes: Sequence[Box] | None,
    spans: Sequence[Span] | None,
    *,
    assets: bool = True,
    key: str,
    say: Say,
    token: str = TOKEN,
) -> Iterator[tuple[Pinned, dict[str, Any]]]:
    """Yield what fits the filters, with its document; without ``assets`` nobody looks at those."""
    odd: list[str] = []
    try:
        for said in found(search, boxes, spans, key=key, say=say, token=token):
            try:
                if not fits(said, search, boxes, spans):
                    continue
                document = pinned_document(said, search) if assets else {"assets": {}}
                pinned = pin(said, search, document)
            except _ODD as error:
                odd.append(f"item {plain_text(said.item.get('id'), 80)} {plain_text(error)}")
                continue
            if boxes is not None and pinned.shape is None:
                odd.append(f"item {plain_text(said.item.get('id'), 80)} does not say where it lies")
                continue
            yield pinned, document
    except FetchError as error:
        raise ConfigError(str(error), key=f"{key}.assets") from None
    say_left_out(odd, say)


class Staging:
    """The items of each tile and time step, for every block of ``stage_in``.

    Attributes
    ----------
    inputs
        The input that each block fills.
    time
        When is searched, if all blocks say the same and there is no time dimension.

    Raises
    ------
    ConfigError
        If no input takes them, or a catalogue cannot be read.
    """

    def __init__(
        self,
        config: Config,
        algorithm: Algorithm,
        table: Any,
        steps: Sequence[Step] | None,
        *,
        each: Sequence[str],
        store: Store,
        say: Say,
    ) -> None:
        if table is None:
            raise ConfigError("stage_in takes the items of each tile: give an area, or use for_each.search", key="area")
        blocks = config.stagings
        taken = {*config.algorithm.parameters, *config.algorithm.bind, *each, *_of_tile(algorithm)}
        chosen: dict[str, Form] = {}
        for key, block in blocks.items():
            if steps and block.time:
                raise ConfigError("the time dimension says when; keep one", key=f"{key}.time")
            others = {other.input for other in blocks.values() if other is not block and other.input}
            name, form = input_of(algorithm, block.input, {*taken, *chosen, *others}, key=f"{key}.input")
            chosen[name] = form
        self.inputs = list(chosen)
        known = {parameter.name: parameter for parameter in algorithm.parameters}
        tokens = token_names([block.catalogue for block in blocks.values()])
        closed = unreachable(config, algorithm)
        self._blocks = []
        for (key, block), (name, form), token in zip(blocks.items(), chosen.items(), tokens, strict=True):
            staged = _Block(key, block, known[name], form, closed)
            staged.search(table, steps, store=store, say=say, token=token)
            self._blocks.append(staged)
        times = {(block.time[0], block.time[1]) if block.time else None for block in blocks.values()}
        self.time = times.pop() if len(times) == 1 else None

    def at(self, tile: Tile, step: Step | None) -> tuple[dict[str, Any], bool]:
        """Return the values of the inputs for a tile and step, and whether there is anything to process.

        There is not if a required input has no item, or no input has one.
        """
        values: dict[str, Any] = {}
        counts = []
        for block in self._blocks:
            values[block.parameter.name], number = block.at(tile, step)
            counts.append((number, block.parameter.required))
        there = any(number for number, _ in counts) and all(number for number, required in counts if required)
        return values, there


class _Block:
    """The items of one block of ``stage_in``."""

    def __init__(self, key: str, block: StageIn, parameter: Parameter, form: Form, closed: str) -> None:
        self.parameter = parameter
        self._key, self._block, self._form, self._closed = key, block, form, closed
        self._always = span_of(block.time, f"{key}.time") if block.time else None
        self._shapes: dict[str, Any] = {}
        self._choice = Choice([], limit=None, descending=False)

    def search(self, table: Any, steps: Sequence[Step] | None, *, store: Store, say: Say, token: str) -> None:
        """Find the items of all tiles, and keep those whose files are needed."""
        search, key = self._block, self._key
        spans: list[Span] | None = [(step.start, step.end) for step in steps] if steps else None
        if search.time:
            spans = [(search.time[0], search.time[1])]
        staged = self._form in {"folder", "folders"}
        items = []
        boxes, times = _boxes(table), spans_merged(spans) if spans else None
        for item, document in _searched(search, boxes, times, assets=staged, key=key, say=say, token=token):
            items.append(item)
            if staged:
                store.add(item.digest, document)
            if len(items) > _MOST:
                raise ConfigError(f"finds more than {_MOST} items; narrow it", key=key)
        self._choice = Choice(items, limit=search.limit, descending=search.sort.startswith("-"))
        say(f"plan: stage_in: {len(items)} items of {shown(search.catalogue)} for {self.parameter.name}")

    def at(self, tile: Tile, step: Step | None) -> tuple[Any, int]:
        """Return the value of the input for a tile and step, and the number of items."""
        if tile.id not in self._shapes:
            self._shapes = {tile.id: shape(tile.geometry or {})}  # the steps of a tile follow each other
        span = span_of((step.start, step.end), "time") if step else self._always
        items = self._choice.at(self._shapes[tile.id], span)
        value = written(items, self._form, self.parameter, key=self._key, closed=self._closed)
        return value, len(items)


def _of_tile(algorithm: Algorithm) -> set[str]:
    """Return the inputs that a tile would fill."""
    if algorithm.kind != "cwl":
        return set()
    return {parameter.name for parameter in algorithm.parameters if space_choice(parameter)}


def _boxes(table: Any) -> list[Box]:
    """Return boxes around neighbouring tiles: one search for each, instead of one per tile."""
    edges = table[["west", "south", "east", "north"]].to_numpy(dtype=float)
    crossing = edges[:, 0] > edges[:, 2]
    eastern, western = edges[crossing].copy(), edges[crossing].copy()
    eastern[:, 2], western[:, 0] = 180.0, -180.0
    groups: dict[tuple[int, int], list[float]] = {}
    for west, south, east, north in np.concatenate([edges[~crossing], eastern, western]).tolist():
        cell = floor((west + east) / 2 / _CELL), floor((south + north) / 2 / _CELL)
        have = groups.get(cell, [west, south, east, north])
        groups[cell] = [min(have[0], west), min(have[1], south), max(have[2], east), max(have[3], north)]
    return [(west, south, east, north) for west, south, east, north in groups.values()]


# --- products as the dimension ---


def item_rows(
    config: Config, algorithm: Algorithm, table: Any, steps: Sequence[Step] | None, *, store: Store, say: Say
) -> list[Row]:
    """Return the rows of a ``for_each.search``.

    Raises
    ------
    ConfigError
        If it finds nothing, a parameter does not exist, or an item lacks what a parameter is to get.
    """
    each = config.for_each
    assert each is not None and each.search is not None  # noqa: S101 -- the caller saw that there is one
    search, key = each.search, "for_each.search"
    known = {parameter.name: parameter for parameter in algorithm.parameters}
    forms: dict[str, Form] = {}
    for name, field in search.fill.items():
        if name not in known:
            raise ConfigError(f"{algorithm.id} has no parameter {name}; it has {', '.join(known)}", key=f"{key}.fill")
        if field == "item":
            form = form_of(known[name], algorithm.kind)
            if form is None:
                raise ConfigError(f"{name} takes no item: it is {known[name].schema}", key=f"{key}.fill")
            forms[name] = form
    if config.time and search.time:
        raise ConfigError("the time dimension says when; keep one", key=f"{key}.time")
    aoi = read_aoi(search.aoi, key=f"{key}.aoi").geometry if search.aoi else None
    boxes = [tuple(aoi.bounds)] if aoi is not None else _boxes(table) if table is not None else None
    spans = [(search.time[0], search.time[1])] if search.time else None
    if steps:
        spans = spans_merged([(step.start, step.end) for step in steps])
    staged, closed = bool({"folder", "folders"} & set(forms.values())), unreachable(config, algorithm)
    pinned, documents = [], {}
    for item, document in _searched(search, boxes, spans, key=key, say=say):
        pinned.append(item)
        documents[item.digest] = document
    span = span_of(search.time, f"{key}.time") if search.time else None
    choice = Choice(pinned, limit=search.limit, descending=search.sort.startswith("-"))
    rows: list[Row] = []
    for item in choice.at(aoi, span):
        document = documents[item.digest]
        values = {
            name: written([item], forms[name], known[name], key=key, closed=closed)
            if field == "item"
            else _field(field, item, document, f"{key}.fill.{name}", closed=closed)
            for name, field in search.fill.items()
        }
        label = _LABEL.sub("-", item.id).strip("-_") or item.digest[:12]
        rows.append(Row(label, values, partial(_fits, item)))
        if staged:
            store.add(item.digest, document)
    if not rows:
        raise ConfigError(f"finds no item in {shown(search.catalogue)}", key=key)
    say(f"plan: for_each: {len(rows)} items of {shown(search.catalogue)}")
    return rows


def _fits(item: Pinned, geometry: Any, span: tuple[dt.datetime, dt.datetime] | None) -> bool:
    """Whether an item lies in a place and time; None for any."""
    placed = geometry is None or overlaps(item.shape, geometry)
    return placed and (span is None or within(item, span))


def _field(field: str, item: Pinned, document: Mapping[str, Any], key: str, *, closed: str) -> Any:
    kind, _, name = field.partition(":")
    if kind == "property":
        value = document.get("properties", {}).get(name)
    elif kind == "asset":
        value = document["assets"].get(name, {}).get("href")
    elif kind == "datetime":
        value = document.get("properties", {}).get("datetime") or document.get("properties", {}).get("start_datetime")
        value = value if instant(value) else None
    else:
        value = document.get(kind)
    if value is None:
        raise ConfigError(f"item {item.id} has no {field}", key=key)
    if kind == "asset" and closed and not is_remote(value):
        raise ConfigError(f"{field} of item {item.id} is a file of this machine, {closed}", key=key)
    return value
