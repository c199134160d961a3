"""One tile's results as a STAC 1.1 item, a plain dictionary: made by the ten thousand, so without objects."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from upscaling.area.outline import bbox_of, footprint
from upscaling.errors import bad_output
from upscaling.model import Algorithm, Outcome, Tile, TileJob
from upscaling.results.projection import proj_code
from upscaling.util.text import plain_text

if TYPE_CHECKING:
    from upscaling.results.assets import PlacedAsset
    from upscaling.results.cog import CogInfo

__all__ = ["EXTENSIONS", "build_item", "collection_href", "collection_id", "public_url", "rfc3339"]

EXTENSIONS = {
    "classification": "https://stac-extensions.github.io/classification/v1.1.0/schema.json",
    "datacube": "https://stac-extensions.github.io/datacube/v2.3.0/schema.json",
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "grid": "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
    "processing": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "projection": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "render": "https://stac-extensions.github.io/render/v2.0.0/schema.json",
    "scientific": "https://stac-extensions.github.io/scientific/v1.0.0/schema.json",
    "table": "https://stac-extensions.github.io/table/v1.2.0/schema.json",
    "themes": "https://stac-extensions.github.io/themes/v1.0.0/schema.json",
}
# A longer expression is only linked: it is the same in every item of a collection.
LONGEST_EXPRESSION = 1_000
# What may be known of a job in public. A platform's own record can hold tokens and names.
JOB_NUMBERS, JOB_TEXTS = ("costs", "duration"), ("id", "title", "currency", "created", "updated")
SHOWN = 3  # things left out that a message names
MOST_LEFT_OUT = 1_000  # lines
DEEPEST = 20  # levels of an output's value
REMOTE = re.compile(r"(https?|s3)://")
GRID_CODE = re.compile(r"[A-Z0-9]+-[-_.A-Za-z0-9]+")

Temporal = tuple[str | None, str | None]


def build_item(
    job: TileJob,
    outcome: Outcome,
    *,
    temporal: Temporal | None = None,
    level: str = "L3",
    exact: bool = True,
    created: datetime | None = None,
) -> dict[str, Any]:
    """Move the checked files into ``job.folder`` and return the tile's STAC item; the caller writes it, last.

    An outcome without assets and values is a tile without data: a valid item with no assets and ``upscaling:nodata:
    true``. What came back and is no asset is named under ``upscaling:left_out``; values are ``upscaling:outputs``.

    Parameters
    ----------
    temporal
        The temporal interval that the job was asked for, as openEO has it: half-open, so ``end_datetime`` is the
        first moment that is no longer in it. It counts where the platform says nothing about its files' times.
    level
        ``processing:level``.
    exact
        True if every raster must cover exactly the tile (lattice grids); else rasters stay where they lie.
    created
        Time of processing, in UTC; now, if not given.

    Raises
    ------
    TileFailedError
        ``bad-output``, from the checks of `upscaling.results.cog.ensure_cog`, or as all that came back was left out.
    """
    placed = _placed(job, outcome, exact=exact)
    now = rfc3339((created or datetime.now(UTC)).isoformat())
    rasters = [asset.cog for asset in placed if asset.cog]
    properties: dict[str, Any] = {
        **_times(placed, job.time or temporal, now, fixed=job.time is not None),
        "created": now,
        **_projection(job, rasters),
        **_processing(job, outcome, level, now),
        "upscaling:key": job.key,
        "upscaling:run": job.run,
        "upscaling:tile": job.tile.id,
        "upscaling:job": _job_facts(outcome.job),
        "upscaling:algorithm": _algorithm_facts(job.algorithm),
        "upscaling:nodata": not placed and not outcome.values,
    }
    properties |= _named(outcome, placed)
    names = ["processing", "projection", *(["file"] if placed else []), *(["raster"] if rasters else [])]
    if GRID_CODE.fullmatch(job.tile.grid_code):
        names.append("grid")
        properties["grid:code"] = job.tile.grid_code
    _differing_grids(placed, properties)
    _nodata_once(placed, properties)
    extensions = [*(EXTENSIONS[name] for name in names), *_contents(placed, properties, job.tile)]
    geometry = _geometry(job, rasters, exact=exact)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": sorted(extensions),
        "id": job.id,
        "geometry": geometry,
        **({"bbox": bbox_of(geometry)} if geometry else {}),
        "properties": properties,
        "links": _links(job, outcome),
        "assets": {asset.key: asset.asset for asset in placed},
        "collection": collection_id(job.run, job.part),
    }


def _placed(job: TileJob, outcome: Outcome, *, exact: bool) -> list[PlacedAsset]:
    """Move what came back into ``job.folder``; raise TileFailedError if all of it was left out."""
    from upscaling.results.assets import place_assets  # with GDAL, which gathering does not need

    if outcome.left_out and not outcome.assets and not outcome.values:
        raise bad_output(f"results came back, and none can be used: {'; '.join(outcome.left_out[:SHOWN])}")
    return place_assets(job, outcome.assets, job_id=str(outcome.job.get("id") or ""), exact=exact)


def _named(outcome: Outcome, placed: Sequence[PlacedAsset]) -> dict[str, Any]:
    """Return the properties that tell of values, of what came back and is no asset, of checks, and of valid pixels."""
    found: dict[str, Any] = {}
    if outcome.values:
        found["upscaling:outputs"] = json_value(dict(outcome.values))
    if left_out := [*outcome.left_out, *(line for asset in placed for line in asset.left_out)]:
        found["upscaling:left_out"] = [plain_text(line, 300) for line in left_out[:MOST_LEFT_OUT]]
    if unchecked := [line for asset in placed for line in asset.unchecked]:
        found["upscaling:unchecked"] = unchecked
    shares = [asset.cog.valid for asset in placed if asset.cog]
    if shares and not any(map(math.isnan, shares)):
        found["upscaling:valid_fraction"] = round(min(shares), 6)
    return found


def collection_id(run: str, part: str = "") -> str:
    """Return the id of a run's collection, or of one of its parts."""
    return f"{run}-{part}" if part else run


