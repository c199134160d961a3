"""Change one thing in a module at a time, and see whether its tests notice: ``python tools/mutants.py``, not in CI.

Of all changes that can be made in the modules of ``CORE`` a sample is drawn, each as likely as any other, always the
same one for a seed: a comparison the other way, ``and`` for ``or``, a condition that always holds, a number one larger,
a result left out ... Each is written into a copy of the tree, where the module's own unit tests then run; a change that
no test notices is a survivor, and is named. The status is 1 if fewer than 80 % are noticed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[1]
LEAST = 0.8
# Module below src/upscaling -> its tests below tests/unit.
_BINDING = ["binding/test_contract.py", "binding/test_openeo.py", "binding/test_cwl.py", "binding/test_cwl_numbers.py"]
_BINDING += ["binding/test_ogcapi.py"]
_MOSAIC = ["results/test_results_mosaic.py", "results/test_results_products.py"]
CORE = {
    "jobs/receipts.py": ["jobs/test_receipts.py", "jobs/test_remote_job.py"],
    "jobs/remote_job.py": ["jobs/test_remote_job.py", "jobs/test_results_wait.py"],
    "jobs/failures.py": ["jobs/test_failures.py", "jobs/test_remote_job.py"],
    "binding/base.py": _BINDING,
    "binding/forms.py": _BINDING,
    "binding/openeo.py": _BINDING,
    "binding/ogcapi.py": _BINDING,
    "binding/cwl.py": _BINDING,
    "results/mosaic.py": [*_MOSAIC, "results/test_results_mosaic_pixels.py"],
    "results/mosaic_tiles.py": [*_MOSAIC, "results/test_results_mosaic_pixels.py"],
    "results/mosaic_cog.py": _MOSAIC,
    "results/mosaic_check.py": ["results/test_results_quality.py"],
}
OPPOSITE: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Break: ast.Continue,
    ast.Continue: ast.Break,
}  # fmt: skip
_TIMES = count(1)  # of modification, each another one
SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}
UNSEEN = {"log", "say", "tell"}  # what these are told changes nothing


class Changes(ast.NodeTransformer):
    """Count the changes that can be made within the functions of a module, and make the one with a number."""

    def __init__(self, wanted: int = -1) -> None:
        self.count, self.wanted, self.made = 0, wanted, ""

    def visit(self, node: ast.AST) -> ast.AST:
        """Leave out what no test can see: annotations, defaults, messages and logging."""
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert | ast.arguments):
            return node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _root(node.func) in UNSEEN:
            return node
        for field, value in ast.iter_fields(node):
            if field in {"annotation", "returns", "decorator_list"}:
                continue
            if isinstance(value, list):
                setattr(node, field, [self.visit(entry) if isinstance(entry, ast.AST) else entry for entry in value])
            elif isinstance(value, ast.AST):
                setattr(node, field, self.visit(value))
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


def _in_functions(tree: ast.Module, changes: Changes) -> None:
    for node in tree.body:
        for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(inner, ast.FunctionDef):
                changes.visit(inner)


def changed(source: str, number: int) -> tuple[str, str]:
    """Return a module with one change, and what it is."""
    changes, tree = Changes(number), ast.parse(source)
    _in_functions(tree, changes)
    return ast.unparse(ast.fix_missing_locations(tree)), changes.made


def sample(modules: Iterable[str], most: int, seed: int) -> list[tuple[str, int]]:
    """Return module and number of at most so many changes, the same ones for a seed."""
    every = []
    for module in modules:
        changes = Changes()
        _in_functions(ast.parse(_text(module)), changes)
        every += [(module, number) for number in range(changes.count)]
    return sorted(random.Random(seed).sample(every, min(most, len(every))))  # noqa: S311


def _text(module: str) -> str:
    return (ROOT / "src" / "upscaling" / module).read_text(encoding="utf-8")


@contextmanager
def copies(number: int) -> Iterator[Queue[Path]]:
    """Yield copies of what tests need of the tree."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as home:
        free: Queue[Path] = Queue()
        for index in range(number):
            place = Path(home, str(index))
            for name in ("src", "tests", "config", "cwl", "workflow"):
                shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", "vendor"))
            for name in ("pyproject.toml", "Snakefile"):
                shutil.copy(ROOT / name, place / name)
            free.put(place)
        yield free


def passes(place: Path, tests: Sequence[str], timeout: float) -> bool:
    """Return whether the tests of a copy pass in time."""
    shared = os.environ.get("UPSCALING_SHARED_DATA", str(ROOT.parent / "shared" / "data"))
    environment = {**os.environ, "PYTHONPATH": f"{place}/src"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--timeout={timeout:.0f}"]
    command += [str(Path("tests/unit", test)) for test in tests]
    try:
        done = subprocess.run(
            command, cwd=place, env={**environment, "UPSCALING_SHARED_DATA": shared}, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in {0, 1, 2}:
        raise SystemExit(f"pytest cannot run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def attempt(
    change: tuple[str, int], free: Queue[Path], timeouts: Mapping[tuple[str, ...], float]
) -> tuple[str, str | None]:
    """Make one change in a copy and run the module's tests; return the module, and what the change is if none fails."""
    module, number = change
    text, what = changed(_text(module), number)
    place = free.get()
    try:
        with _written(place / "src" / "upscaling" / module, text):
            return module, what if passes(place, CORE[module], timeouts[tuple(CORE[module])]) else None
    finally:
        free.put(place)


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


def main() -> int:
    """Say how many changes were noticed, and which were not."""
    parser = argparse.ArgumentParser(description="Change the core modules, and see whether their tests notice.")
    parser.add_argument("modules", nargs="*", help="of src/upscaling; all of the core when left out")
    parser.add_argument("--most", type=int, default=120, help="changes, of all modules together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    drawn = sample(options.modules or CORE, options.most, options.seed)
    tried, noticed = Counter(module for module, _ in drawn), Counter[str]()
    with copies(options.processes) as free, ThreadPoolExecutor(options.processes) as pool:
        suites = sorted({tuple(CORE[module]) for module in tried})
        timeouts = dict(zip(suites, pool.map(lambda suite: _unchanged(suite, free), suites), strict=True))
        for module, survivor in pool.map(lambda change: attempt(change, free, timeouts), drawn):
            noticed[module] += survivor is None
            if survivor:
                print(f"survived: {module} {survivor}", flush=True)
    for module, number in tried.items():
        print(f"{module}: {noticed[module]} of {number} noticed")
    share = noticed.total() / tried.total()
    print(f"{noticed.total()} of {tried.total()} changes were noticed ({share:.0%}; {LEAST:.0%} are wanted)")
    return share < LEAST


def _unchanged(tests: Sequence[str], free: Queue[Path]) -> float:
    """Return how many seconds tests may take; they pass without a change."""
    place, began = free.get(), time.monotonic()
    try:
        if not passes(place, tests, 900):
            raise SystemExit(f"without any change fails: {', '.join(tests)}")
    finally:
        free.put(place)
    return 60 + 5 * (time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
