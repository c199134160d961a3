"""What a run gave, for people and programs: logs, STAC documents, files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from upscaling.planning.plan import job_of
from upscaling.results.shapes import fault_of
from upscaling.service.api.deps import AskedRun
from upscaling.service.states import RunStates
from upscaling.service.tasks import RefusedError
from upscaling.util.files import end_of, link_out, read_json

__all__ = [
    "collection",
    "config_of",
    "file_of",
    "item",
    "item_of",
    "items",
    "log_of",
    "tile_facts",
]

_LOG_BYTES = 400_000
# The whole folder of a run holds more than results: receipts, and the configuration.
_OPEN = ("tiles/", "mosaic/", "parts/", "collection.json", "items.parquet", "quality.json", "published.json")


def config_of(folder: Path) -> dict[str, Any]:
    """Return the configuration of a task as it was given."""
    import yaml

    content: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return content


def _index(states: RunStates, tile: str) -> int:
    number = states.number(tile)
    if number is None:
        raise RefusedError(f"there is no tile {tile[:80]!r} in this run", code="TILE_NOT_FOUND", status=404)
    return number


def tile_facts(run: AskedRun, tile: str) -> dict[str, Any]:
    """Return what is known of one tile."""
    states = run.states
    index = _index(states, tile)
    state, work = states.states[index], job_of(states.plan, states.run_folder, tile)
    status, reason = run.tasks.job_status(states, run.phase, index)
    files = []
    if status == "finished":
        assets = item_of(states.run_folder, tile)["assets"]
        files = [{"name": name, "href": f"tiles/{tile}/{asset['href']}"} for name, asset in assets.items()]
    return {
        "tile": tile,
        "job": run.task.first_job + index,
        "status": status,
        "reason": reason,
        "error_class": state.error_class,
        "platform_job": state.job_id,
        "attempt": state.attempt,
        "costs": state.costs,
        "seconds": state.seconds,
        "updated": state.updated,
        "time": work.time,
        "parameters": work.parameters,
        "files": files,
    }


def log_of(run: AskedRun, tile: str) -> str:
    """Return the end of a tile's logs: the run's own, and the platform's."""
    _index(run.states, tile)
    folder, texts = run.run_folder / "logs", []
    for name in (f"{tile}.log", f"{tile}.platform.log"):
        if link_out(folder / name, folder):
            continue
        with suppress(OSError):
            content = end_of(folder / name, _LOG_BYTES)
            texts += [f"--- {name}\n{content}"] if content.strip() else []
    return "\n".join(texts) or "Nothing was logged for this tile.\n"


def file_of(run: AskedRun, path: str) -> Path:
    """Return a file of the result.

    Raises
    ------
    RefusedError
        404 for what is no file of the result, links out of the folder among it.
    """
    folder = run.run_folder.resolve()
    missing = RefusedError("there is no such file in the result of this run", code="FILE_NOT_FOUND", status=404)
    if not path.startswith(_OPEN) or "\0" in path:
        raise missing
    try:
        found = (folder / path).resolve()
        if not found.is_relative_to(folder) or not found.is_file() or found.name.startswith("."):
            raise missing
    except (OSError, ValueError):
        raise missing from None
    return found


def collection(run: AskedRun) -> dict[str, Any]:
    """Return the collection of a run with addresses of this service."""
    content = _document(run.run_folder / "collection.json", "the run has no collection yet")
    base, assets = run.address, content["assets"]
    links = [_link("self", f"{base}/collection", "application/json"), _link("items", f"{base}/items")]
    kept = [link for link in content["links"] if link["href"].startswith("http")]
    return {**content, "assets": _absolute(assets, f"{base}/files"), "links": [*links, *kept]}


def _link(relation: str, href: str, media_type: str = "application/geo+json") -> dict[str, str]:
    return {"rel": relation, "href": href, "type": media_type}


def _document(path: Path, absent: str) -> dict[str, Any]:
    """Return a STAC document of a run, with links, assets and properties.

    Raises
    ------
    RefusedError
        It is not there, which ``absent`` says, or damaged.
    """
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise RefusedError(absent, code="NOT_READY", status=409) from None
    except (OSError, ValueError):
        content = None
    if fault := fault_of(content):
        raise RefusedError(f"{path.parent.name}/{path.name} is damaged: {fault}", code="CONFLICT", status=409)
    return {"links": [], "assets": {}, "properties": {}, **content}


