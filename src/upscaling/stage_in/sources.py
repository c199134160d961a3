"""Where items come from: a STAC API, a catalogue or item collection in JSON, or STAC GeoParquet."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from upscaling.config.stage_in import Search
from upscaling.errors import ConfigError
from upscaling.http.session import new_session
from upscaling.stage_in.web import TOKEN, FetchError, Web, is_remote, shown
from upscaling.util.stac_assets import links_of
from upscaling.util.stac_walk import HrefError, StacWalk, join, local_target, parse_json
from upscaling.util.text import plain_text
from upscaling.util.upstream import Patch

__all__ = ["CLIENT", "Box", "Said", "Span", "conditions", "found", "is_local", "joined", "say_left_out"]

Box = tuple[float, float, float, float]
Span = tuple[str, str]
Say = Callable[[str], None]
CLIENT = Patch(
    "pystac-client",
    ">=0.9,<0.10",
    ("pystac_client.stac_api_io:StacApiIO.session",),
    "requests to STAC APIs must follow this package's rules for redirects and passwords",
)
_PAGE = 200  # items asked for at once; every public API allows that
_MOST_DOCUMENTS = 200_000
_RETRIES, _BACKOFF = 6, 1.0
_TIMES_OUT = (30.0, 120.0)  # s to connect, s of silence
_SAY_EVERY = 2_000  # items
_NAMED = 20  # documents that are named when they are left out


@dataclass(frozen=True, slots=True)
class Said:
    """An item as a catalogue gave it.

    Attributes
    ----------
    base
        What its relative links are relative to: an address, or a path; empty where an API does not say it.
    href
        Its address, or a path; None where it has none.
    of_api
        Whether a STAC API gave it, whose ids are unique.
    """

    item: dict[str, Any]
    base: str
    href: str | None
    of_api: bool = False


def is_local(search: Search) -> bool:
    """Whether the catalogue lies on this machine: only then its items may name files of this machine."""
    return not is_remote(search.catalogue)


def found(
    search: Search, boxes: Sequence[Box] | None, spans: Sequence[Span] | None, *, key: str, say: Say, token: str = TOKEN
) -> Iterator[Said]:
    """Yield items, each once, that may be wanted; an API is asked to leave out what is not, other sources give all.

    Parameters
    ----------
    boxes
        West, south, east, north in degrees, one per request to an API; None for everywhere.
    spans
        Times, half-open, RFC 3339 or dates; None for any time.
    key
        Of the configuration, for messages.
    token
        Name of the variable with the catalogue's token.

    Raises
    ------
    ConfigError
        If the catalogue cannot be read.
    """
    seen: set[tuple[str, ...]] = set()
    for said in _of_any_kind(search, boxes, spans, key=key, say=say, token=token):
        identity = _identity(said)
        if identity in seen:
            continue
        seen.add(identity)
        number = len(seen)
        if number % _SAY_EVERY == 0:
            say(f"plan: {number} items found in {shown(search.catalogue)} so far")
        yield said


def _identity(said: Said) -> tuple[str, ...]:
    """Return what tells items apart: their id; in documents, where ids may repeat, also the files that they name."""
    name = (str(said.item.get("collection", "")), str(said.item.get("id", "")))
    if said.of_api:
        return name
    assets = said.item.get("assets")
    files = [str(asset) for asset in assets.values()] if isinstance(assets, dict) else []
    return (*name, said.base, *files)


def _of_any_kind(search: Search, boxes: Any, spans: Any, *, key: str, say: Say, token: str) -> Iterator[Said]:
    try:
        if not is_remote(search.catalogue):
            path = Path(unquote(urlsplit(search.catalogue).path) if "://" in search.catalogue else search.catalogue)
            path = path.expanduser().absolute()
            if path.is_dir():
                named = [path / name for name in ("catalog.json", "collection.json")]
                path = next((file for file in named if file.is_file()), path)
            if not path.is_file():
                raise ConfigError(f"no such catalogue: {search.catalogue}", key=f"{key}.catalogue")
            if path.suffix.lower() in {".parquet", ".geoparquet", ".pq"}:
                yield from _in_parquet(path, boxes)
            else:
                yield from _in_documents(Web(), str(path), say)
            return
        web = Web(search.catalogue, token)
        root = _parsed(web.document(search.catalogue), search.catalogue)
        if isinstance(root.get("conformsTo"), list):
            yield from _of_api(search, web, boxes, spans, say)
        else:
            yield from _in_documents(web, search.catalogue, say, root)
    except FetchError as error:
        raise ConfigError(str(error), key=f"{key}.catalogue") from None


def _parsed(text: bytes, place: str) -> dict[str, Any]:
    content = parse_json(text)
    if not isinstance(content, dict):
        raise FetchError(f"{shown(place)} is no STAC: not a JSON object")
    return content


# --- a STAC API ---


def _of_api(search: Search, web: Web, boxes: Any, spans: Any, say: Say) -> Iterator[Said]:
    from pystac_client import Client
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO
    from pystac_client.warnings import PystacClientWarning
    from urllib3 import Retry

    def identified(request: Any) -> Any:
        request.headers = {**(request.headers or {}), **web.credentials.header(request.url)}
        return request

    retry = Retry(
        total=_RETRIES,
        backoff_factor=_BACKOFF,
        status_forcelist=[429, 500, 502, 503, 504],
        allowed_methods=None,  # a search changes nothing, also by POST
        redirect=3,
        raise_on_status=False,
    )
    io = StacApiIO(timeout=_TIMES_OUT, request_modifier=identified)
    CLIENT.insist()
    io.session = new_session(_TIMES_OUT[1], retries=retry)
    try:
        with warnings.catch_warnings():  # of what an API leaves out and the client knows anyway
            warnings.simplefilter("ignore", PystacClientWarning)
            # said twice: what is not said here is forgotten
            client = Client.open(search.catalogue, stac_io=io, request_modifier=identified, timeout=_TIMES_OUT)
        filters = _filters(client, search)
        requests = [(box, span) for box in boxes or [None] for span in spans or [None]]
        for number, (box, span) in enumerate(requests, 1):
            if len(requests) > 1:
                say(f"plan: search {number} of {len(requests)} in {shown(search.catalogue)}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PystacClientWarning)
                asked = client.search(
                    limit=_PAGE,
                    bbox=box,
                    datetime="/".join(map(_moment, span)) if span else None,
                    collections=search.collections or None,
                    **filters,
                )
            yield from _in_pages(asked.pages_as_dicts(), search.catalogue, say)
    except APIError as error:
        raise FetchError(
            f"{shown(search.catalogue)} refuses the search: {plain_text(error, 300)}", passing=True
        ) from None
    except FetchError:
        raise
    except Exception as error:  # pystac and its client raise KeyError, ValueError, STACError ... for what is no STAC
        raise FetchError(
            f"{shown(search.catalogue)} does not answer as a STAC API: {type(error).__name__} {plain_text(error, 300)}"
        ) from None


def _filters(client: Any, search: Search) -> dict[str, Any]:
    """Return the search's conditions as an API takes them; one that takes none gives more, which is compared here."""
    from pystac_client import ConformanceClasses

    wanted = conditions(search)
    if wanted and client.conforms_to(ConformanceClasses.FILTER):
        return {"filter": _cql2(wanted), "filter_lang": "cql2-json"}
    if wanted and client.conforms_to(ConformanceClasses.QUERY):
        # `in` is of the extension, but servers refuse it; everything is compared here again
        query: dict[str, dict[str, Any]] = {}
        for name, word, value in wanted:
            if word != "in":
                query.setdefault(name, {})[word] = value
        return {"query": query or None}
    return {}


