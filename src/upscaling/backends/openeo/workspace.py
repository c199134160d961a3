"""Results that stay on a platform, in a workspace of the user: where each file is, as its STAC tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from upscaling.backends.openeo.session import Session

__all__ = ["NOT_SAID", "workspace_href"]

# What others can read with the right credentials. A path of the platform's own disk leads nowhere.
_SCHEMES = {"abfs", "abfss", "az", "gs", "http", "https", "s3"}
NOT_SAID = "the platform does not say where in the workspace it is, its address is the job's and may need a log-in"


def workspace_href(session: Session, asset: Mapping[str, Any], workspace: str, base: str) -> tuple[str, bool]:
    """Return where a result file is for good, and whether that is told to be in the workspace.

    openeo_driver, behind the large platforms, names the place as an alternate asset, keyed by workspace and path, and
    in ``href`` itself where the file was moved. Signatures and names of users are cut off: they expire, or are secret.

    Raises
    ------
    PlatformError
        If the asset has no usable link at all.
    """
    from upscaling.results.item import public_url

    for href in _told(asset, workspace):
        place = urlsplit(href) if not any(ord(sign) <= 32 for sign in href) else None
        ours = href.startswith(f"{session.root.rstrip('/')}/jobs/")
        if place is not None and place.scheme in _SCHEMES and place.hostname and place.path.strip("/") and not ours:
            return public_url(href), True
    return public_url(session.resolve(asset["href"], base)), False


def _told(asset: Mapping[str, Any], workspace: str) -> Iterator[str]:
    alternate = asset.get("alternate")
    entries = alternate.items() if isinstance(alternate, Mapping) else ()
    ranked = sorted(entries, key=lambda entry: not (str(entry[0]) + "/").startswith(f"{workspace}/"))
    for href in [*(entry.get("href") if isinstance(entry, Mapping) else entry for _, entry in ranked), asset["href"]]:
        if isinstance(href, str):
            yield href
