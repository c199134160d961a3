"""Refuse files and functions that are too long to be read at once: ``python tools/check_sizes.py``.

A module may have 400 lines, a function 50 beside its docstring, a rule file 150, the Snakefile 60, a rule script 40.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LONGEST_FUNCTION = 50
LONGEST = {  # lines of a file
    "Snakefile": 60,
    "workflow/scripts/*.py": 40,
    "workflow/rules/*.smk": 150,
    "src/**/*.py": 400,
    "tests/**/*.py": 400,
    "tools/*.py": 400,
    "benchmarks/**/*.py": 400,
}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the name of each function of a module, and how many lines it has beside its docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if ast.get_docstring(node, clean=False) is not None:
                lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            yield node.name, lines


def too_long() -> Iterator[str]:
    """Yield one line for each file and function that is too long."""
    for pattern, most in LONGEST.items():
        for path in sorted(ROOT.glob(pattern)):
            name, lines = path.relative_to(ROOT), len(path.read_text(encoding="utf-8").splitlines())
            if lines > most:
                yield f"{name} has {lines} lines; {most} are the most"
            if path.suffix == ".py":
                for function, length in functions(path):
                    if length > LONGEST_FUNCTION:
                        yield f"{name}: {function} has {length} lines; {LONGEST_FUNCTION} are the most"


if __name__ == "__main__":
    found = list(too_long())
    print("\n".join(found) or "no file and no function is too long")
    sys.exit(bool(found))
