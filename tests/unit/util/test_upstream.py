"""Uses of other projects' internals are bound to the versions that were tested, and listed in docs/upstream.md."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT
from upscaling.errors import ConfigError, UpscalingError
from upscaling.util import upstream
from upscaling.util.upstream import Patch

SRC = ROOT / "src"
NEWER = "99.0"
NAMED_TUPLE = {"_asdict", "_fields", "_replace"}  # are public

pytestmark = pytest.mark.filterwarnings("ignore")  # what other projects warn of while they are imported


def patches() -> dict[str, Patch]:
    """Return all patches of the package by their place."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        place = ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
        for name in re.findall(r"^(\w+) = Patch\($", path.read_text(), re.MULTILINE):
            found[f"{place}.{name}"] = getattr(importlib.import_module(place), name)
    return found


ALL = patches()


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """Forget what was found before."""
    caches = [found for found in vars(upstream).values() if hasattr(found, "cache_clear")]
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a distribution say that it is a newer version than any."""
    version = importlib.metadata.version

    def become(distribution: str) -> None:
        monkeypatch.setattr(
            importlib.metadata, "version", lambda name: NEWER if name == distribution else version(name)
        )

    return become


@pytest.mark.parametrize("name", ALL)
def test_the_installed_version_is_the_tested_one(name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert ALL[name].applies()
    ALL[name].insist()
    assert not [record for record in caplog.records if record.name == upstream.__name__]


@pytest.mark.parametrize("name", ALL)
def test_a_version_without_one_of_the_names_is_noticed(name: str, caplog: pytest.LogCaptureFixture) -> None:
    patch = ALL[name]
    for known in patch.names:
        path, bracket, parameters = known.partition("(")
        others = [f"{path}_gone"] + ([f"{path}(renamed_{parameters}"] if bracket else [])
        for gone in others:
            other = Patch(patch.distribution, patch.tested, (gone,), patch.without)
            caplog.clear()
            assert not other.applies() and not other.applies()
            (warned,) = caplog.messages
            assert gone in warned and patch.without in warned
            with pytest.raises(UpscalingError) as error:
                other.insist()
            assert gone in str(error.value) and f"pip install '{patch.distribution}{patch.tested}'" in str(error.value)


# --- what steps aside: with a newer version nothing is replaced ---


def slurm() -> Any:
    import snakemake_executor_plugin_slurm as plugin

    from upscaling.workflow.patches.slurm_executor import patch_slurm_executor

    patch_slurm_executor()
    return plugin.query_job_status, plugin.get_submit_command, plugin.Executor.format_job_exec


def handed_on() -> Any:
    from snakemake.spawn_jobs import SpawnedJobArgsFactory

    from upscaling.workflow.configuration import hand_on_replacement

    with pytest.MonkeyPatch.context() as patch:  # another test may have done it in this process
        patch.setattr(SpawnedJobArgsFactory, "hands_on_replacement", False, raising=False)
        hand_on_replacement()
    return SpawnedJobArgsFactory.get_configfiles_arg


def config_files() -> Any:
    import snakemake.settings.types

    import snakemake_logger_plugin_upscaling as plugin

    plugin._explain_config_files()
    return snakemake.settings.types.load_configfile


def engine(name: Any) -> Callable[[], Any]:
    def loaded() -> Any:
        from upscaling.backends.cwl.warm import preload

        return preload(name, "v1.2") or None

    return loaded


def registry() -> Any:
    from upscaling.algorithms.cwl.oci import _get

    class FakeRegistry:
        prefix = "https"

        def do_request(self, *_: Any, **__: Any) -> Any:
            """Retry as the library does."""
            raise ValueError("asked with its retries")

    FakeRegistry.do_request.__wrapped__ = None  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="asked with its retries"):
        _get(FakeRegistry(), "x", "oci://x/y:1")


ASIDE: dict[str, tuple[str, Callable[[], Any]]] = {
    "upscaling.workflow.patches.slurm_executor.PATCH": ("snakemake-executor-plugin-slurm", slurm),
    "upscaling.workflow.configuration.HANDS_ON": ("snakemake", handed_on),
    "snakemake_logger_plugin_upscaling.CONFIG_FILES": ("snakemake", config_files),
    "upscaling.backends.cwl.warm.CWLTOOL": ("cwltool", engine("cwltool")),
    "upscaling.backends.cwl.toil.warm.TOIL": ("toil", engine("toil")),
    "upscaling.algorithms.cwl.oci.RETRIES": ("oras", registry),
}


@pytest.mark.parametrize("name", ASIDE)
def test_a_newer_version_is_left_as_it_is(
    name: str, newer: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    distribution, call = ASIDE[name]
    newer(distribution)
    before = call()
    assert call() == before
    assert sum(f"{distribution} {NEWER} was not tested" in line for line in caplog.messages) == 1


# --- what stops: there is no way without these names ---


def hooks() -> Any:
    from upscaling.workflow.hooks import names_nothing

    names_nothing({}, None)


def log_handler() -> Any:
    from snakemake_logger_plugin_upscaling import LogHandler

    LogHandler.__post_init__(None)  # type: ignore[arg-type]


def session() -> Any:
    from upscaling.http.session import _session_class

    _session_class.__wrapped__()


def stac_api() -> Any:
    from upscaling.stage_in.sources import _of_api

    next(_of_api(None, SimpleNamespace(), None, None, print))  # type: ignore[arg-type]


def rows() -> Any:
    from upscaling.results.table import _final

    _final(iter(()), None)  # type: ignore[arg-type]


def number() -> Any:
    from ruamel.yaml import YAML

    from upscaling.algorithms.cwl.pin import _as_spelt

    _as_spelt(YAML().load("[1e3]"))


def oci_client() -> Any:
    from upscaling.algorithms.cwl.oci import _client

    _client("oci://localhost/x:1")


def back_end() -> Any:
    from upscaling.local_backend.server import serve

    serve(data=Path(), root=Path(tempfile.mkdtemp()), users={"a": "b"})


def processes() -> Any:
    from upscaling.local_backend.processes import base_registry

    base_registry()


STOPS: dict[str, Callable[[], Any]] = {
    "upscaling.workflow.executor.SNAKEMAKE": hooks,
    "snakemake_logger_plugin_upscaling.OUTPUT": log_handler,
    "upscaling.http.session.REQUESTS": session,
    "upscaling.stage_in.sources.CLIENT": stac_api,
    "upscaling.results.table.GEOPARQUET": rows,
    "upscaling.algorithms.cwl.pin.NUMBERS": number,
    "upscaling.algorithms.cwl.oci.SESSION": oci_client,
    "upscaling.local_backend.server.DRIVER": back_end,
    "upscaling.local_backend.processes.PROCESSES": processes,
}


@pytest.mark.parametrize("name", STOPS)
def test_a_newer_version_without_a_name_stops_with_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from snakemake.exceptions import CliException

    patch, gone = ALL[name], f"{ALL[name].names[0].partition(':')[0]}:gone"
    for module in list(sys.modules.values()):  # also where it was imported by name
        if getattr(module, name.rpartition(".")[2], None) is patch:
            other = Patch(patch.distribution, patch.tested, (gone,), patch.without)
            monkeypatch.setattr(module, name.rpartition(".")[2], other)
    with pytest.raises((UpscalingError, CliException, SystemExit)) as ended:
        STOPS[name]()
    said = capsys.readouterr().err if isinstance(ended.value, SystemExit) else str(ended.value)
    assert gone in said and patch.tested in said and len(said.splitlines()) == 1


def test_each_patch_has_a_case_and_a_line_in_the_documentation() -> None:
    assert set(ALL) == set(ASIDE) | set(STOPS)
    text = (ROOT / "docs" / "upstream.md").read_text()
    rows = {cells[1].strip("` "): cells for line in text.splitlines() if len(cells := line.split("|")) == 6}
    for name, patch in ALL.items():
        cells = rows[name.removeprefix("upscaling.")]
        assert patch.distribution in cells[2] and patch.tested in cells[3], name
        assert ("steps aside" if name in ASIDE else "stops") in cells[4], name


# --- the list is complete ---


def internals(path: Path) -> Iterator[str]:
    """Yield what a module replaces, or looks into, of a project that is neither this one nor Python's own."""
    tree = ast.parse(path.read_text())
    foreign = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            foreign |= {(alias.asname or alias.name.partition(".")[0]): alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            foreign |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    own = {*sys.stdlib_module_names, "upscaling"}
    foreign = {name: module for name, module in foreign.items() if module.partition(".")[0] not in own}
    yield from (module for module in foreign.values() if re.search(r"\._\w", module))
    ours = {"self", "cls", *sys.stdlib_module_names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            root = re.split(r"\W", owner, maxsplit=1)[0]
            replaced = isinstance(node.ctx, ast.Store) and root in foreign
            private = node.attr == "__wrapped__" or re.match(r"_[a-z]", node.attr)
            if replaced or (private and root not in ours and node.attr not in NAMED_TUPLE):
                yield f"{owner}.{node.attr}"


def test_the_list_of_patches_is_complete() -> None:
    named = {re.split(r"[.:(]", name.partition("(")[0])[-1] for patch in ALL.values() for name in patch.names}
    bound = {Path(*name.split(".")[:-1]) for name in ALL}
    without = {}
    for path in sorted(SRC.rglob("*.py")):
        relative = path.relative_to(SRC).with_suffix("")
        found = {use for use in internals(path) if use.rpartition(".")[2] not in named}
        if found and relative not in bound and relative.parent not in bound:
            without[str(relative)] = found
    own = {"upscaling/config/model": {"config._notices", "config._sources"}}
    assert without == own, "bind them to versions by a Patch"
