"""Who we are to an OGC API - Processes server: one header, made from the environment, for one origin only.

| auth       | environment                                                                                         |
|------------|-----------------------------------------------------------------------------------------------------|
| `basic`    | OGCAPI_USERNAME, OGCAPI_PASSWORD                                                                    |
| `bearer`   | OGCAPI_TOKEN                                                                                        |
| `oidc`     | OGCAPI_CLIENT_ID, OGCAPI_CLIENT_SECRET (client credentials), OGCAPI_TOKEN_URL or OGCAPI_ISSUER;     |
|            | OGCAPI_SCOPE, if the provider wants one                                                             |
| `exchange` | the same, and OGCAPI_SUBJECT_TOKEN: it is exchanged (RFC 8693) for one that the platform takes;     |
|            | OGCAPI_AUDIENCE and OGCAPI_REQUESTED_ISSUER, if the provider wants them; the client is optional     |
"""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Mapping
from typing import Any, Literal

from upscaling.errors import ConfigError, PlatformError
from upscaling.http.address import origin
from upscaling.http.transport import TRANSIENT_STATUS, Transport

__all__ = ["Credentials", "Method"]

Method = Literal["none", "basic", "bearer", "oidc", "exchange"]
_MARGIN = 30.0  # s before its end at which a token is renewed
_REQUEST_SECONDS = 60
_KEY = "backend.auth"


class Credentials:
    """The ``Authorization`` header of a server, renewed when it ends; may be asked by many threads.

    Parameters
    ----------
    url
        The server's base URL: other origins get no header.
    """

    def __init__(self, method: Method, url: str) -> None:
        self._method, self._origin = method, origin(url)
        self._lock = threading.Lock()
        self._token, self._ends = "", 0.0

    def header(self, url: str) -> dict[str, str]:
        """Return what to add to a request's headers; nothing for a host that is not the server's.

        Raises
        ------
        ConfigError
            If a secret is not in the environment, or the identity provider refuses it.
        PlatformError
            If the identity provider cannot be reached.
        """
        if self._method == "none" or self._origin is None or origin(url) != self._origin:
            return {}
        if self._method == "basic":
            pair = f"{_needed('OGCAPI_USERNAME', 'basic')}:{_needed('OGCAPI_PASSWORD', 'basic')}"
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        if self._method == "bearer":
            return {"Authorization": f"Bearer {_needed('OGCAPI_TOKEN', 'bearer')}"}
        with self._lock:
            if time.monotonic() > self._ends - _MARGIN:
                self._token, lifetime = _ask_for_token(self._method)
                # A token that lives shorter than the margin is used for half its life.
                self._ends = time.monotonic() + max(lifetime, 2 * _MARGIN if lifetime > _MARGIN else lifetime / 2)
            return {"Authorization": f"Bearer {self._token}"}

    def refused(self, sent: Mapping[str, str], error: PlatformError) -> bool:
        """Drop a token that the server refused; True if there is another one, or asking for one may help."""
        if error.status != 401:
            return False
        with self._lock:
            if self._token and sent.get("Authorization") != f"Bearer {self._token}":
                return True  # another thread has asked for one meanwhile
            had = bool(self._token)
            self._token, self._ends = "", 0.0
            return had

    def accepted(self, url: str, sent: Mapping[str, str]) -> None:
        """Do nothing: a token's end is known from its lifetime."""


def _needed(name: str, method: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigError(f"`{method}` needs {name} in the environment", key=_KEY)
    return value


def _ask_for_token(method: Method) -> tuple[str, float]:
    """Return an access token and the seconds that it lives."""
    form = {"scope": os.environ.get("OGCAPI_SCOPE")}
    client = (os.environ.get("OGCAPI_CLIENT_ID"), os.environ.get("OGCAPI_CLIENT_SECRET"))
    if method == "oidc":
        client = (_needed("OGCAPI_CLIENT_ID", method), _needed("OGCAPI_CLIENT_SECRET", method))
        form["grant_type"] = "client_credentials"
    else:
        form |= {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": _needed("OGCAPI_SUBJECT_TOKEN", method),
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "audience": os.environ.get("OGCAPI_AUDIENCE"),
            "requested_issuer": os.environ.get("OGCAPI_REQUESTED_ISSUER"),
        }
    form |= {"client_id": client[0], "client_secret": client[1]}
    address = _token_address(method)
    answer = _post(address, {name: value for name, value in form.items() if value})
    token = answer.get("access_token")
    if not isinstance(token, str) or not token:
        raise ConfigError(f"{address} answered without an access token", key=_KEY)
    lifetime = answer.get("expires_in")
    return token, float(lifetime) if isinstance(lifetime, int | float) and lifetime > 0 else 300.0


def _token_address(method: str) -> str:
    given = os.environ.get("OGCAPI_TOKEN_URL")
    if given:
        return given
    issuer = os.environ.get("OGCAPI_ISSUER")
    if not issuer:
        raise ConfigError(f"`{method}` needs OGCAPI_TOKEN_URL or OGCAPI_ISSUER in the environment", key=_KEY)
    found = _post(f"{issuer.rstrip('/')}/.well-known/openid-configuration", None).get("token_endpoint")
    if not isinstance(found, str):
        raise ConfigError(f"{issuer} names no token endpoint", key=_KEY)
    return found


def _post(url: str, form: dict[str, str] | None) -> dict[str, Any]:
    """Send a form (or read a document, without one) and return the JSON object that comes back."""
    transport = Transport(seconds=_REQUEST_SECONDS)
    try:
        # A POST is never redirected: the secrets would go to wherever it points.
        options: dict[str, Any] = {"data": form} if form is not None else {}
        answer = transport.json("GET" if form is None else "POST", url, **options)
    except PlatformError as error:
        if error.status is None or error.status in TRANSIENT_STATUS:
            raise
        raise ConfigError(str(error), key=_KEY) from None
    return answer if isinstance(answer, dict) else {}
