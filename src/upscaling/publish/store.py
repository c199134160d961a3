"""Objects to S3: what is there with the same checksum is not sent again, so a killed upload goes on where it was."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from upscaling.errors import UpscalingError
from upscaling.http.s3 import store_words
from upscaling.publish.objects import Published
from upscaling.util.extras import require

if TYPE_CHECKING:
    from upscaling.config.products import Publish

__all__ = ["Sent", "Store"]

_AT_ONCE, _BATCH = 16, 320
_CHECKSUM = "sha256"  # user metadata of every object
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


@dataclass(slots=True)
class Sent:
    """How many objects were sent (or would be) with how many bytes, and how many were there already."""

    objects: int = 0
    bytes: int = 0
    same: int = 0


class Store:
    """A prefix of a bucket. Credentials come from the usual AWS variables.

    Raises
    ------
    UpscalingError
        Without credentials; and from its methods in the store's own words, after retries.
    """

    def __init__(self, settings: Publish) -> None:
        require("obstore", "s3")
        from obstore.store import S3Store

        if not any(os.environ.get(name) for name in _CREDENTIALS):
            raise UpscalingError("publish.s3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        place = urlsplit(settings.s3)
        options: dict[str, Any] = {"checksum_algorithm": "SHA256"}
        if settings.endpoint:
            options |= {"endpoint": settings.endpoint, "virtual_hosted_style_request": False}
            if not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
                options["region"] = "us-east-1"  # most other stores do not care, but a signature needs one
            if settings.endpoint.startswith("http://"):
                options["client_options"] = {"allow_http": True}
        self._name = settings.s3
        self._store = S3Store(place.netloc, prefix=place.path.strip("/") or None, **options)
        self._there: dict[str, int] | None = None

    def send(self, objects: Iterable[Published], *, dry_run: bool = False) -> Sent:
        """Send what is not there with the same content; in no particular order."""
        if self._there is None:
            self._there = self._list()
        sent, there, waiting = Sent(), self._there, iter(objects)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            while batch := list(islice(waiting, _BATCH)):
                news = pool.map(lambda published: self._is_new(published, there, dry_run=dry_run), batch)
                for published, new in zip(batch, news, strict=True):
                    sent.objects += new
                    sent.bytes += published.size if new else 0
                    sent.same += not new
        return sent

    def _is_new(self, published: Published, there: dict[str, int], *, dry_run: bool) -> bool:
        """Send an object that is not there with this content; return whether that was, or would be, done."""
        with _in_its_words(f"{self._name}/{published.key}"):
            new = not self._same(published, there)
            if new and not dry_run:
                attributes = {"Content-Type": published.media_type, _CHECKSUM: published.sha256}
                self._store.put(published.key, published.content, attributes=attributes)
        return new

    def _list(self) -> dict[str, int]:
        with _in_its_words(self._name):
            pages = self._store.list(chunk_size=1000)
            return {str(entry["path"]): int(entry["size"]) for page in pages for entry in page}

    def _same(self, published: Published, there: dict[str, int]) -> bool:
        """Whether the object is there with this content: a look at its metadata, if its size is the same."""
        if not published.size or there.get(published.key) != published.size:
            return False
        answer = self._store.get(published.key, options={"range": (0, 1)})
        attributes: dict[str, Any] = dict(answer.attributes)
        return attributes.get(_CHECKSUM) == published.sha256 and attributes.get("Content-Type") == published.media_type


@contextmanager
def _in_its_words(place: str) -> Iterator[None]:
    """Raise what a store refuses as one line."""
    import obstore

    try:
        yield
    except (obstore.exceptions.BaseError, OSError) as error:
        raise UpscalingError(f"{place}: {store_words(error)}") from None
