"""Log-in of the page: authorization code with PKCE. The service asks the provider; the page asks nobody else."""

from __future__ import annotations

import os
import threading
from typing import Any

from upscaling.http.session import new_session
from upscaling.service.access.auth import AuthError
from upscaling.service.settings import Oidc

__all__ = ["COOKIE", "Login"]

# For what a browser asks by itself, as pictures, downloads and events; it is taken for reading only.
COOKIE = "upscaling-token"
_SECONDS = 20


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
        self._lock = threading.Lock()

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
        return {"address": self._endpoints()["authorization_endpoint"], "fields": fields}

    def token(self, code: str, verifier: str, redirect: str) -> tuple[str, int]:
        """Return the access token that a code stands for, and the seconds for which it can be used.

        Raises
        ------
        AuthError
            If the provider does not know the code, or is out of reach.
        """
        import requests

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
        try:
            with new_session() as session:
                session.trust_env = False  # neither ~/.netrc nor a proxy has a say in who is trusted
                answer = session.post(
                    self._endpoints()["token_endpoint"], data=data, timeout=_SECONDS, allow_redirects=False
                )
                content = answer.json()
                token, seconds = content.get("access_token"), int(content.get("expires_in") or 300)
        except (requests.RequestException, ValueError, TypeError, AttributeError):
            raise AuthError("the identity provider is out of reach; please retry later") from None
        if answer.status_code != 200 or not isinstance(token, str):
            words = str(content.get("error_description") or content.get("error") or answer.status_code)
            raise AuthError(f"the identity provider refused the log-in: {words[:200]}")
        return token, seconds

    def _resource(self) -> dict[str, str]:
        return {"resource": self._oidc.resource} if self._oidc.resource else {}

    def _endpoints(self) -> dict[str, str]:
        import requests

        with self._lock:
            if not self._known:
                address = f"{self._oidc.issuer.rstrip('/')}/.well-known/openid-configuration"
                try:
                    with new_session() as session:
                        session.trust_env = False
                        found = session.get(address, timeout=_SECONDS).json()
                    self._known = {name: str(found[name]) for name in ("authorization_endpoint", "token_endpoint")}
                except (requests.RequestException, ValueError, KeyError, TypeError):
                    raise AuthError("the identity provider is out of reach; please retry later") from None
            return self._known
