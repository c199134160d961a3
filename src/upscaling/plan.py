"""Config -> plan: the algorithm pinned, the tile table, and the bound parameters of every tile.

A plan is a folder, made once, before any job is known to Snakemake, and keyed by a hash of what went in:

    plan.json       what was planned, from what, with which algorithm; written last: it means "complete"
    algorithm.*     the pinned copy of the algorithm's definition
    tiles.parquet   one row per tile with its outline, for people and GIS
    tiles.csv       tile, key, offset: all that the Snakefile reads
    jobs.ndjson     one line per tile: its place and its bound parameters; ``offset`` points into it
"""

from __future__ import annotations

import csv
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from upscaling.errors import ConfigError, UpscalingError
from upscaling.files import digest, read_json, sha256_file, write_json, written_whole
from upscaling.tiles import Algorithm, Bounds, Parameter, Tile, TileJob

if TYPE_CHECKING:
    from upscaling.config import Config

__all__ = ["Plan", "PlanRow", "ensure_plan", "job_of", "load_plan", "make_plan", "plan_key"]

_FORMAT = 2  # of the plan's files; a change makes every plan anew, and re-runs nothing (see ``_tile_key``)


class PlanRow(NamedTuple):
    """What the Snakefile knows of a tile: the key of its work, and where its line in ``jobs.ndjson`` starts."""

    key: str
    offset: int


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


def plan_key(config: Config) -> str:
    """Hash everything that the plan depends on: cheap enough for every parse of the Snakefile."""
    from upscaling.backends import identity_of
    from upscaling.catalogue import source_fingerprint

    area = config.area.model_dump()
    files = [config.area.aoi if isinstance(config.area.aoi, str) else "", config.area.grid_file or ""]
    return digest(
        [
            _FORMAT,
            config.algorithm.model_dump(),
            source_fingerprint(config.algorithm),
            area,
            [_content(name) for name in files],
            identity_of(config.backend),
        ]
    )


def _content(name: str) -> list[str]:
    """Hash a vector file together with its siblings: a Shapefile is several files."""
    try:
        path = Path(name)
        if not name or not path.is_file():
            return []
        files = sorted(path.parent.glob(f"{path.stem}.*")) if path.suffix.lower() == ".shp" else [path]
        return [sha256_file(file) for file in files]
    except (OSError, ValueError):  # a WKT string is no file name
        return []


def ensure_plan(config: Config, run_folder: Path, *, say: Any = None) -> Plan:
    """Return the plan of a run, making it if there is none or its inputs have changed."""
    folder = run_folder / "plan"
    if (folder / "plan.json").is_file():
        plan = load_plan(run_folder)
        if plan.facts.get("key") == plan_key(config):
            return plan
    return make_plan(config, run_folder, say=say)


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
            tiles = {tile: PlanRow(key, int(offset)) for tile, key, offset in rows}
    except FileNotFoundError as error:
        raise UpscalingError(f"no plan in {run_folder} ({Path(error.filename).name} is missing)") from None
    except (ValueError, StopIteration):
        raise UpscalingError(f"the plan in {folder} is damaged; delete the folder, nothing else is lost") from None
    return Plan(folder, facts, tiles)


