"""A process of OGC API - Processes as a pinned algorithm: where it is, what it takes, a copy of its description."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from upscaling.algorithms.records import OgcProcess, is_record, link_of, ogc_process, runs_on_ogcapi
from upscaling.errors import ConfigError, ErrorClass, PlatformError
from upscaling.http.address import is_web
from upscaling.model import Algorithm, Parameter
from upscaling.util.files import read_json, sha256_file, write_json

if TYPE_CHECKING:
    from upscaling.clients.ogcapi.client import OgcApiClient
    from upscaling.config import Config
    from upscaling.config.ogcapi import OgcApiBackendConfig

__all__ = ["essence", "find_process", "pin_process", "read_inputs", "schema_of_cwl", "types_of"]

_KEY = "algorithm.source"
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
_BBOX = {
    "type": "object",
    "format": "ogc-bbox",
    "required": ["bbox"],
    "properties": {"bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6}, "crs": {}},
}
# What descriptions refer to by the address of a schema, and what it means here; longer names first.
_REFERENCES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("bbox", _BBOX),
    ("featurecollection", {"type": "object", "format": "geojson-feature-collection"}),
    ("feature", {"type": "object", "format": "geojson-feature"}),
    ("geojson", {"type": "object", "format": "geojson-geometry"}),
    ("geometry", {"type": "object", "format": "geojson-geometry"}),
    ("polygon", {"type": "object", "format": "geojson-geometry"}),
)
_DEEPEST = 8  # references within references
# The types of literals in CWL and in drafts before 1.0, and in JSON Schema.
_LITERALS = {"double": "number", "float": "number", "int": "integer", "long": "integer", "bool": "boolean"} | {
    name: name for name in ("boolean", "integer", "number", "string")
}
_CWL_TYPES: dict[str, dict[str, Any]] = {name: {"type": kind} for name, kind in _LITERALS.items()} | {
    "File": {"type": "string", "format": "uri", "contentMediaType": "application/octet-stream"},
    "Directory": {"type": "string", "format": "uri", "contentMediaType": "application/json"},
}


def find_process(config: Config) -> tuple[OgcProcess, dict[str, Any] | None]:
    """Return where the process of a run is, and its catalogue record, if it was named by one.

    Raises
    ------
    ConfigError
        If ``algorithm.source`` leads to no process, or the server is not named.
    """
    from upscaling.algorithms.catalogue import parse, read_source

    source, url = config.algorithm.source, _backend(config).url
    if is_web(source) and "/processes/" in source:
        found = ogc_process(source.partition("?")[0].rstrip("/").removesuffix("/execution"))
        if found is None:
            raise ConfigError("is no address of a process (…/processes/<id>)", key=_KEY)
        return found, None
    named = is_web(source) or Path(source).is_file() or config.algorithm.catalogue is not None
    if not named:
        if "/" in source or source.endswith(".json"):
            raise ConfigError(
                f"no such file: {source}; a process is named by its URL, or its id with backend.url", key=_KEY
            )
        if url is None:
            raise ConfigError(f"is required with a process's id ({source})", key="backend.url")
        return OgcProcess(url, "", source), None
    text, place = read_source(config.algorithm)
    record = parse(text, place)
    if not is_record(record):
        raise ConfigError("is neither a process nor a catalogue record", key=_KEY, file=place)
    if not runs_on_ogcapi(record):
        raise ConfigError("is no service of OGC API - Processes; it needs backend.kind openeo", key=_KEY, file=place)
    service = str(link_of(record, "service").get("href") or "")
    found = ogc_process(service)
    if found is None:
        raise ConfigError(f"its `service` link ({service or 'missing'}) is no …/processes/<id>", key=_KEY, file=place)
    return (found if url is None else found._replace(base=url)), record


def _backend(config: Config) -> OgcApiBackendConfig:
    assert config.backend.kind == "ogcapi"  # noqa: S101 -- the caller chose by it
    return config.backend


def pin_process(config: Config, into: Path) -> tuple[Algorithm, str]:
    """Write a copy of the process's description (or of the package to deploy) into the folder ``into``.

    Returns
    -------
    (algorithm, landing page of the server)

    Raises
    ------
    ConfigError
        If the process cannot be found or described, or a package has no server to go to.
    """
    from upscaling.algorithms.catalogue import is_package
    from upscaling.clients.ogcapi.client import OgcApiClient

    backend = _backend(config)
    if is_package(config.algorithm.source):
        return _pin_package(config, into)
    process, record = find_process(config)
    client = OgcApiClient(process.base, backend.auth)
    description = described(client, process.id)
    path = into / "process.json"
    write_json(path, essence(description))
    properties = (record or {}).get("properties", {})
    algorithm = Algorithm(
        kind="ogcapi",
        id=process.id,
        path=path,
        sha256=sha256_file(path),
        source=f"{process.base}/processes/{process.id}",
        parameters=tuple(read_inputs(description)),
        title=str(properties.get("title") or description.get("title") or ""),
        description=str(properties.get("description") or description.get("description") or "").strip(),
        version=str(description.get("version") or ""),
        record=record,
    )
    return algorithm, process.base


def _pin_package(config: Config, into: Path) -> tuple[Algorithm, str]:
    from upscaling.algorithms.catalogue import pin_package_of

    url = _backend(config).url
    if url is None:
        raise ConfigError("is required for a package: where to deploy it", key="backend.url")
    package = pin_package_of(config.algorithm.source, into, config.algorithm.files_from)
    parameters = tuple(
        dataclasses.replace(parameter, schema=schema_of_cwl(parameter.schema)) for parameter in package.parameters
    )
    return dataclasses.replace(package, kind="ogcapi", parameters=parameters), url


def described(client: OgcApiClient, process_id: str) -> dict[str, Any]:
    """Ask for a process's description.

    Raises
    ------
    ConfigError
        One line: no such process, no access, or no answer.
    """
    try:
        return client.process(process_id)
    except PlatformError as error:
        if error.code and error.code.startswith("404 "):
            raise ConfigError(f"{client.base} has no process {process_id}{_those(client)}", key=_KEY) from None
        key = {ErrorClass.AUTH: "backend.auth"}.get(error.error_class, "backend.url")
        raise ConfigError(str(error), key=key) from None


def _those(client: OgcApiClient) -> str:
    try:
        names = [str(process.get("id")) for process in client.processes()]
    except PlatformError:
        return ""
    return f"; it has {', '.join(names[:10])}{' …' if len(names) > 10 else ''}" if names else "; it has none"


def essence(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a description says of the work itself: links, examples and texts come and go."""
    kept = ("id", "version", "jobControlOptions", "outputTransmission", "inputs", "outputs")
    return {name: description[name] for name in kept if name in description}


