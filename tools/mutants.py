"""Change one thing in a module at a time, and see whether its tests notice: ``python tools/mutants.py``, not in CI.

For each module of ``CORE`` a sample of changes is drawn, always the same one: a comparison the other way, ``and`` for
``or``, a condition that always holds, a number one larger, a result left out ... Each is written into a copy of the
tree, where the module's own tests then run; a change that no test notices is a survivor, and is named. The status is 1
if fewer than 80 % are noticed.
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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[1]
LEAST = 0.8
# Module below src/upscaling -> its tests below tests/unit.
CORE = {
    "jobs/receipts.py": ["jobs"],
    "jobs/remote_job.py": ["jobs"],
    "jobs/failures.py": ["jobs/test_failures.py", "jobs/test_remote_job.py"],
    "binding/base.py": ["binding"],
    "binding/forms.py": ["binding"],
    "results/mosaic.py": ["results/test_results_mosaic.py", "results/test_results_mosaic_pixels.py"],
}
OPPOSITE: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Break: ast.Continue,
    ast.Continue: ast.Break,
}  # fmt: skip
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


def sample(source: str, most: int) -> list[int]:
    """Return the numbers of at most so many changes of a module, always the same ones."""
    changes = Changes()
    _in_functions(ast.parse(source), changes)
    return sorted(random.Random(0).sample(range(changes.count), min(most, changes.count)))  # noqa: S311


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


def passes(place: Path, tests: list[str], timeout: float) -> bool:
    """Return whether the tests of a copy pass in time."""
    shared = os.environ.get("UPSCALING_SHARED_DATA", str(ROOT.parent / "shared" / "data"))
    environment = {**os.environ, "PYTHONPATH": f"{place}/src", "PYTHONDONTWRITEBYTECODE": "1"}
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


def survivors(module: str, tests: list[str], most: int, free: Queue[Path]) -> tuple[list[str], int]:
    """Return the changes of a module that its tests do not notice, and how many changes were tried."""
    source = (ROOT / "src" / "upscaling" / module).read_text(encoding="utf-8")
    place, began = free.get(), time.monotonic()
    if not passes(place, tests, 600):
        raise SystemExit(f"{module}: its tests fail without any change")
    timeout = 30 + 3 * (time.monotonic() - began)
    free.put(place)

    def attempt(number: int) -> str | None:
        text, what = changed(source, number)
        place = free.get()
        try:
            target = place / "src" / "upscaling" / module
            target.write_text(text, encoding="utf-8")
            survived = passes(place, tests, timeout)
            target.write_text(source, encoding="utf-8")
        finally:
            free.put(place)
        return what if survived else None

    numbers = sample(source, most)
    with ThreadPoolExecutor(free.qsize()) as pool:
        return [what for what in pool.map(attempt, numbers) if what], len(numbers)


def main() -> int:
    """Say how many changes were noticed, and which were not."""
    parser = argparse.ArgumentParser(description="Change the core modules, and see whether their tests notice.")
    parser.add_argument("modules", nargs="*", help="of src/upscaling; all of the core when left out")
    parser.add_argument("--most", type=int, default=30, help="changes of a module")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    tried = noticed = 0
    with copies(options.processes) as free:
        for module in options.modules or CORE:
            left, number = survivors(module, CORE[module], options.most, free)
            tried, noticed = tried + number, noticed + number - len(left)
            print(f"{module}: {number - len(left)} of {number} noticed", *left, sep="\n  survived: ", flush=True)
    print(f"{noticed} of {tried} changes were noticed ({noticed / tried:.0%}; {LEAST:.0%} are wanted)")
    return noticed < LEAST * tried


if __name__ == "__main__":
    sys.exit(main())