def make_plan(config: Config, run_folder: Path, *, say: Any = None) -> Plan:
    """Make the plan of a run anew.

    Raises
    ------
    ConfigError
        For anything in the configuration, the algorithm or the area that would go wrong later.
    """
    from upscaling import __version__
    from upscaling.aoi import read_aoi
    from upscaling.backends import identity_of
    from upscaling.catalogue import pin_algorithm
    from upscaling.grids import get_grid

    folder = run_folder / "plan"
    folder.mkdir(parents=True, exist_ok=True)
    pinned = pin_algorithm(config.algorithm, folder)
    backend = identity_of(config.backend, service=pinned.service)
    bind = _binder(config, pinned.algorithm)
    aoi = read_aoi(config.area.aoi)
    table = get_grid(config.area.grid, **_grid_options(config)).tiles(aoi, min_overlap=config.area.min_overlap)
    if table.empty:
        raise ConfigError(f"no tile of {config.area.grid} lies in the area", key="area.aoi")

    with (
        written_whole(folder / "jobs.ndjson") as jobs,
        written_whole(folder / "tiles.csv") as tiles,
        jobs.open("wb") as job_stream,
        tiles.open("w", newline="") as tile_stream,
    ):
        writer = csv.writer(tile_stream, lineterminator="\n")
        writer.writerow(("tile", "key", "offset"))
        for tile in _tiles(table):
            parameters = bind(tile)
            key = _tile_key(backend, pinned.algorithm, config.algorithm.output_format, tile, parameters)
            writer.writerow((tile.id, key, job_stream.tell()))
            line = {**dataclasses.asdict(tile), "key": key, "parameters": parameters}
            job_stream.write(json.dumps(line, allow_nan=False).encode() + b"\n")
    with written_whole(folder / "tiles.parquet") as temporary:
        table.to_parquet(temporary)

    algorithm = dataclasses.asdict(pinned.algorithm)
    algorithm["file"] = algorithm.pop("path").name
    notices = [*aoi.notices, *table.attrs.get("notices", [])]
    write_json(
        folder / "plan.json",
        {
            "key": plan_key(config),
            "run": config.run,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "software": {"eo-upscaling": __version__},
            "algorithm": algorithm,
            "backend": backend,
            "service": pinned.service,
            "output_format": config.algorithm.output_format,
            "area": {**config.area.model_dump(), "sha256": aoi.sha256},
            "tiles": len(table),
            "bbox": _bbox(table),
            "dropped_slivers": int(table.attrs.get("dropped_slivers", 0)),
            "notices": notices,
        },
    )
    if say is not None:
        for notice in notices:
            say(f"plan: {notice}")
        say(f"plan: {len(table)} tiles of {config.area.grid} for {pinned.algorithm.id}, in {folder}")
    return load_plan(run_folder)


def _grid_options(config: Config) -> dict[str, Any]:
    options = {"path": config.area.grid_file, "id_column": config.area.grid_id}
    given = {name: value for name, value in options.items() if value is not None}
    if given and config.area.grid != "file":
        raise ConfigError("belongs to grid `file`", key="area.grid_file" if "path" in given else "area.grid_id")
    if config.area.grid == "file" and "path" not in given:
        raise ConfigError("is required with grid `file`", key="area.grid_file")
    return given


def _binder(config: Config, algorithm: Algorithm) -> Any:
    if config.backend.kind == "cwl":
        if algorithm.kind != "cwl":
            raise ConfigError(f"{algorithm.id} is an openEO process; it needs kind openeo", key="backend.kind")
        from functools import partial

        from upscaling.packages import bind_package

        return partial(bind_package, algorithm, parameters=config.algorithm.parameters, bind=config.algorithm.bind)
    if algorithm.kind != "openeo":
        raise ConfigError(f"{algorithm.id} is an application package; it needs kind cwl", key="backend.kind")
    from upscaling.binding import Binder

    return Binder(algorithm, config.algorithm.parameters, config.algorithm.bind).arguments


def _bbox(table: Any) -> list[float]:
    """West, south, east, north of all tiles in degrees; the whole circle if one crosses the antimeridian."""
    crosses = bool((table["west"] > table["east"]).any())
    west, east = (-180.0, 180.0) if crosses else (float(table["west"].min()), float(table["east"].max()))
    return [west, float(table["south"].min()), east, float(table["north"].max())]


def _tiles(table: Any) -> Iterator[Tile]:
    from shapely.geometry import mapping

    for row in table.itertuples(index=False):
        yield Tile(
            id=row.tile_id,
            crs=row.crs,
            bounds=Bounds(row.xmin, row.ymin, row.xmax, row.ymax),
            grid_code=row.grid_code or "",
            geometry=json.loads(json.dumps(mapping(row.geometry))),
        )


def _tile_key(backend: str, algorithm: Algorithm, output_format: str, tile: Tile, parameters: dict[str, Any]) -> str:
    return digest(
        {
            "backend": backend,
            "algorithm": algorithm.sha256,
            "format": output_format,
            "tile": tile.id,
            "parameters": parameters,
        }
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
    with (plan.folder / "jobs.ndjson").open("rb") as stream:
        stream.seek(row.offset)
        line = json.loads(stream.readline())
    return TileJob(
        run=plan.facts["run"],
        tile=Tile(line["id"], line["crs"], Bounds(*line["bounds"]), line["grid_code"], line["geometry"]),
        key=row.key,
        parameters=line["parameters"],
        algorithm=plan.algorithm,
        folder=run_folder / "tiles" / tile,
        receipt=run_folder / "receipts" / f"{tile}.json",
        scratch=run_folder / "scratch" / tile,
    )
