#!/usr/bin/env python3
"""A `cwl-runner` for cwltest that makes the very call a tile makes: pinned, bound, run by the backend.

    cwltest --tool benchmarks/conformance/runner.py --test cwl-v1.2/conformance_tests.yaml --tags required -j2 \
        -- --engine toil

Exit status: that of the runner; 33 for what the package check refuses as unsupported; 1 for what else is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from upscaling.algorithms.cwl import pin_package
from upscaling.backends.cwl.attempts import Needs
from upscaling.backends.cwl.backend import CwlBackend
from upscaling.binding.cwl import CwlBinder
from upscaling.config.cwl import CwlBackendConfig
from upscaling.errors import UpscalingError
from upscaling.model import Bounds, Coordinates, Tile, TileJob

UNSUPPORTED = 33


def absolute(value: Any, folder: Path) -> Any:
    """Return a job order with its files looked up from where it lies, as every runner does."""
    if isinstance(value, list):
        return [absolute(entry, folder) for entry in value]
    if not isinstance(value, dict):
        return value
    value = {name: absolute(entry, folder) for name, entry in value.items()}
    if value.get("class") in ("File", "Directory"):
        for name in ("path", "location"):
            if name in value and urlsplit(str(value[name])).scheme in ("", "file"):
                place = str(value[name]).removeprefix("file://")
                value[name] = str(folder / (unquote(place) if name == "location" else place))  # the one is a URI
    return value


def main() -> int:
    """Run one test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("toil", "cwltool"), default="toil")
    parser.add_argument("--container", default="none")
    parser.add_argument("--outdir", type=Path)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("tool")
    parser.add_argument("job", nargs="?")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.outdir))
    order = {}
    if options.job:
        job_file = Path(options.job)
        order = absolute(yaml.safe_load(job_file.read_text()) or {}, job_file.absolute().parent)
    try:
        algorithm = pin_package(options.tool, folder / "plan")
        # CWL ignores what is no input; a configuration refuses it, on purpose, as a misspelled name.
        known = {parameter.name for parameter in algorithm.parameters}
        given = {name: value for name, value in order.items() if name in known}
        parameters = CwlBinder(algorithm, given, {}, space=False).arguments(Coordinates(None))
        backend = CwlBackend(
            CwlBackendConfig(kind="cwl", engine=options.engine, container=options.container, memory_mb=1000)
        )
        backend.check(algorithm)
    except UpscalingError as error:
        sys.stderr.write(f"{error}\n")
        return UNSUPPORTED if "InplaceUpdateRequirement" in str(error) else 1
    tile = Tile("", "", Bounds(0, 0, 0, 0))
    places = [folder / "run" / name / "one" for name in ("tiles", "receipts", "scratch")]
    job = TileJob("conformance", tile, "0" * 64, parameters, algorithm, *places, id="one")
    place = backend._place(job, backend._store_key(job))
    place.folder.mkdir(parents=True)
    place.log.parent.mkdir(parents=True)
    place.log.write_bytes(b"")
    status, text = backend._attempt(job, place, Needs(1000, 10), restart=False)
    if status:
        sys.stderr.write(text[-8000:])
        return status
    sys.stdout.write(json.dumps(json.loads(place.printed.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