def _moment(text: str) -> str:
    return text if "T" in text else f"{text}T00:00:00Z"


def _in_pages(pages: Iterator[dict[str, Any]], place: str, say: Say) -> Iterator[Said]:
    seen: set[tuple[str, str]] = set()
    odd: list[str] = []
    for page in pages:
        before = len(seen)
        features = page.get("features")
        if not isinstance(features, list):
            odd.append(f"a page of {shown(place)} without a list of features")
            features = []
        items = [item for item in features if isinstance(item, dict)]
        odd += [
            f"{plain_text(item, 80)} of {shown(place)} is no item" for item in features if not isinstance(item, dict)
        ]
        for item in items:
            seen.add((str(item.get("collection", "")), str(item.get("id", ""))))
            own = _own_link(item)
            if own is None and item.get("collection") and item.get("id"):
                own = f"{place}/collections/{item['collection']}/items/{item['id']}"
            yield Said(item, own or "", own, of_api=True)
        if items and len(seen) == before:
            raise FetchError(f"{shown(place)} gives the same page again and again")
    say_left_out(odd, say)


def _own_link(item: Mapping[str, Any]) -> str | None:
    link = next(links_of(item, "self"), None)
    try:
        return str(link["href"]) if link and is_remote(link["href"]) else None
    except ValueError:  # no address
        return None


