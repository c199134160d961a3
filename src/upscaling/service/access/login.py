"""Log-in of the page: authorization code with PKCE. The service asks the provider; the page asks nobody else."""

from __future__ import annotations

import os
from typing import Any

from upscaling.service.access.provider import granted, metadata
from upscaling.service.settings import Oidc

__all__ = ["COOKIE", "Login"]

# For what a browser asks by itself, as pictures, downloads and events; it is taken for reading only.
COOKIE = "upscaling-token"


class Login:
    """The provider's endpoints, and its answers to the page's codes.

    Parameters
    ----------
    oidc
        Settings of the provider; with a ``client_id``.
    """

    def __init__(self, oidc: Oidc) -> None:
        self._oidc = oidc
        self._known: dict[str, str] = {}

    def request(self) -> dict[str, Any]:
        """Return what the page needs to send a user to the provider.

        Returns
        -------
        ``address`` of the provider's authorization endpoint, and ``fields`` of the request to it but those that only
        the page knows (``redirect_uri``, ``state``, ``code_challenge``).
        """
        fields = {
            "response_type": "code",
            "client_id": str(self._oidc.client_id),
            "scope": self._oidc.scope,
            "code_challenge_method": "S256",
            **self._resource(),
        }
        return {"address": self._endpoint("authorization_endpoint"), "fields": fields}

    def token(self, code: str, verifier: str, redirect: str) -> tuple[str, int]:
        """Return the access token that a code stands for, and the seconds for which it can be used.

        Raises
        ------
        AuthError
            If the provider does not know the code, or is out of reach.
        """
        oidc = self._oidc
        data = {
            "grant_type": "authorization_code",
            "client_id": str(oidc.client_id),
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect,
            **self._resource(),
        }
        if oidc.client_secret_env:
            data["client_secret"] = os.environ.get(oidc.client_secret_env, "")
        return granted(self._endpoint("token_endpoint"), data, what="log-in")

    def _resource(self) -> dict[str, str]:
        return {"resource": self._oidc.resource} if self._oidc.resource else {}

    def _endpoint(self, name: str) -> str:
        if name not in self._known:
            self._known[name] = metadata(self._oidc.issuer, name)
        return self._known[name]