def item_of(run_folder: Path, tile: str) -> dict[str, Any]:
    """Return the item of a tile; see ``_document``."""
    return _document(run_folder / "tiles" / tile / "item.json", f"tile {tile} has no result yet")


def _absolute(assets: Mapping[str, Any], base: str) -> dict[str, Any]:
    """Return assets whose relative addresses are below another address."""
    return {
        name: asset if "://" in asset["href"] else {**asset, "href": f"{base}/{asset['href'].removeprefix('./')}"}
        for name, asset in assets.items()
    }


def item(run: AskedRun, tile: str) -> dict[str, Any]:
    """Return one item with addresses of this service."""
    states = run.states
    index = _index(states, tile)
    if states.states[index].state != "finished":
        raise RefusedError(f"tile {tile} is not finished", code="NOT_READY", status=409)
    return _served(item_of(states.run_folder, tile), tile, run.address)


def _served(content: Mapping[str, Any], tile: str, base: str) -> dict[str, Any]:
    links = [_link("self", f"{base}/items/{tile}"), _link("collection", f"{base}/collection", "application/json")]
    return {**content, "assets": _absolute(content["assets"], f"{base}/files/tiles/{tile}"), "links": links}


def items(run: AskedRun, *, bbox: str | None, interval: str | None, limit: int, token: str | None) -> dict[str, Any]:
    """Return a page of items that lie in a box and a time interval."""
    from urllib.parse import urlencode

    states = run.states
    box, span = _box(bbox), _span(interval)
    if token is not None and not token.isdigit():
        raise RefusedError("comes from a `next` link", key="token")
    position, more = int(token or 0), None
    found: list[dict[str, Any]] = []
    for number in range(position, len(states.states)):
        state = states.states[number]
        if state.state != "finished":
            continue
        content = item_of(states.run_folder, state.tile)
        if not _meets(content, box, span):
            continue
        if len(found) == limit:
            more = number
            break
        found.append(_served(content, state.tile, run.address))
    links = [_link("self", f"{run.address}/items")]
    if more is not None:
        query = {"bbox": bbox, "datetime": interval, "limit": limit, "token": more}
        text = urlencode({name: value for name, value in query.items() if value is not None})
        links.append(_link("next", f"{run.address}/items?{text}"))
    return {"type": "FeatureCollection", "features": found, "links": links, "numberReturned": len(found)}


def _box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 6:
        numbers = [numbers[0], numbers[1], numbers[3], numbers[4]]
    if len(numbers) != 4 or not all(abs(number) <= 360 for number in numbers):
        raise RefusedError("must be west,south,east,north in degrees", key="bbox")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _span(text: str | None) -> tuple[str, str] | None:
    if not text:
        return None
    start, _, end = text.partition("/")
    end = end if "/" in text else start
    for moment in (start, end):
        if moment not in {"", ".."} and not re.fullmatch(r"\d{4}-\d\d-\d\d([T ].*)?", moment):
            raise RefusedError("must be a time, or start/end, as RFC 3339 has it", key="datetime")
    return ("" if start in {"", ".."} else start), ("9999" if end in {"", ".."} else end)


def _meets(content: Mapping[str, Any], box: tuple[float, ...] | None, span: tuple[str, str] | None) -> bool:
    if box is not None:
        has = content.get("bbox")
        if not has or has[1] > box[3] or has[3] < box[1]:
            return False
        spans = [(box[0], box[2])] if box[0] <= box[2] else [(box[0], 180.0), (-180.0, box[2])]
        own = [(has[0], has[2])] if has[0] <= has[2] else [(has[0], 180.0), (-180.0, has[2])]
        if not any(w <= east and e >= west for w, e in own for west, east in spans):
            return False
    if span is not None:
        properties = content["properties"]
        first = str(properties.get("start_datetime") or properties.get("datetime") or "")
        last = str(properties.get("end_datetime") or properties.get("datetime") or "")
        return first <= f"{span[1]}~" and last >= span[0]
    return True
