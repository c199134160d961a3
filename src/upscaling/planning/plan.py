"""Config -> plan: the algorithm pinned, the tile table, and the bound parameters of every tile.

A plan is a folder, made once, before any job is known to Snakemake, and keyed by a hash of what went in. It is changed
under the run's lock only (see ``replace``), so that the plan of a live run stays as it is:

    plan.json       what was planned, from what, with which algorithm; written last: it means "complete". It holds the
                    size and hash of the other files, which are checked against it
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
import io
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from upscaling.area.vector import content_of
from upscaling.errors import UpscalingError
from upscaling.model import Algorithm, Bounds, Tile, TileJob
from upscaling.util.files import digest, keep_private, read_json, sha256_bytes, sha256_file, write_json
from upscaling.util.locks import run_lock

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from upscaling.config import Config

__all__ = [
    "CONFIG",
    "Plan",
    "PlanRow",
    "contents_of",
    "job_of",
    "keep_config",
    "kept_config",
    "load_plan",
    "load_plan_from",
    "plan_key",
    "tile_table",
]

CONFIG = "config.json"  # beside the plan, and no part of it
_UNCHECKED = {CONFIG, "plan.json", "tiles.parquet"}  # the last is for people: no tile needs it

_FORMAT = 4  # of the plan's files; a change makes every plan anew, and re-runs nothing (see ``_tile_key``)
# What these are where they are there: earlier plans have not all.
_FACTS = {
    **dict.fromkeys(("run", "key", "created", "backend"), str),
    **dict.fromkeys(("tiles", "steps", "rows"), int),
    **dict.fromkeys(("algorithm", "software", "contents", "area"), dict),
    **dict.fromkeys(("notices", "staged", "bbox"), list),
    "in_parts": bool,
}
_HASHED = 1 << 28  # bytes; of larger files of a plan only the size is checked
_SWAP = (0.05, 0.2, 0.5)  # s to wait for files of a plan that is just being replaced by another

_ROOTS, _DOCUMENTS = {"catalog.json", "collection.json"}, 5_000  # of a static catalogue

# where items are brought to says nothing of what they are
_PLACES = {"cache": True, "largest_gb": True}
_ELSEWHERE: Any = {"algorithm": {"files_from"}, "for_each": {"search": _PLACES}}


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

    @cached_property
    def algorithm(self) -> Algorithm:
        """The pinned algorithm."""
        facts = self.facts["algorithm"]
        return _algorithm_type().validate_python({**facts, "path": self.folder / facts["file"]})

    @cached_property
    def jobs(self) -> Path:
        """``jobs.ndjson``; it and the algorithm's copy are checked at the first use.

        Raises
        ------
        UpscalingError
            They are not what ``plan.json`` says.
        """
        for name in ("jobs.ndjson", self.facts["algorithm"]["file"]):
            known = self.facts.get("contents", {}).get(name)
            if known is not None and not _is(self.folder / name, known):
                raise _damaged(self.folder, name)
        return self.folder / "jobs.ndjson"

    @cached_property
    def parts(self) -> dict[str, list[str]]:
        """Part -> its targets, if the run is so large that its collection is made of parts; else empty."""
        found: dict[str, list[str]] = {}
        if self.facts["in_parts"]:
            for tile, row in self.tiles.items():
                found.setdefault(row.part, []).append(tile)
        return found


@cache
def _algorithm_type() -> TypeAdapter[Algorithm]:
    from pydantic import TypeAdapter

    return TypeAdapter(Algorithm)


def plan_key(config: Config) -> str:
    """Hash everything that the plan depends on: cheap enough for every parse of the Snakefile."""
    from upscaling.algorithms.catalogue import source_fingerprint
    from upscaling.config.identity import identity_of

    area, each = config.area, config.for_each
    files = [area.aoi if isinstance(area.aoi, str) else None, area.grid_file, area.mask] if area else []
    files.append(each.table if each else None)
    if each and each.search and isinstance(each.search.aoi, str):
        files.append(each.search.aoi)
    searches = [*config.stagings.values(), each.search if each else None]
    without = {**_ELSEWHERE, "stage_in": {"__all__": _PLACES} if isinstance(config.stage_in, list) else _PLACES}
    return digest(
        [
            _FORMAT,
            config.model_dump(include={"run", "algorithm", "area", "time", "for_each", "stage_in"}, exclude=without),
            [_version(search.catalogue) for search in searches if search],
            config.collection.parts_from,
            source_fingerprint(config.algorithm),
            [content_of(name) for name in files if name],
            identity_of(config.backend),
        ]
    )


def _version(catalogue: str) -> list[int]:
    """Return what tells that a catalogue on this disk was written again: it may be large, and this is asked often.

    Of a static catalogue these are the documents below its folder, up to some thousands.
    """
    try:
        path = Path(catalogue).expanduser()
        found = path.stat()
        own = [found.st_size, found.st_mtime_ns]
        if path.suffix.lower() != ".json" or not (path.name in _ROOTS or any(path.parent.glob("*/*.json"))):
            return own
        documents = sorted(itertools.islice(path.parent.rglob("*.json"), _DOCUMENTS))
        return [*own, *(value for file in documents for value in (file.stat().st_size, file.stat().st_mtime_ns))]
    except (OSError, ValueError, RuntimeError):
        return []


def keep_config(config: Config, run_folder: Path) -> Path:
    """Keep the run's whole configuration beside the plan, for processes that are told only its folder; return its path.

    Where another process works on the run, its configuration stays.
    """
    path, content = run_folder / "plan" / CONFIG, config.model_dump(mode="json")
    try:
        if read_json(path) == content:
            return path
    except (OSError, ValueError):
        pass
    try:
        with run_lock(run_folder):
            write_json(path, content)
            keep_private([path], config.sources.files)
    except UpscalingError:
        pass
    return path


def kept_config(run_folder: Path) -> Config:
    """Return the configuration that the run was last started with.

    Raises
    ------
    UpscalingError
        If the folder is not that of a run.
    """
    from upscaling.config import Config

    path = run_folder / "plan" / CONFIG
    try:
        return Config.parse(read_json(path), file=path)
    except FileNotFoundError:
        raise UpscalingError(f"{run_folder} is not the folder of a run ({path} is missing)") from None
    except ValueError as error:
        raise UpscalingError(f"{path} is damaged ({error}): run it again with its configuration") from None


def load_plan(run_folder: Path) -> Plan:
    """Read the plan of a run.

    Raises
    ------
    UpscalingError
        If there is none, or it was damaged.
    """
    for pause in _SWAP:
        try:
            return load_plan_from(run_folder / "plan")
        except UpscalingError:
            if not (run_folder / "plan" / "plan.json").exists():
                raise
            time.sleep(pause)
    return load_plan_from(run_folder / "plan")


def load_plan_from(folder: Path) -> Plan:
    """Read the plan in a folder; see ``load_plan``."""
    try:
        facts = read_json(folder / "plan.json")
        content = (folder / "tiles.csv").read_bytes()
        known = facts.get("contents", {})
        for name, (size, sha256) in known.items():
            there = len(content) if name == "tiles.csv" else (folder / name).stat().st_size
            if there != size or (name == "tiles.csv" and sha256_bytes(content) != sha256):
                raise _damaged(folder, name)
        rows = csv.reader(io.StringIO(content.decode(), newline=""))
        next(rows)
        tiles = {tile: PlanRow(key, int(offset), part) for tile, key, offset, part in rows}
        if not facts["algorithm"]["file"] or any(
            not isinstance(facts[name], kind) for name, kind in _FACTS.items() if name in facts
        ):
            raise _damaged(folder, "plan.json")
        if len(tiles) != facts["targets"]:  # older plans hold no hashes
            raise _damaged(folder, "tiles.csv")
        plan = Plan(folder, facts, tiles)
        plan.algorithm  # noqa: B018 -- of another kind, it is refused here
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise UpscalingError(
            f"no plan in {folder.parent} ({name} is missing): name a run's folder, or make it with `upscaling plan`"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        raise _damaged(folder, "plan.json or tiles.csv") from None
    return plan


@contextmanager
def tile_table(folder: Path) -> Iterator[Path]:
    """Yield the path of a plan's ``tiles.parquet``; one that cannot be read is one line.

    Raises
    ------
    UpscalingError
        What is read of it in the block is not there, or damaged: no tile needs it, so a plan is loaded without it.
    """
    path = folder / "tiles.parquet"
    try:
        yield path
    except (OSError, ValueError, KeyError) as error:  # Arrow's errors are of these kinds
        raise UpscalingError(
            f"{path} cannot be read ({str(error)[:200]}): `upscaling plan` with the run's configuration makes it anew"
        ) from None


def contents_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Return name -> size and sha256 of the files that tiles are made by; no hash where one is very large."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name not in _UNCHECKED]
    return {
        path.name: (size, sha256_file(path) if size <= _HASHED else "")
        for path in files
        if not path.name.startswith(".") and (size := path.stat().st_size) is not None
    }


def _is(path: Path, known: tuple[int, str]) -> bool:
    """Return whether a file has the size and hash that a plan says."""
    size, sha256 = known
    try:
        return path.stat().st_size == size and sha256 in ("", sha256_file(path))
    except OSError:
        return False


def _damaged(folder: Path, name: str) -> UpscalingError:
    return UpscalingError(
        f"the plan in {folder} is damaged: {name} is not as plan.json says. Start the run again, which plans it anew;"
        " nothing else is lost"
    )


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
    with plan.jobs.open("rb") as stream:
        stream.seek(row.offset)
        text = stream.readline()
    try:
        line = json.loads(text)
        whole = line["key"] == row.key and line["id"] == tile
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise _damaged(plan.folder, "jobs.ndjson")
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