def collection_href(part: str = "") -> str:
    """Return the way from a tile's folder to its collection."""
    return f"../../parts/{part}/collection.json" if part else "../../collection.json"


def rfc3339(text: str) -> str:
    """Return a date or time as ``YYYY-MM-DDTHH:MM:SSZ``; raise ValueError if it is neither."""
    moment = datetime.fromisoformat(text.strip())
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def public_url(href: str) -> str:
    """Return an address without what may be a secret: user, password, query (signatures), fragment."""
    try:
        parts = urlsplit(href)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _times(placed: list[PlacedAsset], temporal: Temporal | None, now: str, *, fixed: bool) -> dict[str, str]:
    """Return ``start_datetime``, ``end_datetime`` and ``datetime`` (all three: STAC-REC-07) and where they are from.

    An interval open at its end ends when it was processed; one open at its start has its end for a start. With
    ``fixed`` the item is one of a time step's, and has the step's interval whatever its files say.
    """
    said = [
        (
            _moment(asset.fetched.start_datetime or asset.fetched.datetime),
            _moment(asset.fetched.end_datetime or asset.fetched.datetime),
        )
        for asset in placed
    ]
    starts, ends = [start for start, _ in said if start], [end for _, end in said if end]
    source = "assets"
    if starts and ends and not fixed:
        start, end = min(starts), max(ends)
    elif temporal and any(temporal):
        source = "parameters"
        end = _moment(temporal[1]) or now
        start = _moment(temporal[0]) or end
    else:
        source, start, end = "processing", now, now
    moments = {_moment(asset.fetched.datetime) for asset in placed} - {None}
    middle = moments.pop() if len(moments) == 1 else None
    return {
        "datetime": middle if middle and start <= middle <= max(start, end) else start,
        "start_datetime": start,
        "end_datetime": max(start, end),
        "upscaling:datetime_from": source,
    }


def _moment(text: str | None) -> str | None:
    try:
        return rfc3339(text) if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None  # what a platform sends as a time may be anything


def _projection(job: TileJob, rasters: list[CogInfo]) -> dict[str, Any]:
    if not rasters and job.tile.placeless:
        return {"proj:code": None}
    crs = rasters[0].crs if rasters else job.tile.crs
    return proj_code(crs) | (_grid_fields(rasters[0]) if rasters else {"proj:bbox": list(job.tile.bounds)})


def _grid_fields(cog: CogInfo) -> dict[str, Any]:
    return {"proj:bbox": list(cog.bounds), "proj:shape": list(cog.shape), "proj:transform": list(cog.transform)}


def _differing_grids(placed: list[PlacedAsset], properties: dict[str, Any]) -> None:
    """State an asset's own grid where it is not the item's, and also the CRS where that differs."""
    for asset in placed:
        if asset.cog:
            own = {"proj:code": asset.cog.crs if asset.cog.crs.startswith("EPSG:") else None, **_grid_fields(asset.cog)}
            asset.asset.update({key: value for key, value in own.items() if properties.get(key) != value})


def _nodata_once(placed: list[PlacedAsset], properties: dict[str, Any]) -> None:
    """Move a nodata value that is no number (``"nan"``) from the bands to the item, from which STAC 1.1 inherits it.

    Some readers (rustac) take numbers alone in bands and assets, and any value in properties.
    """
    bands = [band for asset in placed for band in asset.asset.get("bands", ())]
    texts = {band["nodata"] for band in bands if isinstance(band.get("nodata"), str)}
    if len(texts) != 1 or not all("nodata" in band for band in bands):
        return
    properties["nodata"] = texts.pop()
    for band in bands:
        if isinstance(band["nodata"], str):
            del band["nodata"]


