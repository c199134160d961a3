"""Change one thing in a module at a time, and see whether its tests notice: ``python tools/mutants.py``, not in CI.

Of all changes that can be made in the modules of ``CORE`` a sample is drawn, each as likely as any other, always the
same one for a seed: a comparison the other way, ``and`` for ``or``, a condition that always holds, a number one larger,
a result left out ... Each is written into a copy of the tree, where the module's own unit tests then run: those first
that call the function that was changed, the fastest of them first, then all others. A change that no test notices is a
survivor, and is named. The status is 1 if fewer than 80 % are noticed.

Each run of tests is a fork of this process, which has imported what the tests need of other projects.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEAST = 0.8
# Module below src/upscaling -> its tests below tests/unit.
_JOBS = [f"jobs/test_{name}.py" for name in ("receipts", "remote_job", "remote_job_waits", "results_wait", "failures")]
_BINDING = ["binding/test_contract.py", "binding/test_openeo.py", "binding/test_cwl.py", "binding/test_cwl_numbers.py"]
_BINDING += ["binding/test_ogcapi.py", "binding/test_ogcapi_choices.py", "binding/test_cwl_choices.py"]
_BINDING += ["binding/test_base.py", "binding/test_openeo_choices.py", "algorithms/test_udp.py"]
_MOSAIC = [f"results/test_results_{name}.py" for name in ("mosaic", "products", "mosaic_index", "mosaic_cog")]
_PIXELS = [*_MOSAIC, "results/test_results_mosaic_tiles.py", "results/test_results_mosaic_pixels.py"]
CORE = {
    "jobs/receipts.py": _JOBS,
    "jobs/remote_job.py": _JOBS,
    "jobs/failures.py": _JOBS,
    "binding/base.py": _BINDING,
    "binding/forms.py": _BINDING,
    "binding/openeo.py": _BINDING,
    "binding/ogcapi.py": _BINDING,
    "binding/cwl.py": _BINDING,
    "results/mosaic.py": _PIXELS,
    "results/mosaic_tiles.py": _PIXELS,
    "results/nearest.py": [*_PIXELS, "results/test_results_nearest.py"],
    "results/mosaic_cog.py": _MOSAIC,
    "results/mosaic_check.py": ["results/test_results_quality.py", "results/test_results_mosaic_check.py"],
}
OPPOSITE: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Break: ast.Continue,
    ast.Continue: ast.Break,
}  # fmt: skip
_TIMES = count(1)  # of modification, each another one
SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}
# Other projects that take long to import.
PRELOADED = {
    *("affine", "cwl_utils", "geopandas", "jsonschema", "numpy", "openeo", "pandas", "pyarrow", "pydantic", "pyogrio"),
    *("pyproj", "pystac", "rasterio", "referencing", "requests", "rio_cogeo", "scipy", "shapely", "urllib3", "xarray"),
}
_WRONG_TESTS = 4  # pytest's status when it cannot find or import them
UNSEEN = {"log", "say", "tell"}  # what these are told changes nothing


class Changes(ast.NodeTransformer):
    """Count the changes that can be made within the functions of a module, and make the one with a number."""

    def __init__(self, wanted: int = -1) -> None:
        self.count, self.wanted, self.made = 0, wanted, ""

    def visit(self, node: ast.AST) -> ast.AST:
        """Leave out what no test can see: annotations, defaults, messages, logging, and ``strict=`` of a zip."""
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert | ast.arguments):
            return node
        call = node.value if isinstance(node, ast.Expr) else node
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and _root(call.func) in UNSEEN:
            return node
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "returns", "decorator_list"} or getattr(node, "arg", "") == "strict":
                continue
            if isinstance(value, list):
                setattr(node, name, [self.visit(entry) if isinstance(entry, ast.AST) else entry for entry in value])
            elif isinstance(value, ast.AST):
                setattr(node, name, self.visit(value))
        for what, other in possible(node):
            self.count += 1
            if self.count - 1 == self.wanted:
                self.made = f"line {getattr(node, 'lineno', '?')}: {what}"
                return ast.copy_location(other, node)
        return node


def possible(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield the changes of one node: what each is, and the node in its place."""
    words = ast.unparse(node)[:80] if isinstance(node, ast.expr | ast.stmt) else ""
    match node:
        case ast.Compare(ops=[op]):
            yield f"{words} the other way", _with(node, ops=[OPPOSITE[type(op)]()])
        case ast.BoolOp() | ast.BinOp() if type(node.op) in OPPOSITE:
            yield f"another operator in {words}", _with(node, op=OPPOSITE[type(node.op)]())
        case ast.UnaryOp(op=ast.Not()):
            yield f"no not in {words}", node.operand
        case ast.Constant(value=bool()):
            yield f"not {words}", ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield f"{words} + 1", ast.Constant(node.value + 1)  # type: ignore[operator]
        case ast.If():
            yield f"if True, not {ast.unparse(node.test)}", _with(node, test=ast.Constant(True))
            yield f"if False, not {ast.unparse(node.test)}", _with(node, test=ast.Constant(False))
        case ast.Return(value=ast.expr()) if words != "return None":
            yield f"None, not {words}", ast.Return(ast.Constant(None))
        case ast.Call(func=ast.Name(id=name)) if name in SWAPPED:
            yield f"another {words}", _with(node, func=ast.Name(SWAPPED[name], ast.Load()))
        case ast.Expr(value=ast.Call()):
            yield f"without {words}", ast.Pass()
        case ast.Break() | ast.Continue():
            yield f"no {words}", OPPOSITE[type(node)]()


