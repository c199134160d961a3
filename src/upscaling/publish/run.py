"""The order of publishing: what is pointed to goes before what points to it, and the collection last of all."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import ConfigError, UpscalingError
from upscaling.planning.plan import load_plan
from upscaling.publish.explorer import explorer_config
from upscaling.publish.objects import Product, Published
from upscaling.publish.stac_api import StacApi
from upscaling.publish.store import Sent, Store
from upscaling.results.shapes import read_mosaics
from upscaling.results.validate import validate_collection
from upscaling.util.files import write_json

if TYPE_CHECKING:
    from upscaling.config import Config
    from upscaling.config.products import Publish

__all__ = ["publish"]

_SHOWN = 5


def publish(
    config: Config,
    run_folder: Path,
    *,
    dry_run: bool = False,
    partial: bool = False,
    say: Callable[[str], Any] = lambda _: None,
) -> dict[str, Any]:
    """Publish a run's collection as ``publish`` says; safe to repeat after any kind of end.

    Objects go to S3 in this order: assets and mosaics, items, tables of items, collections, the root collection last.
    What is there with the same checksum is not sent again. Then the collection and the items are registered in the
    STAC API, if there is one. ``published.json`` in the run's folder says what was done, and is written last.

    Parameters
    ----------
    dry_run
        Look at what is there, and say what would be sent; nothing is.
    partial
        Publish a run of which tiles are missing, too.
    say
        Is told one line per step.

    Returns
    -------
    The content of ``published.json``.

    Raises
    ------
    UpscalingError
        There is nothing to publish, tiles are missing (unless ``partial``), there is no ``publish`` block, a document
        does not pass the checks of the PRR (where ``collection.prr`` is set), or S3 or the API refuse.
    """
    settings = config.publish
    if settings is None:
        raise ConfigError("is missing: it says where to", key="publish")
    product = Product(run_folder, settings.public_url or settings.s3)
    notices: list[str] = []

    def notice(line: str) -> None:
        notices.append(line)
        say(f"notice: {line}")

    for line in (*_missing(product, run_folder, partial=partial), *_check(config, run_folder)):
        notice(line)
    store, every = Store(settings), list[Sent]()

    def step(name: str, objects: Any) -> None:
        sent = store.send(objects, dry_run=dry_run)
        say(
            f"{name}: {sent.objects} {'to send' if dry_run else 'sent'} ({sent.bytes / 1e6:.1f} MB),"
            f" {sent.same} there already"
        )
        every.append(sent)

    step("files", product.assets())
    step("items", product.item_objects())
    tables: dict[Path, Published] = {}
    with tempfile.TemporaryDirectory(prefix=".publish-", dir=run_folder) as scratch:
        for collection, table in product.tables(Path(scratch)):
            tables[collection] = table
            step("table", [table])
            Path(str(table.content)).unlink()
    step("explorer", _explorer(product, run_folder, notice))
    for path in product.collections():
        document = product.collection(path, tables.get(path))
        step("collection", [product.document(path, document)])
    registered = None
    if settings.stac_api and not dry_run:
        registered = _register(settings, settings.stac_api, product, tables)
        say(f"registered: {registered} items in {settings.stac_api}")
    elif settings.stac_api:
        say(f"would be registered in {settings.stac_api}")
    content = {
        "published": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "collection": f"{product.base}/collection.json",
        "s3": settings.s3,
        **{name: sum(getattr(sent, name) for sent in every) for name in ("objects", "bytes", "same")},
        "stac_api": settings.stac_api,
        "registered": registered,
        "notices": notices,
    }
    if not dry_run:
        write_json(run_folder / "published.json", content)
    return content


def _missing(product: Product, run_folder: Path, *, partial: bool) -> list[str]:
    """Say how many tiles of the plan are not in the collection; they may be missing only if that is wanted.

    What is in it, and was planned otherwise since, is refused.
    """
    plan = load_plan(run_folder).tiles
    planned = len(plan)
    keys = product.keys()
    if stale := sum(tile not in plan or plan[tile].key != key for tile, key in keys.items()):
        raise UpscalingError(
            f"{stale} of {len(keys)} items of the collection are not what is planned now (another algorithm, area"
            " or parameters): run the plan first"
        )
    if len(keys) >= planned:
        return []
    words = f"{planned - len(keys)} of {planned} tiles of the run are missing from the collection"
    if not partial:
        raise UpscalingError(f"{words}: finish the run, or publish what there is with `upscaling publish --partial`")
    return [words]


def _check(config: Config, run_folder: Path) -> list[str]:
    """Check the collection once more, as the PRR would; its faults are ours to say where it is meant for the PRR."""
    prr = config.collection.prr is not None
    problems = validate_collection(run_folder / "collection.json", prr=prr)
    if problems and prr:
        more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
        raise UpscalingError(f"the PRR would refuse this collection: {'; '.join(problems[:_SHOWN])}{more}")
    return problems


def _explorer(product: Product, run_folder: Path, notice: Callable[[str], None]) -> list[Published]:
    root = product.public(product.folder / "collection.json")
    content = explorer_config(root, read_mosaics(run_folder, notice), run_folder, product.base)
    if content is None:
        notice("no explorer-config.json: the Geospatial Explorer needs a COG of the mosaic (mosaic.cog: true)")
        return []
    if not product.base.startswith("https://"):
        notice("the Geospatial Explorer reads https only: set publish.public_url")
    path = run_folder / "explorer-config.json"
    write_json(path, content)
    return [product.document(product.folder / path.name, content)]


def _register(settings: Publish, api: str, product: Product, tables: dict[Path, Published]) -> int:
    root = product.folder / "collection.json"
    collection = product.collection(root, tables.get(root))
    return StacApi(api).register(collection, product.items(), read=settings.auth_read, write=settings.auth_write)
