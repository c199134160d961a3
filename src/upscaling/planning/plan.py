"""Config -> plan: the algorithm pinned, the tile table, and the bound parameters of every tile.

A plan is a folder, made once, before any job is known to Snakemake, and keyed by a hash of what went in:

    plan.json       what was planned, from what, with which algorithm; written last: it means "complete"
    algorithm.*     the pinned copy of the algorithm's definition
    tiles.parquet   one row per tile with its outline, for people and GIS
    tiles.csv       target, key, offset, part: all that the Snakefile reads
    config.json     the configuration that the run was last started with (it holds no secrets)
    items.ndjson    the STAC items that tiles stage, one per line; items.csv says where each begins
    jobs.ndjson     one line per target: its coordinates and its bound parameters; ``offset`` points into it

A target is one job: a tile, at one time step, for one row of parameter values, as far as a run has these dimensions.
"""

from __future__ import annotations

import csv
import dataclasses
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from upscaling.errors import UpscalingError
from upscaling.model import Algorithm, Bounds, Parameter, Tile, TileJob
from upscaling.planning.local_files import unchanged
from upscaling.util.files import digest, read_json, sha256_file, write_json

if TYPE_CHECKING:
    from upscaling.config import Config

__all__ = ["Plan", "PlanRow", "ensure_plan", "job_of", "keep_config", "kept_config", "load_plan", "plan_key"]

_FORMAT = 4  # of the plan's files; a change makes every plan anew, and re-runs nothing (see ``_tile_key``)


# where items are brought to says nothing of what they are
_PLACES = {"cache": True, "largest_gb": True}
_ELSEWHERE: Any = {"stage_in": _PLACES, "for_each": {"search": _PLACES}}


class PlanRow(NamedTuple):
    """What the Snakefile knows of a target: the key of its work, its line in ``jobs.ndjson``, its part of the run."""

    key: str
    offset: int
    part: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """A plan on disk."""

    folder: Path
    facts: dict[str, Any]
    tiles: dict[str, PlanRow]

    @property
    def algorithm(self) -> Algorithm:
        """The pinned algorithm."""
        facts = dict(self.facts["algorithm"])
        facts["path"] = self.folder / facts.pop("file")
        facts["parameters"] = tuple(Parameter(**entry) for entry in facts["parameters"])
        return Algorithm(**facts)

    @cached_property
    def parts(self) -> dict[str, list[str]]:
        """Part -> its targets, if the run is so large that its collection is made of parts; else empty."""
        found: dict[str, list[str]] = {}
        if self.facts["in_parts"]:
            for tile, row in self.tiles.items():
                found.setdefault(row.part, []).append(tile)
        return found


def plan_key(config: Config) -> str:
    """Hash everything that the plan depends on: cheap enough for every parse of the Snakefile."""
    from upscaling.algorithms.catalogue import source_fingerprint
    from upscaling.config.identity import identity_of

    area, each = config.area, config.for_each
    files = [area.aoi if isinstance(area.aoi, str) else None, area.grid_file, area.mask] if area else []
    files.append(each.table if each else None)
    searches = [config.stage_in, each.search if each else None]
    return digest(
        [
            _FORMAT,
            config.model_dump(include={"run", "algorithm", "area", "time", "for_each", "stage_in"}, exclude=_ELSEWHERE),
            [_version(search.catalogue) for search in searches if search],
            config.collection.parts_from,
            source_fingerprint(config.algorithm),
            [_content(name) for name in files if name],
            identity_of(config.backend),
        ]
    )


def _version(catalogue: str) -> list[int]:
    """Return what tells that a catalogue on this disk was written again: it may be large, and this is asked often."""
    try:
        found = Path(catalogue).stat()
    except (OSError, ValueError):
        return []
    return [found.st_size, found.st_mtime_ns]


def _content(name: str) -> list[str]:
    """Hash a vector file together with its siblings: a Shapefile is several files."""
    try:
        path = Path(name)
        if not path.is_file():
            return []
        files = sorted(path.parent.glob(f"{path.stem}.*")) if path.suffix.lower() == ".shp" else [path]
        return [sha256_file(file) for file in files]
    except (OSError, ValueError):  # a WKT string is no file name
        return []


def ensure_plan(config: Config, run_folder: Path, *, say: Any = None) -> Plan:
    """Return the plan of a run, making it if there is none or its inputs have changed."""
    path = run_folder / "plan" / "plan.json"
    try:
        facts = read_json(path)
        if facts.get("key") == plan_key(config) and unchanged(facts.get("files", {})):
            return load_plan(run_folder)
    except (OSError, ValueError, UpscalingError):
        pass  # none yet, or damaged: it is made from the configuration again, and nothing is lost
    from upscaling.planning.make import make_plan

    return make_plan(config, run_folder, say=say)


def keep_config(config: Config, run_folder: Path) -> Path:
    """Keep the run's whole configuration beside the plan, for processes that are told only the run's folder."""
    path, content = run_folder / "plan" / "config.json", config.model_dump(mode="json")
    try:
        if read_json(path) == content:
            return path
    except (OSError, ValueError):
        pass
    write_json(path, content)
    return path


def kept_config(run_folder: Path) -> Config:
    """Return the configuration that the run was last started with.

    Raises
    ------
    UpscalingError
        If the folder is not that of a run.
    """
    from upscaling.config import Config

    path = run_folder / "plan" / "config.json"
    try:
        return Config.parse(read_json(path), file=path)
    except FileNotFoundError:
        raise UpscalingError(f"{run_folder} is not the folder of a run ({path} is missing)") from None


def load_plan(run_folder: Path) -> Plan:
    """Read the plan of a run.

    Raises
    ------
    UpscalingError
        If there is none, or it was damaged.
    """
    folder = run_folder / "plan"
    try:
        facts = read_json(folder / "plan.json")
        with (folder / "tiles.csv").open(newline="") as stream:
            rows = csv.reader(stream)
            next(rows)
            tiles = {tile: PlanRow(key, int(offset), part) for tile, key, offset, part in rows}
    except FileNotFoundError as error:
        raise UpscalingError(f"no plan in {run_folder} ({Path(error.filename).name} is missing)") from None
    except (ValueError, StopIteration):
        raise UpscalingError(f"the plan in {folder} is damaged; delete the folder, nothing else is lost") from None
    return Plan(folder, facts, tiles)


def job_of(plan: Plan, run_folder: Path, tile: str) -> TileJob:
    """Return the work of one tile, as it was planned.

    Raises
    ------
    UpscalingError
        If the plan has no such tile.
    """
    row = plan.tiles.get(tile)
    if row is None:
        raise UpscalingError(f"the plan in {plan.folder} has no tile {tile!r}")
    with (plan.folder / "jobs.ndjson").open("rb") as stream:
        stream.seek(row.offset)
        line = json.loads(stream.readline())
    return TileJob(
        run=plan.facts["run"],
        tile=Tile(**{**line["tile"], "bounds": Bounds(*line["tile"]["bounds"])}),
        key=row.key,
        parameters=line["parameters"],
        algorithm=plan.algorithm,
        folder=run_folder / "tiles" / tile,
        receipt=run_folder / "receipts" / f"{tile}.json",
        scratch=run_folder / "scratch" / tile,
        id=tile,
        time=tuple(line["time"]) if line["time"] else None,
        part=row.part if plan.facts["in_parts"] else "",
        nodata=line.get("nodata", False),
    )