def conditions(search: Search) -> list[tuple[str, str, Any]]:
    """Return what must all be true of an item: property, word of the query extension (or ``in``), value."""
    clouds = search.max_cloud_cover
    wanted: list[tuple[str, str, Any]] = [] if clouds is None else [("eo:cloud_cover", "lte", clouds)]
    for name, value in search.where.items():
        form = value if isinstance(value, dict) else {"in": value} if isinstance(value, list) else {"eq": value}
        wanted += [(name, word, one) for word, one in form.items()]
    return wanted


def _cql2(wanted: Sequence[tuple[str, str, Any]]) -> dict[str, Any]:
    signs = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "in": "in"}
    arguments = [{"op": signs[word], "args": [{"property": name}, value]} for name, word, value in wanted]
    return arguments[0] if len(arguments) == 1 else {"op": "and", "args": arguments}


# --- documents ---


def _in_documents(web: Web, start: str, say: Say, root: dict[str, Any] | None = None) -> Iterator[Said]:
    """Walk through a catalogue, each document once; what in it is no STAC is left out, and named."""

    def refuse(message: str) -> None:
        if not walk.seen - {start}:
            raise FetchError(message)
        walk.left_out.append(message)

    def too_many(_number: int) -> None:
        raise FetchError(f"{shown(start)} links more than {_MOST_DOCUMENTS} documents; use STAC GeoParquet")

    def read(place: str) -> Any:
        return _document(web, place, whole=place == start)

    walk = StacWalk(read, joined, refuse, _MOST_DOCUMENTS, too_many)
    for document in walk.documents(start, root):
        if document.kind == "Item":
            yield Said(dict(document.content), document.base, document.href or _own_link(document.content))
    say_left_out(walk.left_out, say)


def say_left_out(lines: Sequence[str], say: Say) -> None:
    """Say a line for each of the first things that are left out, and how many more there are."""
    for line in lines[:_NAMED]:
        say(f"plan: left out: {line}")
    if len(lines) > _NAMED:
        say(f"plan: left out: {len(lines) - _NAMED} more")


def _document(web: Web, place: str, *, whole: bool) -> Any:
    """Return a document's content; of one that is no JSON object None, or with ``whole`` an error."""
    try:
        text = web.document(place) if is_remote(place) else Path(place).read_bytes()
    except OSError as error:
        raise FetchError(f"{place} cannot be read: {error.strerror}") from None
    try:
        return _parsed(text, place)
    except FetchError:
        if whole:
            raise
        return None


def joined(place: str, href: str) -> str:
    """Return a link's target; from the web none leads to this machine.

    Raises
    ------
    HrefError
        It is no address.
    FetchError
        It leads from the web to this machine.
    """
    if is_remote(place):
        try:
            return join(place, href)
        except HrefError as error:
            if error.leads_out:
                raise FetchError(f"{shown(place)} {error}") from None
            raise
    try:
        if urlsplit(href).scheme.lower() in {"http", "https", "s3"}:
            return href
    except ValueError:
        raise HrefError(f"has a link that is no address: {plain_text(href)}") from None
    paths = list(local_target(Path(place), href))
    if not paths:
        raise HrefError(f"has a link that is no path: {plain_text(href)}")
    return str(next((path for path in paths if path.exists()), paths[-1]).resolve())


# --- GeoParquet ---


def _in_parquet(path: Path, boxes: Sequence[Box] | None) -> Iterator[Said]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    from stac_geoparquet.arrow import stac_table_to_items

    try:
        file = pq.ParquetFile(path)
        for batch in file.iter_batches(batch_size=5_000):
            table = pa.Table.from_batches([batch]).replace_schema_metadata(file.schema_arrow.metadata)
            if boxes is not None and "bbox" in table.column_names and pa.types.is_struct(table["bbox"].type):
                box = table["bbox"]
                west, south, east, north = (pc.struct_field(box, name) for name in ("xmin", "ymin", "xmax", "ymax"))
                keep = pa.scalar(False)
                for w, s, e, n in boxes:
                    near = pc.and_(pc.less_equal(south, n), pc.greater_equal(north, s))
                    here = pc.and_(pc.less_equal(west, e), pc.greater_equal(east, w))
                    keep = pc.or_(keep, pc.and_(near, pc.or_(here, pc.greater(west, east))))
                table = table.filter(keep)
            for item in stac_table_to_items(table):
                plain = json.loads(json.dumps(item, default=str))
                yield Said(plain, str(path), _own_link(plain))
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise FetchError(f"{path} cannot be read as STAC GeoParquet: {plain_text(error, 300)}") from None
