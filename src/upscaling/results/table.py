"""STAC items as GeoParquet, in bounded memory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import shapely

from upscaling.errors import UpscalingError
from upscaling.util.upstream import Patch

__all__ = ["GEOPARQUET", "TableError", "item_rows", "write_rows"]

_MODULE = "stac_geoparquet.arrow._batch"
GEOPARQUET = Patch(
    "stac-geoparquet",
    ">=0.8,<0.9",
    (
        f"{_MODULE}:StacJsonBatch(batch)",
        f"{_MODULE}:StacJsonBatch.to_arrow_batch(self)",
        f"{_MODULE}:StacArrowBatch.inner",
    ),
    "items.parquet cannot be written",
)
# Rows that are turned into GeoParquet at a time.
BATCH = 2_000
# Maps whose keys are data: as columns they would be another schema in every tile.
AS_TEXT = {"cube:dimensions", "cube:variables", "upscaling:outputs"}
# GeoParquet has a box in every row; an item without a place has none.
NO_PLACE = [math.nan] * 4


class TableError(UpscalingError):
    """Items that do not go into one table."""


def item_rows(items: list[dict[str, Any]]) -> bytes:
    """Return STAC items, which are used up, as one batch of rows (Arrow IPC); nothing for no items.

    A ``processing:expression`` becomes JSON text, since a process graph has no columns; so do the dimensions of a
    cube, whose names differ.

    Raises
    ------
    UpscalingError
        A field has values that no one column can hold (text in one item, a number in another), or a geometry is none.
    """
    if not items:
        return b""
    try:
        batch = _batch(items)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise UpscalingError(f"a field of the items has values of different types: {error}") from error
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def write_rows(batches: Iterable[bytes], path: Path) -> None:
    """Write rows of `item_rows` as STAC GeoParquet; nothing is written if there are none.

    Columns are those of stac-geoparquet. Items need not have the same fields: the columns are the union of all batches,
    which wait in a temporary file, so memory does not grow with their number.

    Raises
    ------
    TableError
        A field has values that no one column can hold; all batches were read.
    """
    from stac_geoparquet.arrow import to_parquet

    schemas: list[pa.Schema] = []
    with tempfile.TemporaryFile(prefix=".items-", dir=path.parent) as kept:
        sizes = []
        for rows in filter(None, batches):
            schema = pa.ipc.open_stream(rows).schema
            if schema not in schemas:
                schemas.append(schema)
            sizes.append(len(rows))
            kept.write(rows)
        if not sizes:
            return
        try:
            schema = _without_empty(pa.unify_schemas(schemas, promote_options="permissive"))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TableError(f"a field of the items has values of different types: {error}") from error
        kept.seek(0)
        reader = pa.RecordBatchReader.from_batches(*_final((kept.read(size) for size in sizes), schema))
        to_parquet(reader, path, compression="zstd")


def _batch(items: list[dict[str, Any]]) -> pa.RecordBatch:
    """Return items as one Arrow batch, shaped like the JSON, with the geometry as WKB.

    stac-geoparquet's own conversion copies every item and makes a shapely object of each geometry: five times slower.
    """
    outlines = [orjson.dumps(item["geometry"]).decode() if item["geometry"] else None for item in items]
    shapes = shapely.from_geojson(outlines, on_invalid="ignore")
    far: Any = (np.abs(shapely.bounds(shapes)) > 360).any(axis=1)
    for item, outline, shape, is_far in zip(items, outlines, shapes, far, strict=True):
        if is_far or (outline and shape is None):
            raise UpscalingError(f"the geometry of item {item['id']} is {'not on Earth' if is_far else 'none'}")
    for item, wkb in zip(items, shapely.to_wkb(shapes, flavor="iso"), strict=True):
        item["geometry"] = wkb
        item.setdefault("bbox", NO_PLACE)
        expression = item["properties"].get("processing:expression")
        if expression:
            expression["expression"] = orjson.dumps(expression["expression"], option=orjson.OPT_SORT_KEYS).decode()
        for holder in (item["properties"], *item["assets"].values()):
            for name in AS_TEXT & holder.keys():
                holder[name] = orjson.dumps(holder[name], option=orjson.OPT_SORT_KEYS).decode()
    return pa.RecordBatch.from_struct_array(pa.array(items))


def _without_empty(schema: pa.Schema) -> pa.Schema:
    """Leave out structs without fields (``assets`` if no item has any), which Parquet cannot hold."""

    def clean(kind: pa.DataType) -> pa.DataType | None:
        if not pa.types.is_struct(kind):
            return kind
        fields = [(field, clean(field.type)) for field in kind]
        kept = [field.with_type(inner) for field, inner in fields if inner is not None]
        return pa.struct(kept) if kept else None

    # a batch of items without a place does not show the type
    place = schema.get_field_index("geometry")
    schema = schema.set(place, schema.field(place).with_type(pa.binary()))
    cleaned = [(field, clean(field.type)) for field in schema]
    return pa.schema([field.with_type(inner) for field, inner in cleaned if inner is not None])


def _final(batches: Iterator[bytes], schema: pa.Schema) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the batches as stac-geoparquet has them, all with the same columns, and their schema."""
    GEOPARQUET.insist()
    from stac_geoparquet.arrow._batch import StacJsonBatch

    def converted(raw: pa.Table) -> pa.RecordBatch:
        (batch,) = raw.combine_chunks().to_batches()
        return StacJsonBatch(batch).to_arrow_batch().inner

    def convert() -> Iterator[pa.RecordBatch]:
        waiting: list[pa.Table] = []
        for rows in batches:
            table = pa.ipc.open_stream(rows).read_all().select(schema.names).cast(schema)
            waiting.append(table)
            if sum(map(len, waiting)) >= BATCH:
                yield converted(pa.concat_tables(waiting))
                waiting = []
        if waiting:
            yield converted(pa.concat_tables(waiting))

    batches_out = convert()
    first = next(batches_out)
    return first.schema, chain([first], batches_out)
