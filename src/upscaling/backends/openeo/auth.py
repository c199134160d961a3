"""Logging in to openEO platforms without asking anybody, and their complaints in words that can be shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from upscaling.errors import ConfigError, ErrorClass
from upscaling.jobs.failures import classify_http
from upscaling.jobs.remote_job import PlatformError
from upscaling.util.text import masked

__all__ = ["LONGEST_WORDS", "log_in", "plain_words", "translated"]

LONGEST_WORDS = 500  # characters of a platform's message that are passed on
_SECRETS = ("OPENEO_AUTH_PASSWORD", "OPENEO_AUTH_CLIENT_SECRET", "OPENEO_AUTH_TOKEN")


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
        raise ConfigError(f"{url} does not let us in: {_without_secrets(str(error))}; {hint}", key=key) from None


def plain_words(said: Any) -> str:
    """Return what a platform said as one printable line: nothing that steers a terminal, and no secret of ours."""
    return _without_secrets(" ".join("".join(sign if sign.isprintable() else " " for sign in str(said)).split()))


def _without_secrets(text: str) -> str:
    return masked(text, _SECRETS)


@contextmanager
def translated(url: str, *, acted: bool = True) -> Iterator[None]:
    """Turn what requests, urllib3 and the openeo client raise into PlatformError.

    Parameters
    ----------
    acted
        Whether the platform may have done what it was asked although it did not say so.
    """
    import requests
    import urllib3.exceptions
    from openeo.rest import OpenEoApiPlainError, OpenEoClientException, OpenEoRestError

    transient = ErrorClass.TRANSIENT
    try:
        yield
    except OpenEoApiPlainError as error:
        code, status = getattr(error, "code", None), error.http_status_code
        words = f"{code}: {error.message}" if code else _without_secrets(str(error))[:LONGEST_WORDS]
        raise PlatformError(
            f"{url} answered {status} {words}", error_class=classify_http(status, code), code=code
        ) from None
    except requests.exceptions.JSONDecodeError:
        raise PlatformError(
            f"{url} answered with something that is not JSON", error_class=transient, outcome_unknown=acted
        ) from None
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError) as error:
        raise PlatformError(f"{url} gives a link that is none ({error})", error_class=ErrorClass.OUTPUT) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise PlatformError(
            f"{url} cannot be reached ({_cause(error)})",
            error_class=transient,
            outcome_unknown=acted and not _never_sent(error),
        ) from None
    except OpenEoRestError as error:
        raise PlatformError(str(error), error_class=transient, outcome_unknown=acted) from None
    except OpenEoClientException as error:
        raise PlatformError(str(error), error_class=ErrorClass.PERMANENT) from None


def _causes(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    while following is not None:
        yield following
        reason = getattr(following, "reason", None)
        following = following.__cause__ or following.__context__ or (reason if isinstance(reason, Exception) else None)


def _never_sent(error: BaseException) -> bool:
    """Whether there was no connection, so that nothing can have arrived."""
    import urllib3.exceptions

    kinds = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _cause(error: BaseException) -> str:
    """Return the innermost reason: ``Connection refused``, not four layers of urllib3."""
    *_, last = _causes(error)
    return getattr(last, "strerror", None) or str(last) or type(last).__name__
