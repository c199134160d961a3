"""The two steps of a plain CWL workflow that are ours: a tile's item, and the collection of all tiles."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from upscaling.backends.cwl.outputs import outcome_of
from upscaling.config import Config
from upscaling.cwl_workflow.write import AREA, PLAN, TILE
from upscaling.errors import UpscalingError
from upscaling.execution.tile import describe_outcome
from upscaling.model import Outcome
from upscaling.planning.plan import job_of, kept_config, load_plan
from upscaling.results.gather import gather
from upscaling.results.products import check_quality, make_mosaics
from upscaling.util.files import read_json, write_json

__all__ = ["gather_tiles", "make_item"]


def make_item(inputs: Path) -> Path:
    """Check a tile's results and describe them as a STAC item, as the rule ``tile`` of the workflow does.

    Parameters
    ----------
    inputs
        What the runner gave the step, as JSON: the plan, the tile's id, and the package's outputs by their names.

    Returns
    -------
    The tile's folder, with its COGs and ``item.json``, below ``run/tiles`` in the working directory.

    Raises
    ------
    UpscalingError
        One line: an output is not what it should be, or the plan has no such tile.
    """
    given = _read(inputs)
    run_folder = Path("run").absolute()
    _lay_out(_path(given.pop(PLAN)), run_folder)
    plan = load_plan(run_folder)
    job = job_of(plan, run_folder, given.pop(TILE))
    handed = job.scratch / "out"
    outcome = outcome_of(job, _taken(given, handed), handed, facts={"backend": "cwl"})
    item = describe_outcome(job, outcome, plan.facts, kept_config(run_folder).collection)
    job.folder.mkdir(parents=True, exist_ok=True)
    write_json(job.folder / "item.json", item)
    return job.folder


def gather_tiles(inputs: Path) -> Path:
    """Gather the folders of all tiles into a run, with collection, mosaics and verdict, in the working directory.

    Parameters
    ----------
    inputs
        What the runner gave the step, as JSON: the plan and the tiles' folders.

    Returns
    -------
    The collection.

    Raises
    ------
    UpscalingError
        If a tile is missing, or was made with another plan.
    """
    given = _read(inputs)
    plan_folder = _path(given[PLAN])
    run_folder = Path(read_json(plan_folder / "plan.json")["run"]).absolute()
    shutil.copytree(plan_folder, run_folder / "plan")
    plan, config = load_plan(run_folder), kept_config(run_folder)
    known = plan.tiles
    for tile in given["tiles"]:
        folder = _path(tile)
        if folder.name not in known:
            raise UpscalingError(f"the plan has no tile {folder.name!r}")
        shutil.copytree(folder, run_folder / "tiles" / folder.name)
    for tile in known:
        if (run_folder / "tiles" / tile).exists():
            continue
        job = job_of(plan, run_folder, tile)
        if job.nodata:  # no item to stage: there was nothing to run
            item = describe_outcome(job, Outcome(assets=()), plan.facts, config.collection)
            job.folder.mkdir(parents=True, exist_ok=True)
            write_json(job.folder / "item.json", item)
    made = gather(config=config, run_folder=run_folder)
    config = _with_area(config, run_folder / "plan" / AREA)
    make_mosaics(config, run_folder)
    check_quality(config, run_folder)
    shutil.rmtree(run_folder / "cache", ignore_errors=True)  # of use to a second gathering only
    return made.collection


def _with_area(config: Config, folder: Path) -> Config:
    """Let a configuration find its area of interest where it was brought to, if it is a file."""
    if config.area is None or not folder.is_dir():
        return config
    area = config.area.model_copy(update={"aoi": str(folder / Path(str(config.area.aoi)).name)})
    return config.model_copy(update={"area": area})


def _read(inputs: Path) -> dict[str, Any]:
    try:
        return dict(read_json(inputs))
    except (OSError, ValueError) as error:
        raise UpscalingError(f"{inputs} is not what a CWL runner gives this step: {error}") from None


def _path(entry: Any) -> Path:
    """Return where a File or Directory object lies.

    That is its ``path``; but where one output lies within another, cwltool stages only one of the two, and the other is
    at its ``location``: it runs all steps on one machine.
    """
    if not isinstance(entry, dict):
        raise UpscalingError(f"not a File or Directory of a CWL runner: {str(entry)[:100]}")
    places = [Path(str(entry.get("path") or ""))]
    location = urlsplit(str(entry.get("location") or ""))
    if location.scheme in ("", "file"):
        places.append(Path(unquote(location.path)))
    found = next((place for place in places if place.name and place.exists()), None)
    if found is None:
        raise UpscalingError(f"the CWL runner did not hand over {entry.get('basename') or places[0]}")
    return found


def _lay_out(plan: Path, run_folder: Path) -> None:
    """Make a run's folder of a plan: its large tables are linked, as every tile's step does this."""
    target = run_folder / "plan"
    target.mkdir(parents=True)
    for entry in plan.iterdir():
        if entry.suffix in {".ndjson", ".csv", ".parquet"} or entry.is_dir():
            (target / entry.name).symlink_to(entry.resolve())
        else:
            shutil.copyfile(entry, target / entry.name)


def _taken(outputs: dict[str, Any], into: Path) -> dict[str, Any]:
    """Copy a package's outputs from where the runner keeps them; return them with their new places.

    A folder that the runner hands over as a link is the tool's own, and links in it are kept as they are, for the check
    that none leads out of it. In a folder that the runner made for this step, links are the runner's.
    """
    numbers = iter(range(10**9))

    def take(value: Any) -> Any:
        if isinstance(value, list):
            return [take(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        if value.get("class") not in ("File", "Directory"):
            return {name: take(entry) for name, entry in value.items()}
        source = _path(value)
        target = into / str(next(numbers)) / source.name
        target.parent.mkdir(parents=True)
        if value["class"] == "File":
            shutil.copyfile(source, target)
        else:
            shutil.copytree(source.resolve(), target, symlinks=source.is_symlink())
        others = [take(entry) for entry in value.get("secondaryFiles") or []]
        return {"class": value["class"], "path": str(target), "secondaryFiles": others}

    return {name: take(value) for name, value in outputs.items()}
