"""Make a plan: pin the algorithm, choose the tiles, cross them with the other dimensions, bind every parameter."""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from math import floor
from pathlib import Path
from typing import Any

from pyproj import CRS
from shapely.geometry import mapping, shape

from upscaling import __version__
from upscaling.algorithms.catalogue import Pinned, pin_algorithm
from upscaling.algorithms.ogc_process import pin_process
from upscaling.area.aoi import read_aoi
from upscaling.area.outline import footprint
from upscaling.binding import binder_of
from upscaling.binding.base import Binder
from upscaling.binding.secret_values import check_secrets
from upscaling.config import Area, Config
from upscaling.config.identity import identity_of
from upscaling.errors import ConfigError
from upscaling.grids import get_grid
from upscaling.model import Algorithm, Bounds, Coordinates, Row, Step, Tile
from upscaling.planning.dimensions import each_row, time_steps
from upscaling.planning.local_files import LocalFiles
from upscaling.planning.notices import notices_of
from upscaling.planning.plan import Plan, contents_of, keep_config, load_plan_from, plan_key
from upscaling.planning.replace import replace_plan, scratch_folder
from upscaling.stage_in.choose import span_of
from upscaling.stage_in.plan import Staging, item_rows, item_store
from upscaling.util.files import digest, keep_private, write_json, written_whole
from upscaling.util.text import counted

__all__ = ["make_plan", "pin_for", "tile_table"]

_PART_METRES, _PART_DEGREES = 100_000, 10
_ROWS_IN_A_PART = 10_000
_LONGEST_NAME = 230  # bytes of a file's name are 255, of which endings take some


def make_plan(
    config: Config, run_folder: Path, *, say: Callable[[str], None] | None = None, preview: bool = False
) -> Plan:
    """Make the plan of a run anew.

    Parameters
    ----------
    preview
        Change nothing in the run's folder. So it is, too, where another process works on the run.

    Raises
    ------
    ConfigError
        For anything in the configuration, the algorithm or the area that would go wrong later.
    """
    folder, tell = scratch_folder(), say or (lambda _line: None)
    try:
        notices = _fill(config, folder, tell)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    place = folder if preview else replace_plan(folder, run_folder, tell)
    plan = load_plan_from(place)
    if place != folder:
        keep_config(config, run_folder)
    for notice in notices:
        tell(f"plan: {notice}")
    tell(f"plan: {_in_words(plan)} for {plan.facts['algorithm']['id']}{'' if place == folder else f', in {place}'}")
    return plan


def _fill(config: Config, folder: Path, tell: Callable[[str], None]) -> list[str]:
    """Write the files of a plan into an empty folder, and return what its user should know."""
    pinned = pin_for(config, folder)
    backend = identity_of(config.backend, service=pinned.service)
    known = {parameter.name: parameter for parameter in pinned.algorithm.parameters}
    check_secrets(config.algorithm.parameters, known)
    steps = time_steps(config.time) if config.time else None
    area, table, noted = _area_of(config)
    notices = [*pinned.notices, *noted]

    rows, staging = _searched(config, pinned.algorithm, (table, steps), folder, tell)
    each = list(rows[0].values) if rows else []
    binder = _binder(config, pinned.algorithm, [*each, *(staging.inputs if staging else [])])
    notices += notices_of(config, pinned.algorithm, table, [*config.algorithm.parameters, *each, *binder.forms])
    every = _targets(table, steps, rows, halo=config.area.buffer if config.area else 0.0, staging=staging)
    identity = {"backend": backend, "algorithm": pinned.algorithm.sha256, "format": config.algorithm.output_format}
    files = LocalFiles()
    files.watch(pinned.algorithm.files)
    targets, empty = _write_targets(folder, every, binder.arguments, identity, files)
    if not targets:
        raise ConfigError("no item lies in a tile and time step", key="for_each.search")
    if empty:
        notices.append(f"{empty} of {targets} have no item, and so no data")
    if table is not None:
        with written_whole(folder / "tiles.parquet") as temporary:
            table.to_parquet(temporary)
    facts = {
        "key": plan_key(config),
        "run": config.run,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "software": {"eo-upscaling": __version__},
        "algorithm": _facts_of(pinned.algorithm),
        "backend": backend,
        "service": pinned.service,
        "output_format": config.algorithm.output_format,
        **_extent_facts(area, table),
        "steps": len(steps or []),
        "rows": len(rows or []),
        "targets": targets,
        "files": files.stamps,
        "staged": staging.inputs if staging else [],
        "in_parts": targets > config.collection.parts_from,
        "notices": notices,
        "contents": contents_of(folder),
    }
    write_json(folder / "plan.json", facts)
    keep_private(folder.rglob("*"), [*_local_sources(config), *pinned.algorithm.files])
    return notices


