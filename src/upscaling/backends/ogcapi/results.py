"""What a server sent as results, in any dialect, as a list of files to bring: nothing is fetched or named here.

A reply is one of: a STAC collection, catalogue, item or item collection; other GeoJSON; a results document
(``{output: value}``, pygeoapi's ``{"outputs": […]}``, or the list of drafts before 1.0); multipart; nothing but Link
headers; or the bytes of the one output.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.errors import (
    CloseBoundaryNotFoundDefect,
    InvalidBase64CharactersDefect,
    InvalidBase64LengthDefect,
    InvalidBase64PaddingDefect,
)
from email.parser import BytesParser
from email.policy import compat32
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin

from upscaling.errors import ErrorClass, PlatformError, TileFailedError, bad_output
from upscaling.util.files import read_json
from upscaling.util.stac_walk import kind_of
from upscaling.util.text import plain_text

__all__ = ["Found", "read_reply"]

_LARGEST_DOCUMENT = 256 << 20  # bytes of JSON or multipart: they are read as a whole
_DEEPEST = 8
_NO_CONTENT = 204
_NO_BASE64 = (InvalidBase64CharactersDefect, InvalidBase64LengthDefect, InvalidBase64PaddingDefect)
_RESULT_RELS = {"child", "data", "enclosure", "item", "items"}
_NO_RESULT = re.compile(r"self|up|alternate|monitor|results?|status|http://www\.opengis\.net/.*", re.IGNORECASE)
_URL = re.compile(r"(https?|s3)://\S+", re.IGNORECASE)
_INLINE = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.=+-]+)*?(;base64)?,(.*)", re.IGNORECASE | re.DOTALL)
_NAMES_A_FILE = re.compile(
    r"\.(json|geojson|tiff?|nc|zip|csv|parquet|gpkg|fgb|jp2|h5|png|xml|txt|gz|tar)([?#]|$)", re.I
)
_OF_ERRORS = {"type", "title", "status", "detail", "instance", "code", "description"}
_SHAPES = {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"}
_GEOJSON = {"Feature", "FeatureCollection", "GeometryCollection", *_SHAPES}
# Members that a qualified value or a link may have: more means that the object is itself the value.
_OF_A_LINK = {"href", "type", "title", "rel", "hreflang", "length"}
_OF_A_VALUE = {"value", "inlineValue", "mediaType", "encoding", "schema", "format", "dataType", "uom"}
_QUALIFIED = {"id", "class", *_OF_A_LINK, *_OF_A_VALUE}


@dataclass(frozen=True, slots=True)
class Found:
    """One thing among the results: a reference, a STAC document to walk through, or content that is here already.

    Attributes
    ----------
    key
        The server's name for it: a hint, never a path.
    href
        Absolute address, for a reference.
    content
        The bytes themselves, or a file that holds them.
    stac
        A STAC document, whose relative links count from ``base``.
    literal
        True for a number, a text, or a list or object of them, that the reply itself holds as an output's value.
    """

    key: str
    href: str = ""
    content: bytes | Path | None = None
    stac: Mapping[str, Any] | None = None
    base: str = ""
    media_type: str = ""
    literal: bool = False


def read_reply(reply: Path, *, has_outputs: bool = False) -> list[Found]:
    """Return what a stored reply holds; nothing where all outputs are null, or the server has no content (204).

    Parameters
    ----------
    has_outputs
        Whether the process is known to have outputs: a reply that names none of them is then none of its results.

    Raises
    ------
    TileFailedError
        If it cannot be what it says it is.
    PlatformError
        If it is an error after all, names no output (``bad-output``), or breaks off (``transient``).
    """
    facts = read_json(reply.with_name(f"{reply.name}.headers.json"))
    base, kind = str(facts["url"]), str(facts["type"])
    if reply.stat().st_size == 0:
        links = [link for link in facts["links"] if not _NO_RESULT.fullmatch(link["rel"])]
        if has_outputs and not links and facts.get("status") != _NO_CONTENT:
            raise _without_outputs("an empty body")
        return [
            Found(str(link["rel"]), href=_absolute(base, link["href"]), media_type=str(link.get("type") or ""))
            for link in links
        ]
    if "multipart/" in kind.lower():
        return _multipart(reply, kind, base)
    if "json" not in kind and not _looks_like_json(reply):
        return [Found("data", content=reply, media_type=kind.partition(";")[0].strip())]
    if reply.stat().st_size > _LARGEST_DOCUMENT:
        raise bad_output(f"the results are {reply.stat().st_size} bytes of JSON")
    content = _parsed(reply.read_bytes(), "the results are")
    found = list(_document(content, base))
    if has_outputs and not found and not _names_output(content):
        raise _without_outputs(plain_text(json.dumps(content)))
    return found


def _names_output(content: Any) -> bool:
    """Return whether a document has an output, be it null: ``{}``, ``{"outputs": []}`` and links alone have none."""
    if isinstance(content, list):
        return any(map(_names_output, content))
    if not isinstance(content, Mapping):
        return True
    inner = content.get("outputs")
    return _names_output(inner) if isinstance(inner, list | Mapping) else not set(content) <= {"links"}


def _without_outputs(what: str) -> PlatformError:
    return PlatformError(f"the results name no output of the process: {what}", error_class=ErrorClass.OUTPUT)


def _looks_like_json(reply: Path) -> bool:
    with reply.open("rb") as stream:
        start = stream.read(64).lstrip()
    return start[:1] in {b"{", b"["} and reply.stat().st_size < _LARGEST_DOCUMENT


def _absolute(base: str, href: object) -> str:
    try:
        return urljoin(base, str(href))
    except ValueError:
        raise bad_output(f"the results have a link that is no address: {plain_text(href)}") from None


def _multipart(reply: Path, kind: str, base: str) -> list[Found]:
    if reply.stat().st_size > _LARGEST_DOCUMENT:
        raise bad_output(f"the results are {reply.stat().st_size} bytes in parts; ask for one output")
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    try:
        # The older policy: the newer ones read each header by a grammar, which long odd ones break.
        message = BytesParser(policy=compat32).parsebytes(head + reply.read_bytes())
    except RecursionError:
        raise bad_output("the results are nested too deeply") from None
    if any(isinstance(defect, CloseBoundaryNotFoundDefect) for defect in message.defects):
        raise PlatformError("the results break off before their last part ends", error_class=ErrorClass.TRANSIENT)
    parts = message.get_payload() if message.is_multipart() else []
    found: list[Found] = []
    for number, part in enumerate(parts):
        name = str(part.get("Content-ID") or part.get_filename() or f"part-{number}").strip("<> ")
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes):
            raise bad_output(f"part {plain_text(name)} of the results is itself in parts")
        if any(isinstance(defect, _NO_BASE64) for defect in part.defects):
            raise bad_output(f"part {plain_text(name)} of the results is not the base64 it says")
        media_type, place = part.get_content_type(), part.get("Content-Location")
        if place and not content.strip():
            found.append(Found(name, href=_absolute(base, place), media_type=media_type))
        elif "json" in media_type:
            found += _value(name, _parsed(content, f"output {name} is"), base, 0)
        else:
            found.append(Found(name, content=content, media_type=media_type))
    if not found:
        raise bad_output("the results are multipart without a part")
    return found


def _parsed(content: bytes, what: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise bad_output(f"{what} not JSON: {error}") from None


def _document(content: Any, base: str) -> Iterator[Found]:
    """Take a JSON reply apart: first whether it is itself the output, then whether it names outputs."""
    if kind_of(content) or _is_geojson(content):
        yield from _value("result", content, base, 0)
        return
    if isinstance(content, Mapping):
        for kind, words in (("title", "detail"), ("code", "description")):  # RFC 7807, and OGC's before
            if (
                isinstance(content.get(kind), str)
                and isinstance(content.get(words), str)
                and set(content) <= _OF_ERRORS
            ):
                raise PlatformError(f"{content[kind]}: {content[words]}", error_class=ErrorClass.PERMANENT)
        if "title" in content and "detail" in content and "status" in content:
            raise PlatformError(f"{content['title']}: {content['detail']}", error_class=ErrorClass.PERMANENT)
        inner = content.get("outputs")
        if isinstance(inner, list) and set(content) <= {"outputs", "links"}:
            for number, entry in enumerate(inner):  # one that is no result itself names itself by ``id``, if at all
                is_result = not isinstance(entry, Mapping) or kind_of(entry) or _is_geojson(entry)
                yield from _value(f"output-{number}", entry, base, 0) if is_result else _document(entry, base)
            return
        if isinstance(inner, Mapping) and set(content) <= {"outputs", "links", "id", "status", "jobID"}:
            content = inner
        if _is_qualified(content):
            yield from _value(str(content.get("id") or "result"), content, base, 0)
            return
        for name, value in content.items():
            if name != "links" or (len(content) == 1 and not _are_links(value)):
                yield from _value(str(name), value, base, 0)
            else:
                yield from _links(value, base, alone=len(content) == 1)
        return
    yield from _value("result", content, base, 0)


def _are_links(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(link, Mapping) and "rel" in link for link in value)


def _links(links: Any, base: str, *, alone: bool) -> Iterator[Found]:
    """Yield what the links beside outputs lead to, where that is a result and not another page of the server.

    Parameters
    ----------
    alone
        Whether there is nothing else: then also what has a relation of its own.
    """
    for link in links if isinstance(links, list) else ():
        rel = link.get("rel") if isinstance(link, Mapping) else None
        rel = str(rel or "")
        if rel not in _RESULT_RELS and not (alone and (rel == "result" or not _NO_RESULT.fullmatch(rel))):
            continue
        if not isinstance(link, Mapping) or not isinstance(link.get("href"), str):
            raise bad_output(f"the results have a link without an address: {plain_text(link)}")
        media_type = str(link.get("type") or "")
        yield Found(str(link.get("title") or rel or "result"), _absolute(base, link["href"]), media_type=media_type)


def _is_geojson(content: Any) -> bool:
    return isinstance(content, Mapping) and str(content.get("type")) in _GEOJSON


def _is_qualified(value: Mapping[str, Any]) -> bool:
    return bool({"value", "href", "inlineValue"} & set(value)) and set(value) <= _QUALIFIED


def _value(key: str, value: Any, base: str, depth: int) -> Iterator[Found]:
    """Take one output apart: qualified values and links are opened, lists are numbered."""
    if depth > _DEEPEST:
        raise bad_output(f"output {key} is nested too deeply")
    if isinstance(value, str):
        value = _document_in(value) or value
    if kind_of(value):
        yield Found(key, stac=value, base=base)
    elif _is_geojson(value):
        yield Found(key, content=_dumped(value), media_type="application/geo+json")
    elif isinstance(value, Mapping) and (_is_qualified(value) or _names_file(value)):
        yield from _qualified(key, value, base, depth)
    elif isinstance(value, Mapping) and any(map(_names_file, value.values())):  # files and values by name
        for name, entry in value.items():
            yield from _value(f"{key}-{name}", entry, base, depth + 1)
    elif isinstance(value, str) and (found := _INLINE.fullmatch(value)):
        yield Found(key, content=_inline(key, found), media_type=found[1] or "text/plain")
    elif isinstance(value, list) and value and any(isinstance(entry, Mapping | str) for entry in value):
        for number, entry in enumerate(value):
            yield from _value(key if len(value) == 1 else f"{key}-{number}", entry, base, depth + 1)
    elif isinstance(value, str) and _URL.fullmatch(value) and (value.startswith("s3:") or _NAMES_A_FILE.search(value)):
        yield Found(key, href=value)
    elif value is not None:
        yield Found(key, content=_dumped(value), media_type="application/json", literal=True)


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and _URL.fullmatch(value) is not None


def _names_file(value: Any) -> bool:
    """Return whether a member of an output is a link or a file, and no plain value."""
    is_link = isinstance(value, Mapping) and _is_qualified(value) and isinstance(value.get("href"), str)
    return is_link or (isinstance(value, Mapping) and value.get("class") == "File" and _is_url(value.get("location")))


def _inline(key: str, found: re.Match[str]) -> bytes:
    """Return the content of a ``data:`` address."""
    content = unquote_to_bytes(found[3])
    return _from_base64(key, content) if found[2] else content


def _from_base64(key: str, text: str | bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise bad_output(f"output {key} is not the base64 it says") from None


def _document_in(text: str) -> Any:
    """Return the STAC or GeoJSON that a text is; None for any other."""
    if text.lstrip()[:1] != "{" or '"type"' not in text:
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if kind_of(content) or _is_geojson(content) else None


def _qualified(key: str, value: Mapping[str, Any], base: str, depth: int) -> Iterator[Found]:
    media_type = _media_type(value)
    href = value.get("href")
    if href is None and value.get("class") == "File":  # of CWL
        href = value.get("location")
    if isinstance(href, str):
        inline = _INLINE.fullmatch(href)
        if inline:
            yield Found(key, content=_inline(key, inline), media_type=media_type or inline[1] or "text/plain")
        else:
            yield Found(key, href=_absolute(base, href), media_type=media_type)
        return
    inner = value["value"] if "value" in value else value.get("inlineValue")
    if isinstance(inner, Mapping) and {"href", "inlineValue"} & set(inner):  # drafts before 1.0
        outer = {name: part for name, part in value.items() if name != "value"}
        yield from _qualified(key, {**outer, **inner}, base, depth)
        return
    if isinstance(inner, str):
        is_uri = "URI" in str(value.get("type")) or "uri" in str(value.get("schema"))
        if is_uri and _URL.fullmatch(inner):
            yield Found(key, href=inner)
            return
        if not _URL.fullmatch(inner) and media_type and "json" not in media_type:
            yield Found(key, content=_decoded(key, inner, value, media_type), media_type=media_type)
            return
    named = {"href", "value", "inlineValue"} & set(value)
    if inner is None and any(value[name] is not None for name in named):  # a reference that is no address
        yield Found(key, content=_dumped(value), media_type="application/json", literal=True)
        return
    yield from _value(key, inner, base, depth + 1)


def _media_type(value: Mapping[str, Any]) -> str:
    described = value.get("format")
    described = described if isinstance(described, Mapping) else value
    said = str(described.get("mediaType") or described.get("mimeType") or value.get("type") or "")
    return said if "/" in said and "://" not in said else ""


def _decoded(key: str, text: str, value: Mapping[str, Any], media_type: str) -> bytes:
    described = value.get("format") if isinstance(value.get("format"), Mapping) else value.get("schema")
    encoding = str(value.get("encoding") or "")
    if isinstance(described, Mapping):
        encoding = encoding or str(described.get("encoding") or described.get("contentEncoding") or "")
    if encoding.lower() == "base64":
        return _from_base64(key, text)
    if not encoding and not media_type.startswith("text/") and "xml" not in media_type:
        with suppress(TileFailedError):  # a guess
            return _from_base64(key, text)
    return text.encode()


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")  # halves of characters