def is_sync_only(algorithm: Algorithm) -> bool:
    """Whether the pinned description says that the process runs only while the caller waits."""
    options = read_json(algorithm.path).get("jobControlOptions") if algorithm.path.suffix == ".json" else None
    return isinstance(options, list) and bool(options) and "async-execute" not in options


def read_inputs(description: Mapping[str, Any]) -> Iterator[Parameter]:
    """Yield the inputs of a process; an input that must be there but has a default need not be given."""
    for name, entry in _entries(description.get("inputs")):
        schema = _schema(entry, description)
        least = _occurs(entry.get("minOccurs"))
        default = schema.get("default")
        yield Parameter(
            name=name,
            schema={**schema, "x-minOccurs": least},
            required=least > 0 and default is None and not schema.get("nullable"),
            default=default,
            description=" ".join(str(entry.get(key) or "") for key in ("title", "description")).strip(),
        )


def _entries(inputs: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (name, input), from the object of 1.0 or the list of the drafts before it."""
    if isinstance(inputs, Mapping):
        yield from ((str(name), entry) for name, entry in inputs.items() if isinstance(entry, Mapping))
    for entry in inputs if isinstance(inputs, list) else ():
        if isinstance(entry, Mapping) and "id" in entry:
            yield str(entry["id"]), entry


def _occurs(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():  # as some servers made from WPS write it
        return int(value)
    return value if isinstance(value, int) else 1_000_000 if value == "unbounded" else 1


def _schema(entry: Mapping[str, Any], description: Mapping[str, Any]) -> dict[str, Any]:
    given = entry.get("schema")
    old = entry.get("input")
    schema: dict[str, Any] = (
        _tidy(given, (given, description))
        if isinstance(given, Mapping)
        else _old_schema(old if isinstance(old, Mapping) else entry)
    )
    least, most = _occurs(entry.get("minOccurs")), _occurs(entry.get("maxOccurs"))
    if most > 1 and schema.get("type") != "array":
        several = {"type": "array", "items": schema, "minItems": max(least, 1), "maxItems": most}
        kept = {"default": schema["default"]} if "default" in schema else {}
        schema = {"anyOf": [several, schema] if least <= 1 else [several], **kept}
    return schema


def _tidy(schema: Any, documents: tuple[Any, ...], within: frozenset[str] = frozenset()) -> Any:
    """Return a JSON schema without references to elsewhere and without OpenAPI 3.0's own spellings.

    Parameters
    ----------
    documents
        In which a local reference (``#/…``) is looked up.
    within
        The local references that lead here: one to itself says nothing.
    """
    if isinstance(schema, list):
        return [_tidy(part, documents, within) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        place = str(schema["$ref"])
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        local = next((found for found in (_local(place, document) for document in documents) if found is not None), {})
        if local and place not in within and len(within) < _DEEPEST:
            return _tidy({**local, **beside}, documents, within | {place})
        name = place.rpartition("/")[2].lower()
        meant: dict[str, Any] = {} if local else next((meant for part, meant in _REFERENCES if part in name), {})
        return {**meant, **_tidy(beside, documents, within)}
    tidied = {str(key): _tidy(value, documents, within) for key, value in schema.items() if _is_sane(str(key), value)}
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        if isinstance(tidied.get(bound), bool):
            del tidied[bound]
    if tidied.get("nullable") is True and isinstance(tidied.get("type"), str):
        tidied["type"] = [tidied["type"], "null"]
    return tidied


def _local(place: str, document: Any) -> Mapping[str, Any] | None:
    """Return the schema that a JSON pointer (RFC 6901) leads to in a document; None if it leads to none."""
    if not place.startswith("#/"):
        return None
    for part in unquote(place[2:]).split("/"):
        document = document.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(document, Mapping) else None
    return document if isinstance(document, Mapping) else None


def _is_sane(word: str, value: Any) -> bool:
    """Return whether a word of JSON Schema that is read here has a value of its type; what has not says nothing."""
    if word in {"anyOf", "oneOf", "allOf"}:
        return isinstance(value, list) and all(isinstance(part, Mapping) for part in value)
    if word == "type":
        return isinstance(value, str) or (isinstance(value, list) and all(isinstance(part, str) for part in value))
    if word == "properties":
        return isinstance(value, Mapping) and all(isinstance(part, Mapping) for part in value.values())
    if word == "items":
        return isinstance(value, Mapping)
    if word in {"enum", "required"}:
        return isinstance(value, list)
    return isinstance(value, str) if word in {"format", "contentMediaType", "$ref"} else True


def _old_schema(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema for an input as drafts before 1.0 described it (and servers of the time still do)."""
    if "supportedCRS" in entry:
        return dict(_BBOX)
    domains = entry.get("literalDataDomains") or [entry.get("literalDataDomain")]
    domain = domains[0] if isinstance(domains, list) and domains and isinstance(domains[0], Mapping) else None
    if domain is None:
        formats = entry.get("formats")
        first = formats[0] if isinstance(formats, list) and formats and isinstance(formats[0], Mapping) else {}
        media_type = str(first.get("mimeType") or first.get("mediaType") or "")
        return {"contentMediaType": media_type} if media_type else {}
    kind = domain.get("dataType")
    name = str(kind.get("name") if isinstance(kind, Mapping) else kind or "string").lower()
    schema: dict[str, Any] = {"type": _LITERALS.get(name, "string")}
    definition = domain.get("valueDefinition")
    values = domain.get("allowedValues") or (definition if isinstance(definition, Mapping) else {}).get("allowedValues")
    if isinstance(values, list) and values and all(isinstance(value, str | int | float) for value in values):
        schema["enum"] = values
    if domain.get("defaultValue") is not None:
        schema["default"] = domain["defaultValue"]
    return schema


def schema_of_cwl(cwl: Any) -> dict[str, Any]:
    """Return the JSON schema that a CWL input type has on a server that deployed the package (20-044, 9.2)."""
    if isinstance(cwl, list):
        members = [schema_of_cwl(member) for member in cwl if member != "null"]
        schema = members[0] if len(members) == 1 else {"anyOf": members}
        return {**schema, "nullable": True} if "null" in cwl else schema
    if isinstance(cwl, str):
        return dict(_CWL_TYPES.get(cwl, {}))
    kind = cwl.get("type")
    if kind == "array":
        return {"type": "array", "items": schema_of_cwl(cwl["items"])}
    if kind == "enum":
        return {"type": "string", "enum": list(cwl["symbols"])}
    if kind == "record":
        fields = {name: schema_of_cwl(field) for name, field in cwl["fields"].items()}
        return {"type": "object", "properties": fields}
    return {}


def types_of(schema: Mapping[str, Any]) -> set[str]:
    """Return the types that a schema names, without null."""
    given = schema.get("type")
    return {
        name for name in (given if isinstance(given, list) else [given]) if isinstance(name, str) and name != "null"
    }