def _searched(
    config: Config, algorithm: Algorithm, dimensions: tuple[Any, Any], folder: Path, tell: Callable[[str], None]
) -> tuple[Any, Staging | None]:
    """Return the rows of ``for_each``, and what is staged; the items that were found are kept in the plan's folder."""
    known = {parameter.name: parameter for parameter in algorithm.parameters}
    table, steps = dimensions
    rows, staging = None, None
    with item_store(folder) as store:
        if config.for_each and config.for_each.search:
            rows = item_rows(config, algorithm, table, steps, store=store, say=tell)
        elif config.for_each:
            rows = each_row(config.for_each, known)
        each = list(rows[0].values) if rows else []
        check_secrets({}, known, each)
        if config.stage_in:
            staging = Staging(config, algorithm, table, steps, each=each, store=store, say=tell)
    return rows, staging


def _area_of(config: Config) -> tuple[dict[str, Any], Any, list[str]]:
    """Return what a plan says of the area, the table of tiles (None: no area), and what the user should know."""
    if config.area is None:
        return {"grid": None}, None, []
    aoi, table = tile_table(config.area)
    area = {**config.area.model_dump(), "sha256": aoi.sha256}
    return area, table, [*aoi.notices, *table.attrs.get("notices", [])]


def _extent_facts(area: dict[str, Any], table: Any) -> dict[str, Any]:
    """Return what a plan says of area and tiles; a run without an area is of the whole globe."""
    if table is None:
        return {"area": area, "bbox": [-180.0, -90.0, 180.0, 90.0], "tiles": 0, "dropped_slivers": 0}
    dropped = int(table.attrs.get("dropped_slivers", 0))
    return {"area": area, "bbox": _bbox(table), "tiles": len(table), "dropped_slivers": dropped}


def _local_sources(config: Config) -> Iterator[str]:
    """Yield the paths of the user's files that a plan tells of, as far as the names are paths."""
    yield from config.sources.files
    yield config.algorithm.source.partition("#")[0]
    named = [config.area.aoi, config.area.grid_file, config.area.mask] if config.area else []
    named.append(config.for_each.table if config.for_each else None)
    for name in named:
        if isinstance(name, str) and len(name) < 1000:
            yield str(Path(name.partition("|")[0]).expanduser())


def pin_for(config: Config, folder: Path) -> Pinned:
    """Pin a configuration's algorithm, of whatever kind, into a folder.

    Raises
    ------
    ConfigError
        If it cannot be found, read or run.
    """
    if config.backend.kind != "ogcapi":
        return pin_algorithm(config.algorithm, folder)
    algorithm, service = pin_process(config, folder)
    return Pinned(algorithm, service)


def _facts_of(algorithm: Algorithm) -> dict[str, Any]:
    """Return what a plan keeps of an algorithm, beside its copy."""
    facts = {**dataclasses.asdict(algorithm), "file": algorithm.path.name}
    return {name: value for name, value in facts.items() if name not in {"path", "files"}}


_TILE = tuple(one.name for one in dataclasses.fields(Tile))  # plain values, which need no copy


@dataclasses.dataclass(frozen=True, slots=True)
class _Target:
    id: str
    part: str
    tile: Tile
    at: Coordinates
    time: tuple[str, str] | None
    nodata: bool


