"""STAC items as GeoParquet, in bounded memory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import UpscalingError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["write_items"]

BATCH = 2_000
# GeoParquet has a box in every row; an item without a place has none.
NO_PLACE = [math.nan] * 4


def write_items(items: Iterable[dict[str, Any]], path: Path) -> int:
    """Write STAC items, which are used up, as STAC GeoParquet; return their number.

    Columns are those of stac-geoparquet. Items need not have the same fields: every batch goes to a temporary Arrow
    file first, and the columns are the union of all batches. A ``processing:expression`` becomes JSON text, since a
    process graph has no columns. Nothing is written if there are no items.

    Raises
    ------
    UpscalingError
        A field has values that no one column can hold (text in one item, a number in another).
    """
    import pyarrow as pa
    from stac_geoparquet.arrow import to_parquet

    schemas: list[pa.Schema] = []
    count = 0
    stream = iter(items)
    with tempfile.TemporaryDirectory(prefix=".items-", dir=path.parent) as folder:
        parts: list[Path] = []
        try:
            while chunk := list(islice(stream, BATCH)):
                batch = _batch(chunk)
                parts.append(Path(folder) / f"{len(parts)}.arrow")
                with pa.OSFile(str(parts[-1]), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                if batch.schema not in schemas:
                    schemas.append(batch.schema)
                count += len(chunk)
            if not parts:
                return 0
            schema = _without_empty(pa.unify_schemas(schemas, promote_options="permissive"))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise UpscalingError(f"a field of the items has values of different types: {error}") from error
        reader = pa.RecordBatchReader.from_batches(*_final(parts, schema))
        to_parquet(reader, path, compression="zstd")
    return count


def _batch(items: list[dict[str, Any]]) -> pa.RecordBatch:
    """Return items as one Arrow batch, shaped like the JSON, with the geometry as WKB.

    stac-geoparquet's own conversion copies every item and makes a shapely object of each geometry: five times slower.
    """
    import orjson
    import pyarrow as pa
    import shapely

    outlines = [orjson.dumps(item["geometry"]).decode() if item["geometry"] else None for item in items]
    for item, wkb in zip(items, shapely.to_wkb(shapely.from_geojson(outlines), flavor="iso"), strict=True):
        item["geometry"] = wkb
        item.setdefault("bbox", NO_PLACE)
        expression = item["properties"].get("processing:expression")
        if expression:
            expression["expression"] = orjson.dumps(expression["expression"], option=orjson.OPT_SORT_KEYS).decode()
    return pa.RecordBatch.from_struct_array(pa.array(items))


def _without_empty(schema: pa.Schema) -> pa.Schema:
    """Leave out structs without fields (``assets`` if no item has any), which Parquet cannot hold."""
    import pyarrow as pa

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


def _final(parts: list[Path], schema: pa.Schema) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the batches as stac-geoparquet has them, all with the same columns, and their schema."""
    from itertools import chain

    import pyarrow as pa
    from stac_geoparquet.arrow._batch import StacJsonBatch

    def convert() -> Iterator[pa.RecordBatch]:
        for part in parts:
            with pa.ipc.open_file(str(part)) as reader:
                raw = pa.Table.from_batches([reader.get_batch(0)], reader.schema)
            for batch in raw.select(schema.names).cast(schema).to_batches():
                yield StacJsonBatch(batch).to_arrow_batch().inner

    batches = convert()
    first = next(batches)
    return first.schema, chain([first], batches)
