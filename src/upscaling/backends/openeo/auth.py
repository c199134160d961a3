"""Log in to openEO platforms without asking anybody, and turn what the openeo client raises into PlatformError."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from upscaling.errors import ConfigError, ErrorClass, PlatformError
from upscaling.http import reply
from upscaling.jobs.failures import classify_http
from upscaling.util.text import plain_text

__all__ = ["LONGEST_WORDS", "log_in", "translated"]

LONGEST_WORDS = 500  # characters of a platform's message that are passed on


def log_in(connection: Any, method: str, url: str) -> None:
    """Log in without ever asking a person: a batch run has nobody to answer.

    Raises
    ------
    ConfigError
        If the secrets are not there or the platform refuses them.
    """
    from openeo.rest import OpenEoClientException

    key = "backend.auth"
    try:
        with translated(url, acted=False):
            if method == "basic":
                names = ("OPENEO_AUTH_USERNAME", "OPENEO_AUTH_PASSWORD")
                user, password = (os.environ.get(name) for name in names)
                connection.authenticate_basic(user, password)
            elif method == "bearer":
                token = os.environ.get("OPENEO_AUTH_TOKEN")
                if not token:
                    raise ConfigError("`bearer` needs a token in OPENEO_AUTH_TOKEN", key=key)
                connection.authenticate_bearer_token(token)
            elif method == "oidc" and os.environ.get("OPENEO_AUTH_METHOD") == "client_credentials":
                connection.authenticate_oidc_client_credentials()
            elif method == "oidc":
                # A provider may give a new refresh token each time, and the old one then is good for nothing.
                connection.authenticate_oidc_refresh_token(store_refresh_token=True)
    except (OpenEoClientException, PlatformError) as error:
        if isinstance(error, PlatformError) and error.error_class is ErrorClass.TRANSIENT:
            raise
        hint = {
            "basic": "set OPENEO_AUTH_USERNAME and OPENEO_AUTH_PASSWORD, or store them with `openeo-auth add-basic`",
            "oidc": "set OPENEO_AUTH_METHOD=client_credentials with OPENEO_AUTH_CLIENT_ID and _CLIENT_SECRET,"
            " or log in once with `openeo-auth oidc-auth` (a batch run never asks a person)",
        }.get(method, "see config/README.md")
        raise ConfigError(f"{url} does not let us in: {plain_text(error, LONGEST_WORDS)}; {hint}", key=key) from None


@contextmanager
def translated(url: str, *, acted: bool = True) -> Iterator[None]:
    """Turn what the openeo client raises into PlatformError, and what requests raises below it.

    Parameters
    ----------
    acted
        Whether the platform may have done what it was asked although it did not say so.
    """
    import requests
    from openeo.rest import OpenEoApiPlainError, OpenEoClientException, OpenEoRestError

    transient = ErrorClass.TRANSIENT
    try:
        with reply.translated(url, acted=acted):
            try:
                yield
            except requests.exceptions.JSONDecodeError:
                raise PlatformError(
                    f"{url} answered with something that is not JSON", error_class=transient, outcome_unknown=acted
                ) from None
    except OpenEoApiPlainError as error:
        code, status = getattr(error, "code", None), error.http_status_code
        words = plain_text(f"{code}: {error.message}" if code else error, LONGEST_WORDS)
        raise PlatformError(
            f"{url} answered {status}: {words}", error_class=classify_http(status, code), code=code, status=status
        ) from None
    except OpenEoRestError as error:
        raise PlatformError(plain_text(error, LONGEST_WORDS), error_class=transient, outcome_unknown=acted) from None
    except OpenEoClientException as error:
        raise PlatformError(plain_text(error, LONGEST_WORDS), error_class=ErrorClass.PERMANENT) from None