def _targets(
    table: Any, steps: list[Step] | None, rows: list[Row] | None, *, halo: float, staging: Staging | None
) -> Iterator[_Target]:
    """Yield the product of all dimensions; a target's name says all its coordinates."""
    every_step: list[Step | None] = [*steps] if steps else [None]
    every_row: list[Row | None] = [*rows] if rows else [None]
    product = itertools.product(_tiles(table), every_step, every_row)
    number, names = -1, set[str]()
    for tile, step, row in product:
        if row and row.fits and not row.fits(_shape_of(tile), step and span_of((step.start, step.end), "time")):
            continue
        number += 1
        parts = [part for part in (tile.id, step and step.label, row and row.label) if part]
        name = _unique("_".join(parts), parts, names)
        larger = None if tile.placeless else _with_halo(tile, halo)
        staged, there = staging.at(larger, step) if staging and larger else ({}, True)
        at = Coordinates(larger, step, {**(row.values if row else {}), **staged})
        part = f"rows-{number // _ROWS_IN_A_PART:04d}" if tile.placeless else _part_of(tile)
        when = (step.start, step.end) if step else None
        if staging and not there:  # no file will say when there was nothing
            when = when or staging.time
        yield _Target(name, part, dataclasses.replace(tile, id=tile.id or name), at, when, not there)


def _unique(name: str, parts: list[str], names: set[str]) -> str:
    """Return a target's name, told apart from those before it, of which a file can be made; add it to them."""
    if name in names:  # tile a with row b_c, and tile a_b with row c
        name = f"{name}-{digest(parts)[:8]}"
    if len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"the name {name[:40]}… has {len(name)} characters, and may have {_LONGEST_NAME}: name rows by for_each.id",
            key="for_each" if len(parts) > 1 else "area.grid",
        )
    names.add(name)
    return name


@functools.lru_cache(maxsize=1)  # the rows of a tile follow each other
def _outline(geometry: str) -> Any:
    return shape(json.loads(geometry))


def _shape_of(tile: Tile) -> Any:
    return None if tile.placeless else _outline(json.dumps(tile.geometry))


def _write_targets(
    folder: Path,
    targets: Iterator[_Target],
    bind: Callable[[Coordinates], dict[str, Any]],
    identity: dict[str, str],
    files: LocalFiles,
) -> tuple[int, int]:
    """Write ``jobs.ndjson`` and ``tiles.csv``; return the number of targets, and of those without data."""
    number = empty = 0
    with (
        written_whole(folder / "jobs.ndjson") as jobs,
        written_whole(folder / "tiles.csv") as table,
        jobs.open("wb") as job_stream,
        table.open("w", newline="") as tile_stream,
    ):
        writer = csv.writer(tile_stream, lineterminator="\n")
        writer.writerow(("tile", "key", "offset", "part"))
        for number, target in enumerate(targets, 1):  # noqa: B007 -- the last one is the count
            parameters = bind(target.at)
            contents = files.contents(parameters)
            known = {"files": contents} if contents else {}
            key = digest({**identity, "tile": target.id, "parameters": parameters, **known})
            writer.writerow((target.id, key, job_stream.tell(), target.part))
            line = {
                "id": target.id,
                "key": key,
                "tile": {name: getattr(target.tile, name) for name in _TILE},
                "time": target.time,
                "parameters": parameters,
                **({"nodata": True} if target.nodata else {}),
            }
            empty += target.nodata
            job_stream.write(json.dumps(line, allow_nan=False).encode() + b"\n")
    return number, empty


def _in_words(plan: Plan) -> str:
    facts = plan.facts
    dimensions = [
        f"{counted(facts['tiles'], 'tile')} of {facts['area']['grid']}" if facts["tiles"] else "",
        counted(facts["steps"], "time step") if facts["steps"] else "",
        counted(facts["rows"], "row") if facts["rows"] else "",
    ]
    said = " by ".join(filter(None, dimensions))
    return said if " by " not in said else f"{counted(facts['targets'], 'job')}: {said}"


