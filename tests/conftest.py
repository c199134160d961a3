"""Fixtures every layer shares."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["tests.containers", "tests.null_device"]
# Slots of accounts are counted over all runs of a machine: those of tests are no matter to anybody else.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="upscaling-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under `nohup`: this process goes on, and what it starts ends
    signal.signal(signal.SIGHUP, lambda *_: None)
ROOT = Path(__file__).resolve().parents[1]
_DEPTH = 1000  # Python's own
# Of these parts there is one on a machine: where `pytest -n` shares files out, the tests of these follow each other.
ONE_OF = {"slurm", "podman", "image_registry"}
ALONE = (
    "tests/cluster/",
    "tests/workflow/test_containers_run.py",
    "tests/workflow/test_no_network_run.py",
    "tests/backend/cwl/test_cwl_images.py",
    "tests/backend/cwl/test_cwl_sources.py",
)
# In this order after those, so that none of the long files is left for the end.
LONG = (
    "tests/workflow/test_documented.py",
    "tests/workflow/test_openeo_run.py",
    "tests/faults/test_kills.py",
    "tests/workflow/",
    "tests/faults/",
    "tests/backend/ogcapi/test_faults.py",
    "tests/service/",
    "tests/web/",
    "tests/backend/",
    "tests/publish/",
    "tests/report/",
    "tests/unit/grids/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In a process of `pytest -n`, begin with the tests that take longest."""
    for item in items:
        if ONE_OF & set(getattr(item, "fixturenames", ())) and not item.nodeid.startswith(ALONE):
            raise pytest.UsageError(f"{item.nodeid} uses what is there once: name its file in {__file__}, ALONE")
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: _turn(item.nodeid))


def _turn(nodeid: str) -> int:
    """Return how many kinds of tests begin before this one."""
    if nodeid.startswith(ALONE):
        return -1
    return next((turn for turn, folder in enumerate(LONG) if nodeid.startswith(folder)), len(LONG))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share out files, and those of ``ALONE`` together (marks of a group are not seen under pytest 9.2)."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "alone" if nodeid.startswith(ALONE) else nodeid.partition("::")[0]

    return Scheduling(config, log)


def missing(what: str) -> None:
    """Skip a test for want of ``what``; where everything must be there (CI), fail instead."""
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"{what} is missing, and REQUIRE_ALL=1 allows no skip")
    pytest.skip(f"{what} is missing")


@pytest.fixture(autouse=True)
def same_depth() -> None:
    """Let Python recurse as deep as ever: a library of the embedded back-end changes that for all that follows."""
    sys.setrecursionlimit(_DEPTH)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real inputs that lies beside a checkout: ``../shared/data`` (or $UPSCALING_SHARED_DATA)."""
    folder = Path(os.environ.get("UPSCALING_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        missing(f"the folder of real test data ({folder})")
    return folder


@pytest.fixture(scope="session")
def scene(shared_data: Path) -> Path:
    """Real Sentinel-2 pixels: 935 x 705 at 10 m, EPSG:32632, uint16, bands B04 B03 B02 B08 SCL, 2022-06-12."""
    return shared_data / "sentinel2" / "S2_L2A_sample.tif"