def _with(node: ast.AST, **changes: object) -> ast.AST:
    other = copy.copy(node)
    for name, value in changes.items():
        setattr(other, name, value)
    return other


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


class Change(NamedTuple):
    """A change that can be made: its number in the module, and the line where the function begins that it is in."""

    module: str
    number: int
    function: int


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(inner, ast.FunctionDef):
                yield inner


def changed(source: str, number: int) -> tuple[str, str]:
    """Return a module with one change, and what it is."""
    changes, tree = Changes(number), ast.parse(source)
    for function in _functions(tree):
        changes.visit(function)
    return ast.unparse(ast.fix_missing_locations(tree)), changes.made


def sample(modules: Iterable[str], most: int, seed: int) -> list[Change]:
    """Return at most so many changes, the same ones for a seed."""
    every: list[Change] = []
    for module in modules:
        changes = Changes()
        for function in _functions(ast.parse(_text(module))):
            before, first = changes.count, min([function.lineno, *(one.lineno for one in function.decorator_list)])
            changes.visit(function)
            every += [Change(module, number, first) for number in range(before, changes.count)]
    return sorted(random.Random(seed).sample(every, min(most, len(every))))  # noqa: S311


def _text(module: str) -> str:
    return (ROOT / "src" / "upscaling" / module).read_text(encoding="utf-8")


@contextmanager
def copies(number: int) -> Iterator[list[Path]]:
    """Yield copies of what tests need of the tree."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as home:
        places = [Path(home, str(index)) for index in range(number)]
        for place in places:
            for name in ("src", "tests", "config", "cwl", "workflow"):
                shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", "vendor"))
            for name in ("pyproject.toml", "Snakefile"):
                shutil.copy(ROOT / name, place / name)
        yield places


class Calls:
    """A pytest plugin that notes how long each test takes and which functions of the package it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.callers: dict[str, list[str]] = defaultdict(list)  # "module:line" -> tests

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Watch one test, in all its threads."""
        seen: set[tuple[str, int]] = set()

        def called(frame: Any, event: str, _: object) -> None:
            if event == "call":
                seen.add((frame.f_code.co_filename, frame.f_code.co_firstlineno))

        began = time.monotonic()
        threading.setprofile(called)
        sys.setprofile(called)
        try:
            return (yield)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            self.seconds[item.nodeid] = time.monotonic() - began
            for file, line in seen:
                if "/src/upscaling/" in file:
                    self.callers[f"{file.rpartition('/src/upscaling/')[2]}:{line}"].append(item.nodeid)


@dataclass
class Suite:
    """The tests of a module, as a run without any change showed them: the fastest first."""

    seconds: dict[str, float] = field(default_factory=dict)
    callers: dict[str, list[str]] = field(default_factory=dict)

    def parts(self, change: Change) -> list[list[str]]:
        """Return the tests that call what was changed, and the others."""
        callers = set(self.callers.get(f"{change.module}:{change.function}", ()))
        tests = sorted(self.seconds, key=self.seconds.__getitem__)
        return [part for part in ([t for t in tests if t in callers], [t for t in tests if t not in callers]) if part]


class Run:
    """Tests in a fork of this process, in a copy of the tree.

    Parameters
    ----------
    noting
        A file for what each test calls, and for what was imported.
    """

    def __init__(self, place: Path, tests: Sequence[str], seconds: float, noting: Path | None = None) -> None:
        self.place, self.until = place, time.monotonic() + seconds
        self.pid = os.fork()
        if not self.pid:
            try:
                os._exit(self._run(tests, noting))
            except BaseException as error:  # nothing may go on in this process
                os.write(2, f"{error!r}\n".encode())
                os._exit(9)

    def _run(self, tests: Sequence[str], noting: Path | None) -> int:
        os.setsid()
        os.chdir(self.place)
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ["UPSCALING_SHARED_DATA"] = os.environ.get("UPSCALING_SHARED_DATA", str(ROOT.parent / "shared/data"))
        os.environ |= {"PYTHONPATH": f"{self.place}/src", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        sys.modules["__main__"] = ModuleType("__main__")  # processes that tests start would import this module
        sys.path[:] = [
            f"{self.place}/src",
            str(self.place),
            *(p for p in sys.path if not p.startswith(str(ROOT / "src"))),
        ]
        importlib.invalidate_caches()
        options = [
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "pytest_timeout",
            f"--basetemp={self.place / 'basetemp'}",
        ]
        calls = Calls()
        status = int(pytest.main([*options, *tests], plugins=[calls] if noting else []))
        if noting:
            loaded = [name for name, module in sys.modules.items() if getattr(module, "__file__", None)]
            noting.write_text(json.dumps([calls.seconds, calls.callers, loaded]))
        return status

    def status(self) -> int | None:
        """Return pytest's status once it has ended; 1, also when it takes too long; None before."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            with suppress(ProcessLookupError):  # what the tests have left behind
                os.killpg(self.pid, signal.SIGKILL)
            return max(1, os.waitstatus_to_exitcode(status)) if status else 0
        if time.monotonic() > self.until:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            return 1
        return None