def _contents(placed: list[PlacedAsset], properties: dict[str, Any], tile: Tile) -> list[str]:
    """Say what is in cubes and tables, and return the extensions that this needs.

    In the item's properties where one file alone has it, as readers look there first. Several cubes are described in
    their assets; for several tables the table extension has no place.
    """
    used = []
    for extension in ("datacube", "table"):
        having = [asset for asset in placed if asset.facts.extension == extension]
        for asset in having:
            content = asset.facts.content
            for dimension in content.get("cube:dimensions", {}).values():
                if dimension["type"] == "spatial" and "extent" not in dimension:  # the file does not say: as asked for
                    low = {"x": 0, "y": 1}[dimension["axis"]]
                    dimension["extent"] = [tile.bounds[low], tile.bounds[low + 2]]
            if len(having) == 1:
                properties.update(content)
            elif extension == "datacube":
                asset.asset.update(content)
        if len(having) == 1 or (having and extension == "datacube"):
            used.append(EXTENSIONS[extension])
    return used


def _processing(job: TileJob, outcome: Outcome, level: str, now: str) -> dict[str, Any]:
    from upscaling import __version__

    algorithm = job.algorithm
    software = {plain_text(name): plain_text(version) for name, version in outcome.software.items()}
    name = f"{algorithm.id} {algorithm.version}".strip()
    fields: dict[str, Any] = {
        "processing:level": level,
        "processing:datetime": now,
        "processing:lineage": f"{algorithm.kind} algorithm {name}, run over this tile by eo-upscaling",
        "processing:software": dict(sorted({**software, "eo-upscaling": __version__}.items())),
    }
    host = _host(outcome.job.get("backend"))
    if host:
        fields["processing:facility"] = host
    expression = _expression(algorithm.path) if algorithm.kind == "openeo" else None
    if expression is not None:
        fields["processing:expression"] = {"format": "openeo", "expression": expression}
    return fields


@cache
def _expression(path: Path) -> Any:
    """Return the pinned process graph if it is short."""
    try:
        graph = json.loads(path.read_text(encoding="utf-8")).get("process_graph")
    except (OSError, ValueError, AttributeError):
        return None
    return graph if graph and len(json.dumps(graph, separators=(",", ":"))) <= LONGEST_EXPRESSION else None


def _host(backend: Any) -> str:
    """Return the host of a backend's URL, or a plain name as it is."""
    text = str(backend or "")
    if "://" in text:
        return urlsplit(public_url(text)).netloc
    return re.sub(r"[^\w .,:()-]", "", text)


def json_value(value: Any, level: int = 0) -> Any:
    """Return a value as any reader of JSON takes it: NaN and infinities as text, no halves of characters."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if level > DEEPEST:
        return plain_text(value)
    if isinstance(value, dict):
        return {json_value(str(name)): json_value(entry, level + 1) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(entry, level + 1) for entry in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _number(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def _job_facts(job: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {key: plain_text(job[key]) for key in JOB_TEXTS if job.get(key)}
    if _host(job.get("backend")):
        facts["backend"] = _host(job["backend"])
    for key in JOB_NUMBERS:
        value = _number(job.get(key))
        if value is not None:
            facts[key] = value
    usage = {}
    said = job.get("usage")
    for name, entry in said.items() if isinstance(said, dict) else ():
        value = _number(entry.get("value") if isinstance(entry, dict) else entry)
        if value is not None:
            unit = plain_text(entry.get("unit") or "") if isinstance(entry, dict) else ""
            usage[plain_text(name)] = {"value": value, "unit": unit}
    return {**facts, "usage": usage} if usage else facts


def _algorithm_facts(algorithm: Algorithm) -> dict[str, str]:
    facts = {"kind": algorithm.kind, "id": algorithm.id, "sha256": algorithm.sha256}
    return {**facts, "version": algorithm.version} if algorithm.version else facts


def _geometry(job: TileJob, rasters: list[CogInfo], *, exact: bool) -> dict[str, Any] | None:
    if rasters and not exact:
        return footprint(rasters[0].bounds, rasters[0].crs)
    return None if job.tile.placeless else job.tile.geometry or footprint(job.tile.bounds, job.tile.crs)


@cache
def _way_to(path: Path, run_folder: Path) -> str | None:
    """Return the way from a tile's folder to a file of the run; None if it lies elsewhere."""
    path, run_folder = path.resolve(), run_folder.resolve()
    return f"../../{path.relative_to(run_folder).as_posix()}" if path.is_relative_to(run_folder) else None


def _links(job: TileJob, outcome: Outcome) -> list[dict[str, str]]:
    own = collection_href(job.part)
    home = {"root": collection_href(), "parent": own, "collection": own}
    links = [{"rel": rel, "href": href, "type": "application/json"} for rel, href in home.items()]
    algorithm = job.algorithm
    href = _way_to(algorithm.path, job.folder.parent.parent)
    if href is not None:
        kind = "application/cwl+yaml" if algorithm.kind == "cwl" else "application/json"
        links.append({"rel": "processing-expression", "href": href, "type": kind, "title": algorithm.id})
    if REMOTE.match(algorithm.source):
        links.append({"rel": "about", "href": public_url(algorithm.source), "title": algorithm.title or algorithm.id})
    # a local path would tell of this machine, and leads nowhere elsewhere
    inputs = sorted({public_url(href) for href in outcome.derived_from if REMOTE.match(href)} - {""})
    return links + [{"rel": "derived_from", "href": href, "type": "application/geo+json"} for href in inputs]
