"""Draw changes that mutmut can make in the core, and see whether unit tests notice: ``make mutants``, not in CI.

In which modules, and by which tests, is told in pyproject.toml (``tool.mutmut``). mutmut changes one thing at a time in
a copy of the tree, ``mutants/``, and runs those of the tests that call the changed function. Trying all changes takes
hours, so a sample is drawn, each change as likely as any other, always the same one for a seed. A change that no test
notices is named; so is one that made the tests endless, which counts as noticed. The status is 1 if fewer than 80 % are
noticed.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import libcst
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import read_functions_from_index
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import get_mutant_name, orig_function_and_class_names_from_key

ROOT = Path(__file__).resolve().parents[1]
MUTMUT = ROOT / ".mutmut"
LEAST = 0.8
UNNOTICED = {"survived", "no tests", "not checked", "skipped"}


def changes() -> Iterator[tuple[str, str]]:
    """Yield each change that mutmut can make: the module's path, and the change's name."""
    for path in config().only_mutate:
        for name in mutate_file_contents(path, Path(path).read_text(encoding="utf-8")).mutant_names:
            yield path, get_mutant_name(Path(path), name)


def told(path: str, name: str) -> str:
    """Return where a change is, the line there, and what it became."""
    function, owner = orig_function_and_class_names_from_key(name)
    both = read_functions_from_index(name, path)
    if both is None:
        return f"{path}: {name}"
    before, after = (libcst.Module([one]).code.strip().splitlines() for one in both)
    offset = next((n for n, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), len(after) - 1)
    begin = next(number for number, line in enumerate(before) if line.startswith("def "))
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if getattr(node, "name", "") == owner) if owner else tree.body  # type: ignore[attr-defined]
    line = next(n.lineno for n in body if isinstance(n, ast.FunctionDef) and n.name == function)
    return f"{path}:{line + offset - begin}: {before[offset].strip()}  ->  {after[offset].strip()}"


def main() -> int:
    """Say how many changes were noticed, and which were not."""
    parser = argparse.ArgumentParser(description="Change the core modules, and see whether their tests notice.")
    parser.add_argument("--most", type=int, default=120, help="changes, of all modules together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if options.most < 1:
        parser.error("--most: at least one change is needed")
    os.chdir(ROOT)
    shutil.rmtree("mutants", ignore_errors=True)  # mutmut copies no file anew that is there
    every = list(changes())
    drawn = sorted(random.Random(options.seed).sample(every, min(options.most, len(every))))  # noqa: S311
    command = [str(MUTMUT / "bin" / "mutmut"), "run", "--max-children", str(options.processes)]
    command += [name for _, name in drawn]
    if subprocess.run(command, check=False, env={**os.environ, "PYTHONHASHSEED": "0"}).returncode:
        sys.exit("mutmut has stopped before its end; it says why above")
    outcomes: dict[str, Counter[str]] = {path: Counter() for path, _ in drawn}
    for path, name in drawn:
        data = SourceFileMutationData(path=path)
        data.load()
        outcome = status_by_exit_code[data.exit_code_by_key[name]]
        outcomes[path][outcome] += 1
        if outcome != "killed":
            print(f"{outcome}: {told(path, name)}")
    for path, outcome in outcomes.items():
        print(f"{path}: {', '.join(f'{number} {name}' for name, number in outcome.most_common())}")
    noticed = sum(number for counts in outcomes.values() for name, number in counts.items() if name not in UNNOTICED)
    share = noticed / len(drawn)
    print(f"{noticed} of {len(drawn)} changes, of {len(every)}, were noticed ({share:.0%}; {LEAST:.0%} are wanted)")
    return share < LEAST


if __name__ == "__main__":
    sys.exit(main())
