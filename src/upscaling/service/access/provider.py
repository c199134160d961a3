"""Questions to identity providers: for their keys, for tokens, and for the page's log-in.

That is by authorization code with PKCE: the service asks the provider, and the page asks nobody else.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

from upscaling.errors import UpscalingError
from upscaling.http.session import new_session
from upscaling.service.settings import Oidc

__all__ = ["COOKIE", "AuthError", "ask_provider", "granted", "login_request", "metadata", "token_of"]

# For what a browser asks by itself, as pictures, downloads and events; it is taken for reading only.
COOKIE = "upscaling-token"

_SECONDS = 30


class AuthError(UpscalingError):
    """A request without a valid token."""


def ask_provider(address: str, data: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """Return status and answer of a provider: to a form, or without one to a plain question.

    Raises
    ------
    AuthError
        It is out of reach, or answers no JSON object.
    """
    import requests

    try:
        with new_session() as session:
            session.trust_env = False  # neither ~/.netrc nor a proxy has a say in who is trusted
            if data is None:
                answer = session.get(address, timeout=_SECONDS)
            else:
                answer = session.post(address, data=data, timeout=_SECONDS, allow_redirects=False)
            content = answer.json()
    except (requests.RequestException, ValueError):
        content = None
    if not isinstance(content, dict):
        raise AuthError("the identity provider is out of reach; please retry later")
    return answer.status_code, content


def metadata(issuer: str, name: str) -> str:
    """Return an address that a provider names in its metadata (OpenID Connect Discovery 1.0).

    Raises
    ------
    AuthError
        It is out of reach, or does not name it.
    """
    _, found = ask_provider(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if not isinstance(found.get(name), str):
        raise AuthError(f"the identity provider names no {name}")
    return str(found[name])


def granted(address: str, data: Mapping[str, str], *, what: str) -> tuple[str, int]:
    """Return the access token that a provider gives for a form, and the seconds for which it can be used.

    Raises
    ------
    AuthError
        It refuses ``what`` was asked for, or is out of reach.
    """
    status, content = ask_provider(address, data)
    token = content.get("access_token")
    if status != 200 or not isinstance(token, str) or not token:
        words = str(content.get("error_description") or content.get("error") or status)
        raise AuthError(f"the identity provider refused the {what}: {words[:200]}")
    seconds = content.get("expires_in")
    return token, int(seconds) if isinstance(seconds, int | float) and seconds > 0 else 300


def login_request(oidc: Oidc) -> dict[str, Any]:
    """Return what the page needs to send a user to the provider, which has a ``client_id`` for it.

    Returns
    -------
    ``address`` of the provider's authorization endpoint, and ``fields`` of the request to it but those that only
    the page knows (``redirect_uri``, ``state``, ``code_challenge``).
    """
    fields = {
        "response_type": "code",
        "client_id": str(oidc.client_id),
        "scope": oidc.scope,
        "code_challenge_method": "S256",
        **_resource(oidc),
    }
    return {"address": _endpoint(oidc.issuer, "authorization_endpoint"), "fields": fields}


def token_of(oidc: Oidc, code: str, verifier: str, redirect: str) -> tuple[str, int]:
    """Return the access token that a code stands for, and the seconds for which it can be used.

    Raises
    ------
    AuthError
        If the provider does not know the code, or is out of reach.
    """
    data = {
        "grant_type": "authorization_code",
        "client_id": str(oidc.client_id),
        "code": code,
        "code_verifier": verifier,
        "redirect_uri": redirect,
        **_resource(oidc),
    }
    if oidc.client_secret_env:
        data["client_secret"] = os.environ.get(oidc.client_secret_env, "")
    return granted(_endpoint(oidc.issuer, "token_endpoint"), data, what="log-in")


def _resource(oidc: Oidc) -> dict[str, str]:
    return {"resource": oidc.resource} if oidc.resource else {}


_endpoint = functools.cache(metadata)  # asked for once
