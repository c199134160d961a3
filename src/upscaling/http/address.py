"""Addresses: which server one belongs to, what a link means, and how one is shown."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote, urlsplit

__all__ = ["THIS_MACHINE", "is_private", "is_remote", "is_web", "origin", "secret_in", "shown"]

THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
"""Names of this machine that need no look-up."""
_LOCAL_NAMES = (".localhost", ".local", ".internal", ".lan")
_SECRET = re.compile(
    r"x-(?:amz|goog|oss)-(?:signature|security-token|credential)|sig|signature|.*password|.*passwd|pwd|.*secret.*"
    r"|(?:.*[_-])?(?:token|key|sas|auth|jwt|bearer|session|sessionid|credentials?)|apikey|authorization|accesskey|hmac"
    r"|pass|passphrase|pw|tok|authkey|(?:php|j)?sess(?:ion)?_?id|ticket|sharedaccesssignature",
    re.IGNORECASE,
)


def is_web(href: str) -> bool:
    """Return whether an address is of http or https."""
    return href.lower().startswith(("http://", "https://"))


def is_private(url: str) -> bool:
    """Return whether an address is, by its name, of this machine or of a private network."""
    try:
        host = (urlsplit(url).hostname or "").lower().rstrip(".")
    except ValueError:
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_NAMES) or host.replace(".", "").isdigit()


def is_remote(href: str) -> bool:
    """Return whether an address is of the web or of object storage."""
    return is_web(href) or href.lower().startswith("s3://")


def origin(url: str) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port, which must be the same for credentials to be sent; None for what is not http(s)."""
    try:
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        if scheme not in {"http", "https"}:
            return None
        return scheme, (parts.hostname or "").lower(), parts.port or {"https": 443, "http": 80}[scheme]
    except ValueError:
        return None


def shown(href: str) -> str:
    """Return an address fit to be shown: without user and query, which may be a password and a signature."""
    plain = "".join(sign for sign in href.partition("?")[0].partition("#")[0] if sign.isprintable())
    scheme, separator, rest = plain.partition("://")
    if separator:
        place, slash, path = rest.partition("/")
        plain = f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"
    return plain[:200]


def secret_in(href: str) -> str:
    """Return what in an address is a secret: ``user:password``, or the name of a query's or fragment's parameter.

    Returns
    -------
    str
        Empty if there is none.
    """
    scheme, separator, rest = href.strip().partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return ""
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in place and scheme.lower() != "oci":
        return "user:password" if ":" in place.rpartition("@")[0] else "user"
    for part in re.split(r"[?#&;]", rest)[1:]:
        name, _, value = (unquote(text) for text in part.partition("="))
        if "=" in part and _SECRET.fullmatch(name):
            return name
        if "://" in value and (within := secret_in(value)):
            return within
    return ""
