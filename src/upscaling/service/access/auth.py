"""Who asks: one local user, or whom an OpenID Connect provider vouches for; and tokens for the platforms."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from upscaling.service.access.provider import AuthError, ask_provider, granted, metadata
from upscaling.service.settings import Oidc, Platform, ServiceSettings

__all__ = ["LOCAL", "AuthError", "Authenticator", "User"]

_KEYS_SECONDS = 300  # keys are asked for again after this time, and at once for a key that is not known
_RETRY_SECONDS = 5  # a token with an unknown key must not make the service ask the provider at will
_LEEWAY = 10  # seconds that clocks may differ


@dataclass(frozen=True)
class User:
    """Who asks.

    Attributes
    ----------
    name
        The claim ``sub``; ``local`` without a provider.
    admin
        Whether this user sees everybody's tasks.
    token
        The access token, for exchange; it is never kept on disk.
    """

    name: str
    admin: bool = False
    token: str | None = None


LOCAL = User("local", admin=True)


class Authenticator:
    """Checks access tokens, and keeps each user's newest in memory for token exchange.

    Parameters
    ----------
    settings
        The service's; with ``auth: none`` everybody is the local user.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._provider = _Provider(settings.oidc) if settings.auth == "oidc" and settings.oidc else None
        self._tokens: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def local(self) -> bool:
        """Whether everybody is the local user."""
        return self._provider is None

    def user(self, token: str | None) -> User:
        """Return whose token it is.

        Raises
        ------
        AuthError
            If there is none, or it is expired, of another issuer, for another audience, or not signed by the provider.
        """
        if self._provider is None:
            return LOCAL
        if not token:
            raise AuthError("Not authenticated")
        user = self._provider.user(token)
        with self._lock:
            self._tokens[user.name] = token
        return user

    def variables(self, user: str, platform: Platform) -> Mapping[str, str] | None:
        """Return what a run's process needs to log in to a platform as ``user``.

        Returns
        -------
        Variables; None if the user's token is needed and this service has not seen one since it started.

        Raises
        ------
        AuthError
            If the provider refuses the exchange.
        """
        found = platform.secrets
        if not platform.exchange:
            return found
        with self._lock:
            token = self._tokens.get(user)
        if token is None:
            return None
        found["UPSCALING_ACCOUNT"] = user  # tokens change, and slots are counted for each account
        found[platform.exchange.get("token_env", "OPENEO_AUTH_TOKEN")] = _exchanged(token, platform.exchange)
        return found


_REFUSED = "Could not validate credentials. Please retry signing in."


def _roles(claims: Mapping[str, Any], oidc: Oidc) -> list[str]:
    found: Any = claims
    for part in oidc.role_claim.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return [str(role) for role in found] if isinstance(found, list) else []


class _Provider:
    """Whom a provider vouches for, by its public keys, which are asked for again when they may have been changed."""

    def __init__(self, oidc: Oidc) -> None:
        self._oidc = oidc
        self._known: dict[str, Any] = {}
        self._asked = 0.0
        self._lock = threading.Lock()

    def user(self, token: str) -> User:
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in self._oidc.algorithms:
                raise AuthError(_REFUSED)
            claims = jwt.decode(
                token,
                self._key(str(header.get("kid") or "")),
                algorithms=list(self._oidc.algorithms),
                audience=self._oidc.audience,
                issuer=self._oidc.issuer,
                leeway=_LEEWAY,
                options={"require": ["exp", "sub", "iss", "aud"]},
            )
        except jwt.PyJWTError:
            raise AuthError(_REFUSED) from None
        return User(str(claims["sub"]), admin=self._oidc.admin_role in _roles(claims, self._oidc), token=token)

    def _key(self, key_id: str) -> Any:
        with self._lock:
            age = time.monotonic() - self._asked if self._asked else float("inf")
            if age > _KEYS_SECONDS or (key_id not in self._known and age > _RETRY_SECONDS):
                self._fetch()
            if key_id not in self._known:
                raise AuthError(_REFUSED)
            return self._known[key_id]

    def _fetch(self) -> None:
        import jwt

        try:
            keys = _listed_keys(self._oidc.issuer)
        except AuthError:
            if self._known:
                return  # a provider that is down for a while does not end the sessions of those who have valid tokens
            raise
        known = {}
        for entry in keys:
            try:
                known[str(entry.get("kid") or "")] = jwt.PyJWK(entry).key
            except (jwt.PyJWTError, AttributeError):
                continue  # a kind of key that is not used here
        self._known, self._asked = known, time.monotonic()


def _listed_keys(issuer: str) -> list[Any]:
    _, found = ask_provider(metadata(issuer, "jwks_uri"))
    if not isinstance(found.get("keys"), list):
        raise AuthError("the identity provider has no keys")
    return list(found["keys"])


def _exchanged(token: str, exchange: Mapping[str, str]) -> str:
    """Exchange a user's token for one that the platform takes (RFC 8693)."""
    fields = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "client_id": os.environ.get(exchange.get("client_id_env", ""), ""),
        "client_secret": os.environ.get(exchange.get("client_secret_env", ""), ""),
        "audience": exchange.get("audience", ""),
        "requested_issuer": exchange.get("requested_issuer", ""),
    }
    data = {name: value for name, value in fields.items() if value}
    return granted(exchange["token_url"], data, what="token exchange")[0]
