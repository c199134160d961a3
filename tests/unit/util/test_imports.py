"""Whatever a module imports is asked for by the package, or by the extra that the module belongs to."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OWN = {"upscaling", "snakemake_executor_plugin_upscaling", "snakemake_logger_plugin_upscaling"}
# folder or module -> the extra that brings what it imports; all others do with the core
BELONGS = {
    "upscaling/local_backend/": "local",
    "upscaling/service/": "web",
    "upscaling/cli/serve.py": "web",
    "upscaling/algorithms/cwl/": "cwl",
    "upscaling/backends/cwl/": "cwl",
    "upscaling/grids/": "grids",
    "upscaling/http/s3.py": "s3",
    "upscaling/publish/store.py": "s3",
    "upscaling/results/cubes.py": "cubes",
}
# part of another package, which asks for it and cannot do without
COMES_WITH = {
    "affine": "rasterio",
    "cwl-utils": "toil",
    "cwltool": "toil",
    "pydantic-core": "pydantic",
    "schema-salad": "toil",
    "snakemake-interface-executor-plugins": "snakemake",
    "snakemake-interface-logger-plugins": "snakemake",
    "starlette": "fastapi",
    "urllib3": "requests",
}
ONE_BY_ONE = {"openeo-driver": "local"}  # installed without what it asks for (upscaling.util.extras)


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=\[~!; ]", requirement)[0]).lower()


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (entry.name.partition(".")[0] for entry in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def test_what_is_imported_is_asked_for() -> None:
    core = {_name(entry) for entry in PROJECT["dependencies"]}
    brought = {extra: {_name(entry) for entry in entries} for extra, entries in EXTRAS.items()}
    providers = packages_distributions()
    missing = []
    for path in sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "workflow").rglob("*.py")]):
        module = path.relative_to(ROOT / "src" if path.is_relative_to(ROOT / "src") else ROOT).as_posix()
        extra = next((extra for beginning, extra in BELONGS.items() if module.startswith(beginning)), None)
        allowed = core | brought.get(extra or "", set()) | {name for name, its in ONE_BY_ONE.items() if its == extra}
        for top in sorted(set(_imports(path)) - OWN - set(sys.stdlib_module_names)):
            names = {_name(name) for name in providers.get(top, [top])}
            if not (names | {COMES_WITH.get(name, name) for name in names}) & allowed:
                missing.append(f"{module} imports {top}, which {extra or 'the core'} does not ask for")
    assert not missing, "\n".join(missing)
