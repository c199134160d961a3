"""Write a run as a CWL workflow: the pinned package scattered over the tiles, then gathered into a STAC collection."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from upscaling import __version__
from upscaling.algorithms.cwl.pin import processes
from upscaling.algorithms.cwl.types import plain_type, short_name
from upscaling.backends.cwl.containers import image_environment
from upscaling.config import Config, CwlBackendConfig
from upscaling.errors import UpscalingError
from upscaling.model import Algorithm
from upscaling.planning.ensure import ensure_plan
from upscaling.planning.plan import Plan, keep_config
from upscaling.stage_in.stage import stage_in
from upscaling.util.files import read_json, write_json, write_whole

__all__ = ["AREA", "PLAN", "TILE", "write_workflow"]

WORKFLOW, ORDER, MARK, AREA = "upscale.cwl", "tiles.yml", "plan/plan.json", "area"
# Names of our own inputs, which no package has.
PLAN, TILE = "upscaling_plan", "upscaling_tile"
Types = dict[str, Any]


def write_workflow(config: Config, run_folder: Path, out: Path, *, say: Any = None) -> list[str]:
    """Write ``upscale.cwl``, ``tiles.yml`` and a copy of the plan, which they read, into the folder ``out``.

    Returns
    -------
    Command lines that run it, with Toil and with cwltool.

    Raises
    ------
    UpscalingError
        If ``out`` holds something else, or the plan is not of an application package.
    """
    if config.backend.kind != "cwl":
        raise UpscalingError("only an application package can be written as CWL: backend.kind must be cwl")
    if out.exists() and any(out.iterdir()) and not (out / MARK).is_file():
        raise UpscalingError(f"{out} is not empty, and this command did not write what is in it; name another folder")
    plan = ensure_plan(config, run_folder, say=say)
    keep_config(config, run_folder)
    package = read_json(plan.algorithm.path)
    main = next(process for process in processes(package) if process["id"] == "#main")
    shutil.rmtree(out / "stage", ignore_errors=True)
    tiles, fixed, varying = _inputs(plan, out / "stage")
    document = _document(plan, package, main, fixed, varying)
    shutil.rmtree(out / "plan", ignore_errors=True)
    (out / "logs").mkdir(parents=True, exist_ok=True)
    shutil.copytree(plan.folder, out / "plan")
    _bring_area(config, out / "plan" / AREA)
    order = {PLAN: {"class": "Directory", "path": "plan"}, TILE: tiles, **fixed, **varying}
    write_json(out / WORKFLOW, document)
    write_whole(out / ORDER, "".join(_lines(order)))
    return _commands(config, out)


def _bring_area(config: Config, folder: Path) -> None:
    """Copy the area of interest, if it is a file: the last step asks how much of it has data."""
    aoi = config.area.aoi if config.area else None
    try:
        path = Path(aoi) if isinstance(aoi, str) else None
        if path is None or not path.is_file():
            return
    except (OSError, ValueError):  # a WKT string is no file name
        return
    folder.mkdir()
    for file in path.parent.glob(f"{path.stem}.*") if path.suffix.lower() == ".shp" else [path]:
        shutil.copyfile(file, folder / file.name)


def _inputs(plan: Plan, stage: Path) -> tuple[list[str], dict[str, Any], dict[str, list[Any]]]:
    """Return the tiles that there is something for, and the package's inputs: common ones, and those of each tile.

    Items that are to be staged are brought below ``stage``.
    """
    with (plan.folder / "jobs.ndjson").open(encoding="utf-8") as stream:
        jobs = [job for job in map(json.loads, stream) if not job.get("nodata")]
    bring = stage_in(plan.folder).inputs
    orders = [bring(job["parameters"], stage / job["id"]) for job in jobs]
    fixed: dict[str, Any] = {}
    varying: dict[str, list[Any]] = {}
    for name in sorted({name for order in orders for name in order}):
        values = [order.get(name) for order in orders]
        if all(value == values[0] for value in values):
            fixed[name] = values[0]
        else:
            varying[name] = values
    return [job["id"] for job in jobs], fixed, varying


def _document(
    plan: Plan,
    package: Mapping[str, Any],
    main: Mapping[str, Any],
    fixed: Mapping[str, Any],
    varying: Mapping[str, Any],
) -> dict[str, Any]:
    algorithm = plan.algorithm
    inputs = {p.name: _entry(p.schema) for p in algorithm.parameters if p.name in {*fixed, *varying}}
    named = _named_types(package)
    outputs = {short_name(entry["id"]): _entry(plain_type(entry["type"], named)) for entry in main["outputs"]}
    each = {TILE: "string", **{name: inputs[name] for name in varying}}
    whole = {PLAN: "Directory", **{name: inputs[name] for name in fixed}}
    return {
        "cwlVersion": "v1.2",
        "$graph": [
            _whole_run(plan, whole, each),
            _one_tile(algorithm, {**whole, **each}, list(inputs), list(outputs)),
            _tool(
                "item",
                "Check what the package gave, make COGs of it, and describe it as a STAC item",
                {PLAN: "Directory", TILE: "string", **outputs},
                {"tile": {"type": "Directory", "outputBinding": {"glob": f"run/tiles/$(inputs.{TILE})"}}},
            ),
            _tool(
                "gather",
                "Gather the tiles into a STAC collection",
                {PLAN: "Directory", "tiles": _array("Directory")},
                {"collection": {"type": "Directory", "outputBinding": {"glob": plan.facts["run"]}}},
            ),
        ],
    }


def _whole_run(plan: Plan, whole: Types, each: Types) -> dict[str, Any]:
    """Return the workflow of the run: inputs for all tiles (``whole``), and lists with an entry for each tile."""
    title = f"{plan.algorithm.title or plan.algorithm.id} over {len(plan.tiles)} tiles"
    return {
        "class": "Workflow",
        "id": "main",
        "label": title,
        "doc": f"Run {plan.facts['run']} of eo-upscaling: every tile through the package, checked and described"
        " as a STAC item, and all of them gathered into one STAC collection.",
        "requirements": {"ScatterFeatureRequirement": {}, "SubworkflowFeatureRequirement": {}},
        "inputs": {**whole, **{name: _array(kind) for name, kind in each.items()}},
        "steps": {
            "tiles": {
                "run": "#tile",
                "scatter": list(each),
                "scatterMethod": "dotproduct",
                "in": {name: name for name in {**whole, **each}},
                "out": ["tile"],
            },
            "gather": {"run": "#gather", "in": {PLAN: PLAN, "tiles": "tiles/tile"}, "out": ["collection"]},
        },
        "outputs": {"collection": {"type": "Directory", "outputSource": "gather/collection"}},
    }


def _one_tile(algorithm: Algorithm, taken: Types, inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, Any]:
    """Return the workflow of one tile: the package, then the check of what it gave."""
    return {
        "class": "Workflow",
        "id": "tile",
        "label": "One tile",
        "requirements": {"SubworkflowFeatureRequirement": {}},
        "inputs": dict(taken),
        "steps": {
            "package": {
                "run": f"plan/{algorithm.path.name}#main",
                "in": {name: name for name in inputs},
                "out": list(outputs),
            },
            "item": {
                "run": "#item",
                "in": {PLAN: PLAN, TILE: TILE, **{name: f"package/{name}" for name in outputs}},
                "out": ["tile"],
            },
        },
        "outputs": {"tile": {"type": "Directory", "outputSource": "item/tile"}},
    }


def _tool(name: str, label: str, inputs: Types, outputs: Types) -> dict[str, Any]:
    """Return a call of this very program; it is given all its inputs in a file, as there may be thousands of tiles."""
    return {
        "class": "CommandLineTool",
        "id": name,
        "label": label,
        "baseCommand": ["upscaling", f"cwl-{name}", "inputs.json"],
        "hints": {"SoftwareRequirement": {"packages": {"eo-upscaling": {"version": [__version__]}}}},
        "requirements": {
            "InitialWorkDirRequirement": {"listing": [{"entryname": "inputs.json", "entry": "$(inputs)"}]},
            "ResourceRequirement": {"coresMin": 1, "ramMin": 1000},
        },
        "inputs": inputs,
        "outputs": outputs,
    }


def _named_types(package: Mapping[str, Any]) -> dict[str, Any]:
    holders = (entry for process in processes(package) for entry in process.get("requirements", []))
    schemas = (entry["types"] for entry in holders if entry.get("class") == "SchemaDefRequirement")
    return {kind["name"]: kind for kinds in schemas for kind in kinds if "name" in kind}


def _array(kind: Any) -> dict[str, Any]:
    return {"type": {"type": "array", "items": kind["type"] if isinstance(kind, dict) else kind}}


def _entry(schema: Any) -> Any:
    """Return an input's entry: a dictionary in its place would be taken for one of other things than its type."""
    kind = _cwl_type(schema)
    return {"type": kind} if isinstance(kind, dict) else kind