def tile_table(area: Area) -> tuple[Any, Any]:
    """Return the area of interest, and the table of the grid's tiles in it.

    Raises
    ------
    ConfigError
        If the area cannot be read, or holds no tile.
    """
    options = {"path": area.grid_file, "id_column": area.grid_id}
    given = {name: value for name, value in options.items() if value is not None}
    if given and area.grid != "file":
        raise ConfigError("belongs to grid `file`", key="area.grid_file" if "path" in given else "area.grid_id")
    if area.grid == "file" and "path" not in given:
        raise ConfigError("is required with grid `file`", key="area.grid_file")
    aoi = read_aoi(area.aoi)
    mask = read_aoi(area.mask, key="area.mask") if area.mask else None
    grid = get_grid(area.grid, **given)
    table = grid.tiles(aoi, min_overlap=area.min_overlap, clip=area.clip, buffer=area.buffer, mask=mask)
    if table.empty:
        raise ConfigError(f"no tile of {area.grid} lies in the area", key="area.aoi")
    return aoi, table


def _binder(config: Config, algorithm: Algorithm, each: list[str]) -> Binder:
    if config.backend.kind != algorithm.kind:
        kinds = {"openeo": "an openEO process", "cwl": "an application package", "ogcapi": "an OGC API process"}
        what = kinds[algorithm.kind]
        raise ConfigError(f"{algorithm.id} is {what}; it needs kind {algorithm.kind}", key="backend.kind")
    # a time dimension may be there for the search of items alone
    searched = bool(config.stage_in or (config.for_each and config.for_each.search))
    return binder_of(
        algorithm,
        config.algorithm.parameters,
        config.algorithm.bind,
        space=config.area is not None,
        time=config.time is not None,
        each=each,
        searched=searched,
        qualified=config.backend.kind != "ogcapi" or config.backend.objects == "qualified",
    )


def _tiles(table: Any) -> Iterator[Tile]:
    if table is None:
        yield Tile(id="", crs="", bounds=Bounds(0, 0, 0, 0))
        return
    for row in table.itertuples(index=False):
        yield Tile(
            id=row.tile_id,
            crs=row.crs,
            bounds=Bounds(row.xmin, row.ymin, row.xmax, row.ymax),
            grid_code=row.grid_code or "",
            geometry=json.loads(json.dumps(mapping(row.geometry))),
        )


def _with_halo(tile: Tile, metres: float) -> Tile:
    """Return the tile as it is sent to be processed: larger on every side; what comes back is cut to the tile."""
    if not metres:
        return tile

    if CRS.from_user_input(tile.crs).axis_info[0].unit_name != "metre":
        raise ConfigError(f"needs a grid in metres; {tile.crs} is not", key="area.buffer")
    west, south, east, north = tile.bounds
    bounds = Bounds(west - metres, south - metres, east + metres, north + metres)
    return dataclasses.replace(tile, bounds=bounds, geometry=footprint(bounds, tile.crs))


def _bbox(table: Any) -> list[float]:
    """West, south, east, north of all tiles in degrees; the whole circle if one crosses the antimeridian."""
    crosses = bool((table["west"] > table["east"]).any())
    west, east = (-180.0, 180.0) if crosses else (float(table["west"].min()), float(table["east"].max()))
    return [west, float(table["south"].min()), east, float(table["north"].max())]


def _part_of(tile: Tile) -> str:
    """Name the 100 km square (10 degrees where the CRS is in degrees) of the tile's CRS that its corner lies in."""
    # The size of a tile tells the unit: no tile is under 360 m in metres, or over 360 in degrees.
    in_degrees = max(abs(edge) for edge in tile.bounds) <= 360
    size = _PART_DEGREES if in_degrees else _PART_METRES
    column, row = floor(tile.bounds.west / size), floor(tile.bounds.south / size)
    crs = tile.epsg if tile.epsg is not None else digest(tile.crs)[:8]
    return f"{crs}_{column}_{row}".replace("-", "m")
