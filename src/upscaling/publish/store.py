"""Objects to S3: what is there with the same checksum is not sent again, so a killed upload goes on where it was."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from upscaling.errors import UpscalingError
from upscaling.http.s3 import store_words
from upscaling.publish.objects import Published
from upscaling.util.extras import require

if TYPE_CHECKING:
    from upscaling.config.products import Publish

__all__ = ["Sent", "Store"]

_AT_ONCE = 16
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
        return asyncio.run(self._send(objects, dry_run))

    async def _send(self, objects: Iterable[Published], dry_run: bool) -> Sent:
        sent, waiting = Sent(), set[asyncio.Task[None]]()
        if self._there is None:
            self._there = await self._list()
        try:
            for published in objects:
                if len(waiting) >= _AT_ONCE:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                waiting.add(asyncio.create_task(self._one(published, sent, dry_run)))
            for task in waiting:
                await task
        finally:
            for task in waiting:
                task.cancel()
        return sent

    async def _one(self, published: Published, sent: Sent, dry_run: bool) -> None:
        import obstore

        if await self._same(published):
            sent.same += 1
            return
        if not dry_run:
            attributes = {"Content-Type": published.media_type, _CHECKSUM: published.sha256}
            try:
                await obstore.put_async(self._store, published.key, published.content, attributes=attributes)
            except (obstore.exceptions.BaseError, OSError) as error:
                raise UpscalingError(f"{self._name}/{published.key}: {store_words(error)}") from None
        sent.objects += 1
        sent.bytes += published.size

    async def _list(self) -> dict[str, int]:
        import obstore

        found: dict[str, int] = {}
        try:
            async for page in obstore.list(self._store, chunk_size=1000):
                found |= {str(entry["path"]): int(entry["size"]) for entry in page}
        except (obstore.exceptions.BaseError, OSError) as error:
            raise UpscalingError(f"{self._name}: {store_words(error)}") from None
        return found

    async def _same(self, published: Published) -> bool:
        """Whether the object is there with this content: a look at its metadata, if its size is the same."""
        import obstore

        assert self._there is not None  # noqa: S101 -- listed before
        if not published.size or self._there.get(published.key) != published.size:
            return False
        try:
            answer = await obstore.get_async(self._store, published.key, options={"range": (0, 1)})
        except (obstore.exceptions.BaseError, OSError) as error:
            raise UpscalingError(f"{self._name}/{published.key}: {store_words(error)}") from None
        attributes: dict[str, Any] = dict(answer.attributes)
        return attributes.get(_CHECKSUM) == published.sha256 and attributes.get("Content-Type") == published.media_type