@contextmanager
def _written(target: Path, text: str) -> Iterator[None]:
    """Let a file have another text for a block; Python tells by its time that the bytecode is not of this text."""
    before = target.read_text(encoding="utf-8")
    try:
        target.write_text(text, encoding="utf-8")
        os.utime(target, (0, next(_TIMES)))
        yield
    finally:
        target.write_text(before, encoding="utf-8")
        os.utime(target, (0, next(_TIMES)))


def survives(change: Change, place: Path, suite: Suite) -> Iterator[str | None]:
    """Make a change in a copy and run the module's tests; yield None while they run, then what survived or nothing."""
    text, what = changed(_text(change.module), change.number)
    with _written(place / "src" / "upscaling" / change.module, text):
        for tests in suite.parts(change):
            run = Run(place, tests, 30 + 5 * sum(suite.seconds[test] for test in tests))
            while (status := run.status()) is None:
                yield None
            if status > _WRONG_TESTS:
                raise SystemExit(f"pytest cannot run:\n{(place / 'output.txt').read_text()[-2000:]}")
            if status:
                yield ""
                return
    yield what


def unchanged(tests: Sequence[str], place: Path) -> Suite:
    """Run tests without a change; import here what they imported of other projects."""
    notes = place / "notes.json"
    run = Run(place, [f"tests/unit/{test}" for test in tests], 900, notes)
    while (status := run.status()) is None:
        time.sleep(0.1)
    if status:
        raise SystemExit(f"without any change:\n{(place / 'output.txt').read_text()[-2000:]}")
    seconds, callers, loaded = json.loads(notes.read_text())
    for name in loaded:
        if name.partition(".")[0] in PRELOADED:
            with suppress(Exception):
                importlib.import_module(name)
    return Suite(seconds, callers)


def attempts(
    drawn: Sequence[Change], suites: Mapping[tuple[str, ...], Suite], places: list[Path]
) -> Iterator[tuple[Change, str]]:
    """Yield every change with what it is if it survives, else with nothing."""
    waiting, free = iter(drawn), list(places)
    running: list[tuple[Change, Iterator[str | None], Path]] = []
    while True:
        while free and (change := next(waiting, None)):
            place = free.pop()
            running.append((change, survives(change, place, suites[tuple(CORE[change.module])]), place))
        if not running:
            return
        time.sleep(0.02)
        for entry in list(running):
            change, steps, place = entry
            found = next(steps)
            if found is not None:
                steps.close()  # type: ignore[attr-defined]
                running.remove(entry)
                free.append(place)
                yield change, found


def main() -> int:
    """Say how many changes were noticed, and which were not."""
    parser = argparse.ArgumentParser(description="Change the core modules, and see whether their tests notice.")
    parser.add_argument("modules", nargs="*", help="of src/upscaling; all of the core when left out")
    parser.add_argument("--most", type=int, default=120, help="changes, of all modules together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    drawn = sample(options.modules or CORE, options.most, options.seed)
    tried, noticed = Counter(change.module for change in drawn), Counter[str]()
    with copies(options.processes) as places:
        suites = {tuple(CORE[module]): Suite() for module in tried}
        suites = {tests: unchanged(tests, places[0]) for tests in suites}
        for change, survivor in attempts(drawn, suites, places):
            noticed[change.module] += not survivor
            if survivor:
                print(f"survived: {change.module} {survivor}", flush=True)
    for module, number in tried.items():
        print(f"{module}: {noticed[module]} of {number} noticed")
    share = noticed.total() / tried.total()
    print(f"{noticed.total()} of {tried.total()} changes were noticed ({share:.0%}; {LEAST:.0%} are wanted)")
    return share < LEAST


if __name__ == "__main__":
    sys.exit(main())
