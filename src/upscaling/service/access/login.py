"""Log-in of the page: authorization code with PKCE. The service asks the provider; the page asks nobody else."""

from __future__ import annotations

import functools
import os
from typing import Any

from upscaling.service.access.provider import granted, metadata
from upscaling.service.settings import Oidc

__all__ = ["COOKIE", "login_request", "token_of"]

# For what a browser asks by itself, as pictures, downloads and events; it is taken for reading only.
COOKIE = "upscaling-token"


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
