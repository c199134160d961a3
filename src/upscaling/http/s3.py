"""Object storage: the store of a bucket, with the credentials that the environment holds for it, and its errors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from upscaling.errors import ErrorClass, PlatformError
from upscaling.http.address import shown
from upscaling.util.extras import require
from upscaling.util.text import plain_text

__all__ = ["bucket_store", "open_object", "read_object", "store_errors", "store_words"]

_BLOCK = 8 << 20  # bytes


def bucket_store(href: str, prefix: str) -> tuple[Any, str]:
    """Return the store of an object's bucket (obstore), and the object's key.

    Credentials are those of the bucket, if there are any: ``<prefix>_<BUCKET>_ACCESS_KEY_ID``, ``_SECRET_ACCESS_KEY``,
    ``_SESSION_TOKEN``, ``_ENDPOINT`` and ``_REGION``, the bucket's name in capitals with ``_`` for what is no letter or
    digit; else those of any bucket, ``AWS_ACCESS_KEY_ID`` and so on with ``AWS_ENDPOINT_URL`` and ``AWS_REGION``; else
    none (public buckets).

    Parameters
    ----------
    href
        ``s3://bucket/key``.
    """
    require("obstore", "s3")
    from obstore.store import S3Store

    bucket, _, key = href.removeprefix("s3://").partition("/")
    own = f"{prefix}_{re.sub(r'[^A-Z0-9]', '_', bucket.upper())}"
    mine = f"{own}_ACCESS_KEY_ID" in os.environ

    def setting(name: str, common: str) -> str | None:
        return os.environ.get(f"{own}_{name}") if mine or f"{own}_{name}" in os.environ else os.environ.get(common)

    config: dict[str, Any] = {
        "access_key_id": setting("ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
        "secret_access_key": setting("SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
        "session_token": setting("SESSION_TOKEN", "AWS_SESSION_TOKEN"),
        "endpoint": setting("ENDPOINT", "AWS_ENDPOINT_URL"),
        "region": setting("REGION", "AWS_REGION") or "us-east-1",
    }
    config = {name: value for name, value in config.items() if value}
    if "access_key_id" not in config:
        config["skip_signature"] = True
    plain = str(config.get("endpoint", "")).startswith("http://")
    return S3Store(bucket, client_options={"allow_http": plain}, **config), key


@contextmanager
def open_object(href: str, prefix: str, start: int = 0) -> Iterator[tuple[int, str, Iterator[bytes]]]:
    """Yield the size of an object, its ETag, and its bytes from ``start`` on.

    Parameters
    ----------
    prefix
        Of the environment variables with credentials, see ``bucket_store``.

    Raises
    ------
    PlatformError
        ``authentication``, ``bad-output`` if there is no such object (404) or it is shorter than ``start`` (416),
        ``transient`` else.
    """
    require("obstore", "s3")
    import obstore

    with store_errors(href, prefix):
        store, key = bucket_store(href, prefix)
        facts = obstore.head(store, key)
        size = int(facts["size"])
        if start > size:
            raise PlatformError(f"{shown(href)} ends before byte {start}", error_class=ErrorClass.OUTPUT, status=416)
        if start == size:
            yield size, str(facts["e_tag"] or ""), iter(())
            return
        answer = obstore.get(store, key, options={"range": {"offset": start}} if start else None)
        yield size, str(answer.meta["e_tag"] or ""), map(bytes, answer.stream(min_chunk_size=_BLOCK))


def read_object(href: str, prefix: str, largest: int) -> bytes:
    """Return an object of ``largest`` bytes at most; raises as ``open_object``."""
    with open_object(href, prefix) as (size, _, blocks):
        if size > largest:
            words = f"{shown(href)} is larger than {largest >> 20} MB"
            raise PlatformError(words, error_class=ErrorClass.OUTPUT)
        return b"".join(blocks)


@contextmanager
def store_errors(href: str, prefix: str = "AWS") -> Iterator[None]:
    """Turn what obstore raises into PlatformError."""
    from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError

    own = "AWS" if prefix == "AWS" else f"{prefix}_<BUCKET>"
    bucket = href.removeprefix("s3://").partition("/")[0]
    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError):
        raise PlatformError(
            f"no access to bucket {bucket}; set {own}_ACCESS_KEY_ID and {own}_SECRET_ACCESS_KEY",
            error_class=ErrorClass.AUTH,
        ) from None
    except (NotFoundError, FileNotFoundError):
        raise PlatformError(f"{shown(href)} is not there", error_class=ErrorClass.OUTPUT, status=404) from None
    except BaseError as error:
        raise PlatformError(
            f"{shown(href)} cannot be reached in object storage ({store_words(error)})",
            error_class=ErrorClass.TRANSIENT,
        ) from None


def store_words(error: BaseException) -> str:
    """Return the first line of an error of obstore, without its debugging tail."""
    return plain_text(str(error).partition("\n")[0], 300)
