"""Refuse files and functions that are too long to be read at once: ``python tools/check_sizes.py``.

A module may have 400 lines, a function 50 beside its docstring and the functions in it, a rule file 150, the Snakefile
60, a rule script 40; a folder of the package 12 modules, but where each is one of a kind.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
LONGEST_FUNCTION, LONGEST_TEST = 50, 120  # lines; a test of a whole run tells one story
LONGEST = {  # lines of a file
    "Snakefile": 60,
    "workflow/scripts/*.py": 40,
    "workflow/rules/*.smk": 150,
    "src/**/*.py": 400,
    "tests/**/*.py": 400,
    "tools/*.py": 400,
    "benchmarks/**/*.py": 400,
}
MOST_MODULES = 12  # in a folder, beside those of one grid, process or result each
MANY = {"grids", "results", "local_backend"}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the name of each function of a module, and how many lines of its own it has."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, FUNCTION):
            lines = set(range(node.lineno, (node.end_lineno or 0) + 1))
            inner = [other for other in ast.walk(node) if isinstance(other, FUNCTION) and other is not node]
            if ast.get_docstring(node, clean=False) is not None:
                inner.append(node.body[0])
            for other in inner:
                lines -= set(range(other.lineno, (other.end_lineno or 0) + 1))
            yield node.name, len(lines)


def too_long() -> Iterator[str]:
    """Yield one line for each file and function that is too long."""
    for pattern, most in LONGEST.items():
        for path in sorted(ROOT.glob(pattern)):
            name, lines = path.relative_to(ROOT), len(path.read_text(encoding="utf-8").splitlines())
            if lines > most:
                yield f"{name} has {lines} lines; {most} are the most"
            if path.suffix == ".py":
                for function, length in functions(path):
                    allowed = LONGEST_TEST if name.parts[0] in {"tests", "benchmarks"} else LONGEST_FUNCTION
                    if length > allowed:
                        yield f"{name}: {function} has {length} lines; {allowed} are the most"
    for folder in sorted({path.parent for path in ROOT.glob("src/**/*.py")}):
        modules = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        if folder.name not in MANY and modules > MOST_MODULES:
            yield f"{folder.relative_to(ROOT)} has {modules} modules; {MOST_MODULES} are the most"


if __name__ == "__main__":
    found = list(too_long())
    print("\n".join(found) or "no file and no function is too long")
    sys.exit(bool(found))
