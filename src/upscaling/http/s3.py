"""Object storage: the store of a bucket, with the credentials that the environment holds for it."""

from __future__ import annotations

import os
import re
from typing import Any

from upscaling.util.extras import require

__all__ = ["bucket_store"]


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
