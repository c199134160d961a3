"""Register a collection and its items in a STAC API, by its transaction extension.

Items go in bulk where the API's own description names a path for that (stac-fastapi's third-party extension), else one
by one. What is there already (409) is updated, so registering again is safe at any time.
Source: STAC API transaction extension 1.0.0; the APEx Product Catalogue for ``_auth``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import orjson

from upscaling.errors import ErrorClass, PlatformError, UpscalingError
from upscaling.http.address import THIS_MACHINE, shown
from upscaling.http.transport import BearerToken, Transport
from upscaling.jobs.platform import Patience, patiently

__all__ = ["StacApi"]

_TOKEN = "UPSCALING_STAC_TOKEN"  # noqa: S105 -- the name of a variable
_BULK, _AT_ONCE, _TIMEOUT = 500, 8, 60.0
_SHOWN = 3
_TRANSACTION = "/extensions/transaction"
_SIMPLE_TRANSACTION = "/conf/simpletx"
# The server makes these links itself, and refuses or doubles ours.
_SERVERS_OWN = {"self", "root", "parent", "collection", "item", "items", "child", "canonical"}


class StacApi:
    """A STAC API that we may write to.

    Parameters
    ----------
    url
        Its landing page. The token in UPSCALING_STAC_TOKEN is sent as a bearer token, and only encrypted or to this
        machine.
    patience
        Seconds for which a request is repeated while the server is out of reach, overloaded (429) or broken (5xx).

    Raises
    ------
    UpscalingError
        Here, if the API does not say that it takes transactions; from its methods, if it refuses a document.
    """

    def __init__(self, url: str, *, patience: float = 300.0) -> None:
        self._url, self._patience = url.rstrip("/"), Patience(shortest=0.3, longest=30.0, outage=patience)
        token, place = os.environ.get(_TOKEN), urlsplit(url)
        if token and place.scheme != "https" and place.hostname not in THIS_MACHINE:
            raise UpscalingError(f"publish.stac_api: {url} is not encrypted; {_TOKEN} is not sent there")
        self._transport = Transport(BearerToken(url, token), seconds=_TIMEOUT, at_once=_AT_ONCE)
        landing = self._json("GET", self._url)
        conforms = [str(entry) for entry in landing.get("conformsTo") or ()]
        if not any(entry.endswith(_SIMPLE_TRANSACTION) or _TRANSACTION in entry for entry in conforms):
            raise UpscalingError(f"publish.stac_api: {url} does not offer the transaction extension")
        self.bulk = self._has_bulk(landing)

    def register(self, collection: dict[str, Any], items: Iterable[dict[str, Any]], **auth: list[str]) -> int:
        """Create or update a collection and its items; return the number of items.

        Parameters
        ----------
        auth
            ``read`` and ``write``: roles, for catalogues that keep them with the collection.
        """
        rights = {name: roles for name, roles in auth.items() if roles}
        document = _bare(collection) | ({"_auth": rights} if rights else {})
        place = f"{self._url}/collections"
        self._put_or_post(place, f"{place}/{quote(collection['id'], safe='')}", document)
        place = f"{place}/{quote(collection['id'], safe='')}"
        documents = ({**_bare(item), "collection": collection["id"]} for item in items)
        return self._in_bulk(place, documents) if self.bulk else self._one_by_one(place, documents)

    def _in_bulk(self, place: str, items: Iterator[dict[str, Any]]) -> int:
        number = 0
        while chunk := {item["id"]: item for item in islice(items, _BULK)}:
            _, content = self._send("POST", f"{place}/bulk_items", {"items": chunk, "method": "upsert"})
            _see_that_all_were_taken(place, content)
            number += len(chunk)
        return number

    def _one_by_one(self, place: str, items: Iterator[dict[str, Any]]) -> int:
        def one(item: dict[str, Any]) -> None:
            self._put_or_post(f"{place}/items", f"{place}/items/{quote(item['id'], safe='')}", item)

        number = 0
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while chunk := list(islice(items, _BULK)):
                number += len(list(pool.map(one, chunk)))
        return number

    def _put_or_post(self, place: str, own: str, document: dict[str, Any]) -> None:
        # A creation that was answered by a broken line is repeated, answered by 409, and so updated.
        if self._send("POST", place, document, fine=(409,))[0] == 409:
            self._send("PUT", own, document)

    def _has_bulk(self, landing: dict[str, Any]) -> bool:
        links = [link for link in landing.get("links") or () if link.get("rel") == "service-desc"]
        for link in links:
            try:
                paths = self._json("GET", urljoin(f"{self._url}/", link["href"])).get("paths") or {}
            except UpscalingError:
                continue
            return any(str(path).endswith("/bulk_items") for path in paths)
        return False

    def _json(self, method: str, url: str) -> dict[str, Any]:
        _, content = self._send(method, url)
        if not isinstance(content, dict):
            raise UpscalingError(f"publish.stac_api: {shown(url)} did not answer with JSON")
        return content

    def _send(self, method: str, url: str, document: Any = None, *, fine: tuple[int, ...] = ()) -> tuple[int, Any]:
        """Send a request, again while the server is out of reach; return status and content of the answer."""
        try:
            return patiently(lambda: self._once(method, url, document, fine), self._patience)
        except PlatformError as error:
            hint = f" (is {_TOKEN} right?)" if error.error_class is ErrorClass.AUTH else ""
            later = "; run it again later" if error.error_class is ErrorClass.TRANSIENT else ""
            raise UpscalingError(f"publish.stac_api: {method} {error}{hint}{later}") from None

    def _once(self, method: str, url: str, document: Any, fine: tuple[int, ...]) -> tuple[int, Any]:
        options: dict[str, Any] = {}
        if document is not None:
            options = {"data": orjson.dumps(document), "headers": {"Content-Type": "application/json"}}
        with self._transport.open(method, url, expected={*range(200, 300), *fine}, **options) as reply:
            try:
                return reply.status_code, orjson.loads(reply.content())
            except orjson.JSONDecodeError:  # older servers answer with a sentence, or with nothing
                return reply.status_code, None


def _see_that_all_were_taken(place: str, content: Any) -> None:
    """Raise for items that the server left out: it answers 200 all the same, and lists them."""
    errors = (content.get("errors") if isinstance(content, dict) else None) or ()
    if errors:
        said = "; ".join(str(error)[:200] for error in errors[:_SHOWN])
        more = f"; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        raise UpscalingError(f"publish.stac_api: {place} did not take {len(errors)} items: {said}{more}")


def _bare(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without the links that the server makes."""
    links = [link for link in document.get("links", ()) if link["rel"] not in _SERVERS_OWN]
    return {**document, "links": links}
