"""Servers for the tests of OGC API - Processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.backend.ogcapi.replay import Replay


@pytest.fixture
def replay() -> Iterator[Replay]:
    server = Replay()
    yield server
    server.stop()
