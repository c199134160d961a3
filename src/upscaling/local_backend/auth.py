"""Who asks: passwords, bearer tokens and signed links, all bound to a secret that stays in the back-end's folder.

Tokens of an OpenID provider are its own affair: openeo_driver asks its userinfo endpoint whose they are.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openeo_driver.errors import TokenInvalidException
from openeo_driver.urlsigning import UrlSigner
from openeo_driver.users import User
from openeo_driver.users.auth import HttpAuthHandler
from openeo_driver.users.oidc import OidcProvider

from upscaling.errors import ConfigError

__all__ = ["OIDC_USER", "Passwords", "Signer", "auth_handler_class", "oidc_provider", "oidc_user", "read_secret"]

OIDC_USER = "oidc~"
"""What the user ids of an OpenID provider's users begin with."""


def read_secret(path: Path) -> bytes:
    """Return the secret of this back-end; made once, readable by its owner only, so that links outlive a restart."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(32))
    return path.read_bytes()


def oidc_user(subject: str) -> str:
    """Return the user id of an OpenID provider's user, in the API's letters and never that of a user with password."""
    return OIDC_USER + re.sub(r"[^A-Za-z0-9_.-]", lambda found: f"~{ord(found[0]):x}~", str(subject))


def oidc_provider(issuer: str, client: str | None) -> OidcProvider:
    """Return how the back-end announces the OpenID provider whose tokens it takes.

    Raises
    ------
    ConfigError
        The issuer is no address.
    """
    parts = urlsplit(issuer)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"the issuer of an OpenID provider is an http(s) address, not {issuer!r}", key="oidc")
    grants = ["urn:ietf:params:oauth:grant-type:device_code+pkce", "refresh_token"]  # others need a redirect address
    clients = [{"id": client, "grant_types": grants}] if client else None
    return OidcProvider(
        id="oidc", issuer=issuer.rstrip("/"), title=parts.hostname, scopes=["openid"], default_clients=clients
    )


def _mac(secret: bytes, *parts: str) -> str:
    text = b"".join(len(part.encode()).to_bytes(4) + part.encode() for part in parts)
    return hmac.new(secret, text, hashlib.sha256).hexdigest()


class Passwords:
    """Checks passwords and tokens; a token is worthless once its user's password has changed."""

    def __init__(self, users: Mapping[str, str], secret: bytes) -> None:
        self._users, self._secret = dict(users), secret

    def valid(self, user: str, password: str) -> bool:
        """Tell whether this is the user's password, in constant time."""
        known = self._users.get(user, "")
        return hmac.compare_digest(known.encode(), password.encode()) and user in self._users

    def token(self, user: str) -> str:
        """Return the user's bearer token."""
        name = base64.urlsafe_b64encode(user.encode()).decode()
        return f"{name}.{_mac(self._secret, 'token', user, self._users[user])}"

    def user_of(self, token: str) -> str | None:
        """Return whose token this is, or None."""
        try:
            user = base64.urlsafe_b64decode(token.partition(".")[0].encode("ascii")).decode()
        except ValueError:
            return None
        return user if user in self._users and hmac.compare_digest(self.token(user), token) else None


def auth_handler_class(passwords: Passwords) -> type[Any]:
    """Return openeo_driver's handler with tokens that cannot be made up: its own is the user's name in base64."""

    class Handler(HttpAuthHandler):  # type: ignore[misc]
        def build_basic_access_token(self, user_id: str) -> str:
            return passwords.token(user_id)

        def resolve_basic_access_token(self, access_token: str) -> User:
            user = passwords.user_of(access_token)
            if user is None:
                raise TokenInvalidException
            return User(user_id=user, internal_auth_data={"authentication_method": "Basic"})

        def parse_basic_auth_header(self, request: Any) -> tuple[str, str]:
            token = self.get_auth_token(request, "Basic")
            try:
                user, separator, password = base64.b64decode(token).decode().partition(":")
            except ValueError as error:
                raise TokenInvalidException from error
            if not separator:
                raise TokenInvalidException
            return user, password  # a password may hold colons (RFC 7617), which openeo_driver refuses

        def resolve_oidc_access_token(self, oidc_provider: Any, access_token: str) -> User:
            found = super().resolve_oidc_access_token(oidc_provider, access_token)
            found.user_id = oidc_user(found.user_id)
            return found

    return Handler


class Signer(UrlSigner):  # type: ignore[misc]
    """Signs result links for a week with an HMAC over separated parts."""

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret=secret.hex(), expiration=7 * 24 * 3600)
        self._key = secret

    def _sign_with_secret(self, *token_key_parts: str) -> str:
        return _mac(self._key, "link", *map(str, token_key_parts))
