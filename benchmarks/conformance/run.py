#!/usr/bin/env python3
"""How many CWL v1.2 conformance tests pass through a tile's own call, and through the plain runner beside it.

    benchmarks/conformance/run.py cwl-v1.2/conformance_tests.yaml --cwltest PATH --engine toil --against plain

`cwltest` is a package of PyPI; it wants an environment of its own. The tests are the repository
common-workflow-language/cwl-v1.2.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
# As the working group runs them: tools without containers, files of any name.
PLAIN = {
    "toil": ["toil-cwl-runner", "--clean=always", "--no-container", "--relax-path-checks", "--logLevel=ERROR"],
    "cwltool": ["cwltool", "--no-container", "--relax-path-checks"],
}


def passed(tests: Path, chosen: dict[str, int], runner: list[str], folder: Path, cwltest: list[str]) -> set[str]:
    """Return the ids of the tests that pass through ``runner``, of ``chosen``: id -> number of the test."""
    folder.mkdir()
    script = folder / "runner"
    script.write_text(f'#!/bin/sh\nexec {" ".join(runner)} "$@"\n')
    script.chmod(0o755)
    own = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{own}{os.pathsep}{os.environ['PATH']}", "TOIL_HISTORY": "False"}
    command = [*cwltest, "--tool", str(script), "--test", tests.name, "-n", ",".join(map(str, chosen.values()))]
    with (folder / "log").open("wb") as log:
        subprocess.run(
            [*command, f"--junit-xml={folder / 'junit.xml'}"],
            cwd=tests.parent,
            env=environment,
            stdout=log,
            stderr=log,
            check=False,
        )
    # In their order: the report gives a case the name of another test when not all are run.
    cases = ElementTree.parse(folder / "junit.xml").getroot().iter("testcase")
    ended = [case.find("failure") is None and case.find("error") is None for case in cases]
    if len(ended) != len(chosen):
        raise SystemExit(f"{len(ended)} of {len(chosen)} tests ran: {folder / 'log'}")
    return {name for name, well in zip(chosen, ended, strict=True) if well}


def main() -> None:
    """Run the tests both ways, and print what differs."""
    import yaml

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", type=Path, help="conformance_tests.yaml")
    parser.add_argument("--cwltest", default="cwltest")
    parser.add_argument("--engine", choices=sorted(PLAIN), default="toil")
    parser.add_argument("--against", choices=["plain", "nothing"], default="plain")
    parser.add_argument("--tag", default="required")
    parser.add_argument("--only", default="", help="ids of tests, joined by commas")
    parser.add_argument("-j", type=int, default=1, help="tests at once")
    options = parser.parse_args()
    every = yaml.safe_load(options.tests.read_text(encoding="utf-8"))
    wanted = set(options.only.split(",")) if options.only else None
    chosen = {
        test["id"]: number
        for number, test in enumerate(every, 1)
        if options.tag in test.get("tags", []) and (wanted is None or test["id"] in wanted)
    }
    folder = Path(tempfile.mkdtemp(prefix="conformance-"))
    ours = [sys.executable, str(HERE / "runner.py"), f"--engine={options.engine}"]
    ways = {"ours": ours, **({"plain": PLAIN[options.engine]} if options.against == "plain" else {})}
    tests, cwltest = options.tests.resolve(), [options.cwltest, f"-j{options.j}"]
    found = {name: passed(tests, chosen, way, folder / name, cwltest) for name, way in ways.items()}
    for name in chosen:
        failing = [way for way in ways if name not in found[way]]
        if failing:
            print(f"{name}: fails in {' and '.join(failing)} (logs: {folder})")
    counts = {name: len(ids) for name, ids in found.items()}
    print(json.dumps({"benchmark": "conformance", "engine": options.engine, "tests": len(chosen), **counts}))


if __name__ == "__main__":
    main()
