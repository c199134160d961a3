"""How much work a run is, job by job: area, observations, months. From its plan, or from its grid and area alone."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upscaling.errors import UpscalingError
from upscaling.estimate.statistics import Floats
from upscaling.util.files import read_json, written_whole

if TYPE_CHECKING:
    from upscaling.config import Area, Config
    from upscaling.estimate.evidence.units import Price
    from upscaling.model import Algorithm
    from upscaling.planning.plan import Plan

__all__ = ["Work", "work_of_config", "work_of_plan"]

DAYS_OF_MONTH = 30.4375
REVISIT_DAYS = 5.0  # of Sentinel-2 at the equator; the swaths of polar orbits overlap more towards the poles
_MOST_OVERLAP = 3.0
_S2_TILE_KM2 = 100.0 * 100.0
_COLUMNS = ["tile_id", "crs", "xmin", "ymin", "xmax", "ymax", "west", "south", "east", "north"]
_FILE = "work.npz"
_LARGE = 5000  # jobs
_ALIKE = 0.05  # jobs whose expected work differs by less are told apart by their share of the area


@dataclasses.dataclass(frozen=True)
class Work:
    """The jobs of a run, in the order of the plan.

    Attributes
    ----------
    ids
        Targets, where a plan names them; else empty.
    area_km2
        What a job processes.
    inside_km2
        How much of it lies in the area of interest.
    aoi_km2
        Area of interest that the run covers, each place once.
    observations
        Expected: counted where a plan stages items, else from the months and the latitude.
    counted
        Whether observations were counted, not assumed.
    months
        Period of each job; NaN where it is not known.
    tiles, steps, rows
        Sizes of the dimensions; 0 without such a dimension.
    boxes
        West, south, east, north of each tile in degrees; west > east over the antimeridian.
    period
        Start and end of all jobs together, half-open, as far as they are known.
    definition
        The pinned openEO process; empty for other kinds.
    empty
        Jobs of which the catalogue says that they have no data: nothing is sent for them.
    """

    ids: tuple[str, ...]
    area_km2: Floats
    inside_km2: Floats
    observations: Floats
    counted: bool
    months: Floats
    tiles: int
    steps: int
    rows: int
    empty: NDArray[np.bool_]
    boxes: Floats
    period: tuple[str | None, str | None] | None
    aoi_km2: float
    algorithm: Algorithm
    definition: dict[str, Any]
    service: str | None

    def __len__(self) -> int:
        """Return the number of jobs that are sent."""
        return int((~self.empty).sum())

    @property
    def rank(self) -> Floats:
        """Place of each job in the order of expected work, 0 to 1."""
        expected = np.maximum(self.area_km2, 1e-6) * np.maximum(self.observations, 1e-3)
        coarse = np.round(np.log(expected) / _ALIKE)
        order = np.lexsort((np.arange(len(coarse)), self.inside_km2, coarse))
        rank = np.empty(len(coarse))
        rank[order] = (np.arange(len(coarse)) + 0.5) / len(coarse)
        return rank

    def price(self, price: Price) -> tuple[float, list[str]]:
        """Return what the run costs at a stated price, and which assumptions that rests on.

        Raises
        ------
        UpscalingError
            If the price is per something that is not known of this run.
        """
        sent, notes = ~self.empty, []
        amount = np.full(len(sent), price.amount)
        for unit, count in price.per.items():
            quantity = {
                "km2": self.area_km2,
                "observation": self.observations,
                "product": self.observations if self.counted else np.ones(len(sent)),
                "month": self.months,
                "s2_tile": np.maximum(1.0, self.area_km2 / _S2_TILE_KM2),
            }[unit]
            if unit in {"observation", "month"} and not np.isfinite(quantity).all():
                raise UpscalingError(f"is per {unit}, and the run's period is not known")
            if unit == "observation" and not self.counted:
                often = f"one each {REVISIT_DAYS:g} days at the equator"
                notes.append(f"{float(np.median(quantity)):.3g} observations a job, {often}")
            if unit == "product" and not self.counted:
                notes.append("one input product a job")
            if unit == "s2_tile":
                notes.append("a job under 100 x 100 km counts as one Sentinel-2 tile")
            amount = amount * quantity / count
        return float(amount[sent].sum()), notes


def work_of_plan(run_folder: Path, plan: Plan) -> Work:
    """Return the work of a planned run."""
    import geopandas as gpd

    from upscaling.planning.plan import kept_config, tile_table

    facts, config = plan.facts, kept_config(run_folder)
    if (kept := _kept(plan)) is not None:
        return kept
    tiles, steps, rows = int(facts["tiles"]), int(facts["steps"]), int(facts["rows"])
    table = None
    if tiles:
        with tile_table(run_folder / "plan") as path:
            table = gpd.read_parquet(path, columns=[*_COLUMNS, "aoi_fraction", "geometry"])
    number = len(plan.tiles)
    items = None
    if max(1, steps) * max(1, rows) * max(1, tiles) != number or config.stage_in or steps:
        index, months, items = _lines(plan, table)
    else:
        index, months = np.repeat(np.arange(max(1, tiles)), number // max(1, tiles)), np.full(number, np.nan)
    dimensions = _Dimensions(tuple(plan.tiles), tiles, steps, rows, index, months, items)
    work = _work(config, table, dimensions, plan.algorithm, facts.get("service"))
    _keep(work, plan)
    return work


def _stamp(plan: Plan) -> str:
    return f"{plan.facts['key']} {plan.facts['created']}"


def _keep(work: Work, plan: Plan) -> None:
    """Keep the work of a large run beside its plan: status and report ask for it again and again."""
    if len(work.ids) < _LARGE:
        return
    values = {field.name: getattr(work, field.name) for field in dataclasses.fields(work)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    scalars = {name: values[name] for name in ("counted", "tiles", "steps", "rows", "period", "aoi_km2")}
    with contextlib.suppress(OSError), written_whole(plan.folder / _FILE) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream, allow_pickle=False, stamp=np.str_(_stamp(plan)), scalars=np.str_(json.dumps(scalars)), **arrays
        )


def _kept(plan: Plan) -> Work | None:
    """Return what was kept of this very plan."""
    try:
        with np.load(plan.folder / _FILE, allow_pickle=False) as kept:
            values: dict[str, Any] = {name: kept[name] for name in kept.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    if str(values.pop("stamp")) != _stamp(plan):
        return None
    scalars: dict[str, Any] = json.loads(str(values.pop("scalars")))
    scalars["period"] = None if scalars["period"] is None else tuple(scalars["period"])
    algorithm = plan.algorithm
    definition = read_json(algorithm.path) if algorithm.kind == "openeo" else {}
    named: dict[str, Any] = {"ids": tuple(plan.tiles), "algorithm": algorithm, "definition": definition}
    return Work(**values, **scalars, **named, service=plan.facts.get("service"))


def work_of_config(config: Config) -> Work:
    """Return the work of a run that is not planned: its tiles are laid, and nothing is bound or written.

    Raises
    ------
    ConfigError
        For anything in the configuration that a plan would refuse as well.
    """
    import tempfile

    from upscaling.planning.dimensions import each_row, time_steps
    from upscaling.planning.make import pin_for, tile_table

    table = tile_table(config.area)[1] if config.area else None
    spans = [(step.start, step.end) for step in time_steps(config.time)] if config.time else []
    tiles = 0 if table is None else len(table)
    with tempfile.TemporaryDirectory() as folder:
        pinned = pin_for(config, Path(folder))
        known = {parameter.name: parameter for parameter in pinned.algorithm.parameters}
        rows = len(each_row(config.for_each, known)) if config.for_each else 0
        of_steps = np.repeat([_months(span) for span in spans] or [np.nan], max(1, rows))
        index = np.repeat(np.arange(max(1, tiles)), len(of_steps))
        months = np.tile(of_steps, max(1, tiles))
        dimensions = _Dimensions((), tiles, len(spans), rows, index, months, None)
        return _work(config, table, dimensions, pinned.algorithm, pinned.service)


class _Dimensions(NamedTuple):
    """Jobs as the product of tiles, time steps and rows: tile, months and staged items of each."""

    ids: tuple[str, ...]
    tiles: int
    steps: int
    rows: int
    tile: NDArray[np.int64]
    months: Floats
    items: Floats | None


def _lines(plan: Plan, table: Any) -> tuple[NDArray[np.int64], Floats, Floats | None]:
    """Read tile, period and number of staged items of each job from the plan."""
    import orjson

    from upscaling.stage_in.stage import items_in

    place = {} if table is None else {name: number for number, name in enumerate(table["tile_id"])}
    index, months, items = [], [], []
    with (plan.folder / "jobs.ndjson").open("rb") as stream:
        for text in stream:
            line = orjson.loads(text)
            index.append(place.get(line["tile"]["id"], 0))
            months.append(_months(line["time"]))
            items.append(0 if line.get("nodata") else len(items_in(line["parameters"])) or -1)
    counts = np.array(items, dtype=float)
    return np.array(index), np.array(months), counts if (counts >= 0).any() else None


def _work(config: Config, table: Any, jobs: _Dimensions, algorithm: Algorithm, service: str | None) -> Work:
    from upscaling.binding.openeo import temporal_extent

    size, inside, aoi_km2, boxes = np.zeros(1), np.zeros(1), 0.0, np.zeros((0, 4))
    if table is not None and config.area is not None:
        size, inside = _areas(table, config.area.buffer)
        aoi_km2 = min(_covered_km2(config.area), float(inside.sum()))
        boxes = table[["west", "south", "east", "north"]].to_numpy(dtype=float)
    stated = temporal_extent(algorithm, config.algorithm.parameters)
    months = np.where(np.isfinite(jobs.months), jobs.months, _months(stated))
    latitude = boxes[:, [1, 3]].mean(axis=1) if len(boxes) else np.zeros(1)
    overlap = np.minimum(1 / np.maximum(np.cos(np.radians(latitude)), 0.1), _MOST_OVERLAP)[jobs.tile]
    days = np.where(np.isfinite(months), months, 1.0) * DAYS_OF_MONTH
    assumed = np.maximum(days / REVISIT_DAYS * overlap, 1.0)
    items = jobs.items
    return Work(
        area_km2=size[jobs.tile],
        inside_km2=inside[jobs.tile],
        observations=assumed if items is None else np.where(items >= 0, items, assumed),
        counted=items is not None,
        months=months,
        **{name: getattr(jobs, name) for name in ("ids", "tiles", "steps", "rows")},
        empty=np.zeros(len(jobs.tile), dtype=bool) if items is None else items == 0,
        boxes=boxes,
        period=_period(config) or stated,
        aoi_km2=aoi_km2,
        algorithm=algorithm,
        definition=read_json(algorithm.path) if algorithm.kind == "openeo" else {},
        service=service,
    )


def _period(config: Config) -> tuple[str, str] | None:
    """Return start and end of a run's time dimension."""
    from upscaling.planning.dimensions import time_steps

    steps = time_steps(config.time) if config.time else []
    return (min(step.start for step in steps), max(step.end for step in steps)) if steps else None


