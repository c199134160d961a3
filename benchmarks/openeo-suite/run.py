"""openEO's public tests of processes against the library, the embedded back-end in process, and the same over HTTP.

    python benchmarks/openeo-suite/run.py --processes DIR --suite DIR [--http URL] [--only ID,ID] [--out FOLDER]

DIR are checkouts of Open-EO/openeo-processes (branch add-tests) and Open-EO/openeo-test-suite; see README.md. The
suite's own code prepares the arguments and judges what comes back; only how a process is called differs.
"""

from __future__ import annotations

import argparse
import collections
import copy
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WAYS = ("library", "process", "http")
PASSED, FAILED, ABSENT, UNKNOWN = "passed", "failed", "no such process", "cannot be said"
USER, PASSWORD = "suite", "suite"  # of a back-end that lives as long as the benchmark


def cases(processes: Path, only: set[str]) -> Iterator[tuple[str, int, dict[str, Any], Path]]:
    """Yield process, number, example and the file that its references are relative to."""
    import json5

    for path in sorted((processes / "tests").glob("*.json5")):
        if path.stem in only or not only:
            with path.open() as stream:
                for number, example in enumerate(json5.load(stream).get("tests", [])):
                    yield path.stem, number, example, path


def told(runner: Any, process: str, example: dict[str, Any], path: Path) -> tuple[str, str]:
    """Return how a case ended, and why."""
    from openeo_test_suite.tests.processes.processing import test_example as suite

    example = copy.deepcopy(example)
    try:
        arguments = suite._prepare_arguments(example["arguments"], process, runner, path)
    except NotImplementedError as error:
        return UNKNOWN, str(error)
    except Exception as error:
        return FAILED, f"its arguments: {error!r}"
    try:
        result = runner.execute(process, arguments)
    except NotImplementedError as error:
        return UNKNOWN, str(error)
    except Exception as error:
        result = error
    try:
        if not ("returns" in example or example.get("throws")):
            return UNKNOWN, "the case has no expectation"
        if isinstance(result, Exception) and example.get("throws"):
            suite.check_exception(example, result)
        elif "returns" in example:
            suite.check_return_value(example, result, runner, path)
        else:
            suite.check_exception(example, result)
    except BaseException as error:  # the suite's judgement is an AssertionError, or whatever a comparison runs into
        return UNKNOWN if isinstance(error, NotImplementedError) else FAILED, _line(error)
    return PASSED, ""


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def backend(folder: Path) -> Iterator[str]:
    """Run the embedded back-end; yield its address."""
    (folder / "root").mkdir()
    from data import write_data

    command = [sys.executable, "-m", "upscaling.local_backend", "--data", str(write_data(folder)), "--root"]
    environment = {**os.environ, "OPENEO_LOCAL_USER": USER, "OPENEO_LOCAL_PASSWORD": PASSWORD}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([*command, str(folder / "root")], env=environment, stdout=subprocess.PIPE, stderr=log) as run,
    ):
        try:
            assert run.stdout is not None
            yield run.stdout.readline().decode().strip()
        finally:
            run.terminate()


def main() -> None:
    """Run all ways; write one table of counts, and the list of what does not pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=Path, required=True, help="checkout of openeo-processes, add-tests")
    parser.add_argument("--suite", type=Path, required=True, help="checkout of openeo-test-suite")
    parser.add_argument("--http", help="address of a back-end; left out: one is started")
    parser.add_argument("--only", default="", help="processes, separated by commas")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    sys.path[:0] = [str(HERE), str(given.suite / "src")]
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    from openeo_test_suite.lib import process_selection

    process_selection.get_selected_processes = list  # pytest's collection, which nobody asks for here
    import runners

    only = {name for name in given.only.split(",") if name}
    rows: dict[tuple[str, int], dict[str, tuple[str, str]]] = collections.defaultdict(dict)
    with tempfile.TemporaryDirectory() as scratch:
        for way in given.ways.split(","):
            started = backend(Path(scratch)) if way == "http" and not given.http else nullcontext(given.http)
            with started as url:
                runner = runners.make(way, url, USER, PASSWORD)
                known = {process["id"] for process in runner.list_processes()}
                for process, number, example, path in cases(given.processes, only):
                    lacking = {process, *example.get("required", [])} - known
                    found = (ABSENT, min(lacking)) if lacking else told(runner, process, example, path)
                    rows[process, number][way] = found
            counts = collections.Counter(row[way][0] for row in rows.values())
            print(
                f"{way:8} {len(rows)} cases: {', '.join(f'{n} {word}' for word, n in counts.most_common())}", flush=True
            )
    write(given.out, rows, given.ways.split(","))


def write(folder: Path, rows: dict[tuple[str, int], dict[str, tuple[str, str]]], ways: list[str]) -> None:
    """Write ``failing.md``: each case that does not pass in some way, with its reason."""
    lines = [
        "# What does not pass, and why",
        "",
        "Made by `run.py`; numbers are those of the cases in a process's file.",
        "",
    ]
    for (process, number), row in sorted(rows.items()):
        for way in ways:
            word, reason = row[way]
            if word != PASSED and way != "library":
                lines.append(f"* `{process}` {number}, {way}: {word}: {reason[:160]}".rstrip(": "))
    (folder / "failing.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