def _cwl_type(schema: Any) -> Any:
    """Return a plain type as CWL has it; records and enums are only passed on, and the package checks them."""
    if isinstance(schema, list):
        kinds = [_cwl_type(member) for member in schema]
        return [kind for number, kind in enumerate(kinds) if kind not in kinds[:number]]
    if isinstance(schema, dict):
        return {"type": "array", "items": _cwl_type(schema["items"])} if schema["type"] == "array" else "Any"
    return {"stdout": "File", "stderr": "File"}.get(schema, schema)


def _lines(order: Mapping[str, Any]) -> Iterator[str]:
    """Yield a job order as YAML, one value to a line: a person can look up a tile's."""
    for name, value in order.items():
        if isinstance(value, list) and name != PLAN:
            yield f"{name}:\n"
            yield from (f"- {json.dumps(entry, ensure_ascii=False)}\n" for entry in value)
        else:
            yield f"{name}: {json.dumps(value, ensure_ascii=False)}\n"


def _commands(config: Config, out: Path) -> list[str]:
    """Return how to run it, as the configuration has it for Snakemake; ``out`` is to be on a shared file system."""
    assert config.backend.kind == "cwl"  # noqa: S101 -- the caller has seen it
    backend, place = config.backend, out.absolute()
    containers = {"none": ["--no-container", "--preserve-entire-environment"], "docker": []}
    how = containers.get(backend.container, [f"--{backend.container}"])
    files = ["--relax-path-checks", f"--outdir={place / 'result'}", str(place / WORKFLOW), str(place / ORDER)]
    toil = ["toil-cwl-runner", f"--jobStore={place / 'store'}", f"--batchSystem={backend.batch_system}"]
    toil += [f"--defaultMemory={backend.memory_mb * 10**6}", f"--defaultCores={backend.cores}", "--clean=onSuccess"]
    if backend.site.container_cache:
        toil.append("--no-prepull")  # `upscaling pull` has done it
    if backend.batch_system != "single_machine":
        # As the leader has it for a tile (backends/cwl.py).
        toil += ["--doubleMem=true", "--doubleTime=true", f"--defaultWalltime={backend.site.runtime_min * 60}"]
        toil += [f"--batchLogsDir={place / 'logs'}"]
    if backend.batch_system == "slurm" and (options := backend.site.sbatch_options()):
        toil.append(f"--slurmArgs={shlex.join(options)}")
    commands = ([*toil, *how, *backend.options, *files], ["cwltool", *how, *files])
    return [_surroundings(backend) + shlex.join(command) for command in commands]


def _surroundings(backend: CwlBackendConfig) -> str:
    """Return, for a shell, what lets a runner find the images of the site's cache."""
    found = image_environment(backend.container, backend.site.container_cache, "")
    shims = found.pop("PATH").rstrip(os.pathsep)
    said = [f"{name}={shlex.quote(value)}" for name, value in found.items() if value]
    said += [f'PATH={shlex.quote(shims)}:"$PATH"'] if shims else []
    return f"env {' '.join(said)} " if said else ""
