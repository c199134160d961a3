"""For the suite's general group (`pytest -p basic_login`): user and password, where the suite knows OIDC only."""

from __future__ import annotations

import os
from typing import Any

import openeo


def _authenticate(connection: openeo.Connection, *_: Any, **__: Any) -> openeo.Connection:
    return connection.authenticate_basic(os.environ["OPENEO_LOCAL_USER"], os.environ["OPENEO_LOCAL_PASSWORD"])


openeo.Connection.authenticate_oidc = _authenticate  # type: ignore[method-assign]
