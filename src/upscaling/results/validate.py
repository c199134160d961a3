"""Validate a collection and its items against the STAC JSON schemas, without a network."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry
from referencing.jsonschema import DRAFT7

from upscaling.errors import ConfigError, UpscalingError
from upscaling.results.cubes import is_zarr
from upscaling.results.item import EXTENSIONS
from upscaling.results.profile import collection_problems, homogeneity_problems, item_problems
from upscaling.results.shapes import Document, read_stac
from upscaling.util.files import link_out, matches_checksum, size_of

__all__ = ["Validator", "validate_collection"]

# Extensions that the profile checks by rules of its own where their schema is not at hand.
BY_THE_PROFILE = {EXTENSIONS["datacube"], EXTENSIONS["table"]}
CORE = "https://schemas.stacspec.org/v1.1.0/{name}-spec/json-schema/{name}.json"


class Validator:
    """STAC 1.1 core, bundled with pystac, and the extensions of a folder; never goes online.

    Parameters
    ----------
    schemas
        Folder of JSON schemas (``*.json``, each with its URI as ``$id``), or None to check the core only.

    Notes
    -----
    pystac's own validator fetches a schema that it does not have, and takes six times as long per item because it
    builds every schema anew.
    """

    def __init__(self, schemas: Path | None = None) -> None:
        self.schemas: dict[str, Any] = dict(get_local_schema_cache())
        self.with_extensions = schemas is not None
        if schemas is not None:
            self.schemas |= _read_schemas(schemas)
        resources = [(uri, DRAFT7.create_resource(schema)) for uri, schema in self.schemas.items()]
        self.registry: Registry[Any] = Registry().with_resources(resources)
        self.validators: dict[str, Draft7Validator] = {}

    def problems(self, stac: Mapping[str, Any]) -> Iterator[str]:
        """Yield one line for each way in which an item or a collection breaks a schema it declares."""
        kind = {"Feature": "item", "Collection": "collection", "Catalog": "catalog"}.get(str(stac.get("type")))
        if kind is None or stac.get("stac_version") != "1.1.0":
            yield f"type {stac.get('type')!r}, stac_version {stac.get('stac_version')!r}: not a STAC 1.1.0 object"
            return
        uris = [CORE.format(name=kind)]
        if self.with_extensions:
            uris += stac.get("stac_extensions", [])
        for uri in uris:
            if uri in self.schemas:
                yield from self._against(uri, stac)
            elif uri not in BY_THE_PROFILE:
                yield f"stac_extensions: no schema of {uri} at hand, so it was not checked"

    def _against(self, uri: str, stac: Mapping[str, Any]) -> Iterator[str]:
        if uri not in self.validators:
            self.validators[uri] = Draft7Validator(
                self.schemas[uri], registry=self.registry, format_checker=Draft7Validator.FORMAT_CHECKER
            )
        worst = best_match(self.validators[uri].iter_errors(stac))
        if worst is not None:
            where = "/".join(str(part) for part in worst.absolute_path) or "(top)"
            yield f"{where}: {' '.join(worst.message.split())[:300]} [{uri}]"


def _read_schemas(folder: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            schema = orjson.loads(path.read_bytes())
            found[str(schema["$id"]).rstrip("#")] = schema
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"is not a JSON schema with an $id: {error}", file=path) from error
    if not found:
        raise ConfigError("holds no JSON schema (*.json)", file=folder)
    return found


def validate_collection(
    path: Path, schemas: Path | None = None, *, prr: bool = False, content: bool = False
) -> list[str]:
    """Validate a collection, its sub-collections, all items that they link to, and the files that these describe.

    Parameters
    ----------
    path
        A ``collection.json`` with relative links.
    schemas
        Folder of schemas of STAC extensions; None checks the STAC core only.
    prr
        Ask for all that ESA's Project Results Repository requires.
    content
        Read every file, too, and compare it with its checksum.

    Returns
    -------
    One line for each problem, starting with the file it is in; empty if all is well. A recommendation of APEx that is
    not followed is named (``STAC-REC-05``).
    """
    return list(_problems(Validator(schemas), path, path.name, path.parent, prr=prr, content=content))


def _problems(
    validator: Validator, path: Path, name: str, root: Path, *, prr: bool, content: bool, above: tuple[Path, ...] = ()
) -> Iterator[str]:
    try:
        collection = read_stac(path, root=root)
    except UpscalingError as error:
        yield str(error)
        return
    if path.resolve() in above:
        yield f"{name}: is a child of itself"
        return
    for problem in (*validator.problems(collection), *collection_problems(collection, prr=prr)):
        yield f"{name}: {problem}"
    yield from _asset_problems(name, path, collection, root, content=content)
    seen: set[str] = set()
    for link in collection.get("links", []):
        # As seen from the first collection, for the messages.
        below = posixpath.normpath(posixpath.join(posixpath.dirname(name), str(link.get("href", ""))))
        file = path.parent / str(link.get("href", ""))
        if link.get("rel") == "child":
            before = (*above, path.resolve())
            yield from _problems(validator, file, below, root, prr=False, content=content, above=before)
        if link.get("rel") != "item":
            continue
        try:
            item = read_stac(file, Document, root=root)
        except UpscalingError as error:
            yield str(error)
            continue
        for problem in (*validator.problems(item), *item_problems(item)):
            yield f"{below}: {problem}"
        for problem in homogeneity_problems(item, collection.get("item_assets", {})):
            yield f"{below}: {problem}"
        yield from _asset_problems(below, file, item, root, content=content)
        if item.get("collection") != collection.get("id"):
            yield f"{below}: names collection {item.get('collection')!r}, not {collection.get('id')!r}"
        if item.get("id") in seen:
            yield f"{below}: a second item with id {item.get('id')!r}"
        seen.add(str(item.get("id")))


def _asset_problems(name: str, file: Path, stac: Mapping[str, Any], root: Path, *, content: bool) -> Iterator[str]:
    """Check that relative assets are there, in the size (and with the ``content``) that is stated."""
    for key, asset in stac.get("assets", {}).items():
        href = str(asset.get("href", ""))
        if "://" in href:
            continue
        target = file.parent / href
        if (outside := link_out(target, root)) is not None:
            yield f"{name}: asset {key}: {href} is a link to {outside}, outside the run's folder"
        elif not target.is_file() and not is_zarr(target):
            yield f"{name}: asset {key}: {href} is not there"
        elif asset.get("file:size", size := size_of(target)) != size:
            yield f"{name}: asset {key}: {href} has {size} bytes, file:size says {asset['file:size']}"
        elif content and target.is_file() and not matches_checksum(target, str(asset.get("file:checksum") or "")):
            yield f"{name}: asset {key}: {href} is damaged: it has not the checksum that file:checksum says"
