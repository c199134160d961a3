"""One batch job, in a process of its own: evaluate the graph, write the results, keep a log."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from upscaling.local_backend.costs import km2_of
from upscaling.local_backend.cubes import load_cube
from upscaling.local_backend.data import Collection, Scene
from upscaling.local_backend.definitions import Definitions
from upscaling.local_backend.errors import ProcessError, is_out_of_memory
from upscaling.local_backend.graphs import Evaluator
from upscaling.local_backend.save import save
from upscaling.local_backend.workspaces import WORKSPACES, export
from upscaling.util.files import read_json, write_json

__all__ = ["OUTPUT", "RESULT_FILE", "data_sources", "extent_of", "log_entries", "log_entry", "run_job"]

LOG_FILE = "log.jsonl"
RESULT_FILE = "result.json"
OUTPUT = "output"

log = logging.getLogger(__name__)


def log_entry(folder: Path, level: str, message: str, code: str | None = None) -> None:
    """Append one openEO log entry; appends of one line are whole, so two processes may write."""
    stamp = time.time_ns()
    entry = {
        "id": f"{stamp:x}",
        "level": level,
        "message": message,
        "time": datetime.fromtimestamp(stamp / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    with (folder / LOG_FILE).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry | ({"code": code} if code else {})) + "\n")


def log_entries(folder: Path) -> list[dict[str, Any]]:
    """Return the log entries of a job; a line that is still being written is left out."""
    file = folder / LOG_FILE
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


class _JobLog(logging.Handler):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        log_entry(self._folder, level, record.getMessage())


def run_job(folder: Path, collections: Mapping[str, Collection], processes: Mapping[str, Callable[..., Any]]) -> bool:
    """Run the job whose ``job.json`` lies in ``folder``; return whether it succeeded.

    Writes ``output/*``, ``log.jsonl`` and, last, ``result.json``.
    """
    import warnings

    job = read_json(folder / "job.json")
    handler = _JobLog(folder)
    logging.basicConfig(handlers=[handler], force=True, level=logging.WARNING)
    logging.getLogger("rasterio").setLevel(logging.ERROR)  # warns of harmless TIFF tags for every file
    logging.getLogger("upscaling").setLevel(
        {"error": "ERROR", "warning": "WARNING", "debug": "DEBUG"}.get(job["log_level"], "INFO")
    )
    warnings.simplefilter("ignore")  # numpy on all-NaN slices: no-data is ordinary here
    try:
        write_json(folder / RESULT_FILE, _run(job, folder, collections, processes))
    except Exception as error:  # the job's owner must see why; the traceback goes with it
        if is_out_of_memory(error):
            message = "the job ran out of memory: use smaller tiles, or a larger job option executor-memory"
            log_entry(folder, "error", message, "OutOfMemory")
        elif isinstance(error, ProcessError):
            log_entry(folder, "error", str(error), error.code)
        else:
            log.debug("traceback", exc_info=True)
            log_entry(folder, "error", f"internal error: {type(error).__name__}: {error}", "Internal")
    else:
        return True
    return False


def _run(
    job: Mapping[str, Any],
    folder: Path,
    collections: Mapping[str, Collection],
    processes: Mapping[str, Callable[..., Any]],
) -> dict[str, Any]:
    import xarray as xr

    options = job["options"] or {}
    assets: dict[str, Any] = {}

    def save_result(data: Any, format: str, options: Any = None) -> Any:  # noqa: A002 (the openEO parameter's name)
        assets.update(save(data, folder / OUTPUT, format, options))
        return data

    def export_workspace(data: Any, workspace: str, merge: str | None = None) -> Any:
        if not assets:
            raise ProcessError("ProcessParameterInvalid", "export_workspace needs what save_result has saved")
        home = folder.parent.parent / WORKSPACES / quote(job["user"], safe="")
        place = export(home, workspace, merge or folder.name, folder / OUTPUT, assets)
        if options.get("remove-exported-assets"):
            for name in assets:
                (folder / OUTPUT / name).unlink(missing_ok=True)
                assets[name]["moved"] = True
        for asset in assets.values():
            asset["exported"] = [*asset.get("exported", []), place]
        return data

    _limit_memory(options)
    used: list[Scene] = []
    sources = data_sources(collections, allow_empty=bool(options.get("allow_empty_cubes")), used=used)
    sinks = {"save_result": save_result, "export_workspace": export_workspace}
    evaluator = Evaluator({**processes, **sources, **sinks}, Definitions(job["definitions"]))
    result = evaluator.run(job["process_graph"])
    if not assets:
        # as the platforms do: a graph without save_result gives GeoTIFFs, or JSON where there is no raster
        is_raster = isinstance(result, xr.DataArray) and {"x", "y"} <= set(result.dims)
        assets = save(result, folder / OUTPUT, "GTiff" if is_raster else "JSON")
    log.info("saved %s", ", ".join(assets))
    hrefs = list(dict.fromkeys(scene.href for scene in used))
    return {"assets": assets, "derived_from": hrefs, **extent_of(assets, used)}


def _limit_memory(options: Mapping[str, Any]) -> None:
    """Bound what the job may allocate beyond an idle worker to executor-memory + executor-memoryOverhead, if given."""
    import resource

    given = {name: str(options[name]) for name in ("executor-memory", "executor-memoryOverhead") if name in options}
    sizes = []
    for name, text in given.items():
        match = re.fullmatch(r"(\d+)([kmgt])b?", text.lower())
        if match is None:
            raise ProcessError("JobOptionInvalid", f"job option {name} must be like 512m or 2g, not {text!r}")
        sizes.append(int(match[1]) << {"k": 10, "m": 20, "g": 30, "t": 40}[match[2]])
    statistics = Path("/proc/self/statm")
    if sizes and statistics.exists():
        taken = int(statistics.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + sum(sizes),) * 2)


def data_sources(
    collections: Mapping[str, Collection], *, allow_empty: bool, used: list[Scene]
) -> dict[str, Callable[..., Any]]:
    """Return ``load_collection`` and ``load_stac``; ``used`` gets the scenes that they read."""

    def load(collection: Collection, spatial_extent: Any, temporal_extent: Any, bands: Any, properties: Any) -> Any:
        return load_cube(
            collection,
            spatial_extent=spatial_extent,
            temporal_extent=temporal_extent,
            bands=bands,
            properties=_predicates(properties),
            allow_empty=allow_empty,
            used=used,
        )

    def load_collection(
        id: str,  # noqa: A002 (the openEO parameter's name)
        spatial_extent: Any = None,
        temporal_extent: Any = None,
        bands: Any = None,
        properties: Any = None,
    ) -> Any:
        if id not in collections:
            known = ", ".join(collections)
            raise ProcessError("CollectionNotFound", f"there is no collection {id!r}; there are: {known}")
        return load(collections[id], spatial_extent, temporal_extent, bands, properties)

    def load_stac(
        url: str, spatial_extent: Any = None, temporal_extent: Any = None, bands: Any = None, properties: Any = None
    ) -> Any:
        return load(stac_collection(url), spatial_extent, temporal_extent, bands, properties)

    return {"load_collection": load_collection, "load_stac": load_stac}


def stac_collection(url: str) -> Collection:
    """Read the STAC item, collection or catalogue at a local path, ``file://`` URL or URL of this host."""
    import pystac

    from upscaling.errors import ConfigError
    from upscaling.local_backend.stac import UNREADABLE, read_stac, reason_of, stac_scenes

    try:
        entry = read_stac(url.removeprefix("file://"))
        if not isinstance(entry, pystac.Catalog | pystac.Item):
            raise ProcessError("StacInvalid", f"{url} is not a STAC item, collection or catalogue")
        scenes = stac_scenes(entry)
    except ConfigError as error:
        raise ProcessError("StacInvalid", str(error)) from error
    except (pystac.STACError, pystac.STACTypeError, *UNREADABLE) as error:
        raise ProcessError("StacInvalid", f"{url} cannot be read: {reason_of(error)}") from error
    if not scenes:
        raise ProcessError("NoDataAvailable", f"{url} has no item with a raster asset and a time")
    return Collection(entry.id, "", "", "other", tuple(scenes))


def _predicates(properties: Any) -> dict[str, Callable[[Any], bool]]:
    def accepts(process: Callable[..., Any]) -> Callable[[Any], bool]:
        return lambda value: bool(process(named_parameters={"value": value}) == 1)

    return {name: accepts(process) for name, process in (properties or {}).items()}


def extent_of(assets: Mapping[str, Any], used: list[Scene]) -> dict[str, Any]:
    """Return ``bbox`` in EPSG:4326 of all assets, the time of all scenes read, and the area that costs go by."""
    from pyproj import CRS, Transformer

    boxes, area = [], 0.0
    for asset in assets.values():
        if "proj:bbox" in asset:
            crs = CRS.from_user_input(asset.get("proj:epsg") or asset["proj:wkt2"])
            box = Transformer.from_crs(crs, 4326, always_xy=True).transform_bounds(*asset["proj:bbox"])
            area = max(area, km2_of(box))
            boxes.append(box)
            asset["bbox"] = list(box)
    found: dict[str, Any] = {"area_km2": area}
    if boxes:
        sides = list(zip(*boxes, strict=True))
        found["bbox"] = [min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])]
    if used:
        times = sorted(scene.datetime for scene in used)
        stamps = [time.isoformat().replace("+00:00", "Z") for time in (times[0], times[-1])]
        found |= {"start_datetime": stamps[0], "end_datetime": stamps[1]}
    return found