def _covered_km2(area: Area) -> float:
    """Return the size of the area of interest, within its mask."""
    from upscaling.area.aoi import read_aoi

    aoi = read_aoi(area.aoi)
    return (aoi.intersection(read_aoi(area.mask)) if area.mask else aoi).area_km2


def _areas(table: Any, buffer: float) -> tuple[Floats, Floats]:
    """Return what each tile processes, and what of it lies in the area, in km²."""
    import pyproj

    from upscaling.area.lonlat import ground_area

    on_ground = ground_area(table.geometry.values.to_numpy()) / 1e6
    width, height = (table["xmax"] - table["xmin"]).to_numpy(), (table["ymax"] - table["ymin"]).to_numpy()
    codes = {crs: pyproj.CRS.from_user_input(crs).axis_info[0].unit_name == "metre" for crs in set(table["crs"])}
    metres = table["crs"].map(codes).to_numpy(dtype=bool)
    planar = (width + 2 * buffer) * (height + 2 * buffer) / 1e6
    return np.where(metres, planar, on_ground), on_ground * table["aoi_fraction"].to_numpy()


def _months(period: Any) -> float:
    """Return the length of a half-open interval in months; NaN where an end is open or is no date."""
    try:
        start, end = (dt.datetime.fromisoformat(str(moment)).replace(tzinfo=None) for moment in period)
    except (TypeError, ValueError):
        return float("nan")
    return max((end - start).total_seconds() / 86400 / DAYS_OF_MONTH, 1 / DAYS_OF_MONTH)
