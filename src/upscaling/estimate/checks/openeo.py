"""Checks of an openEO platform: processes, collections, slots, credits, format, workspace, terms."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from upscaling.algorithms.graph import nodes_of
from upscaling.errors import ConfigError, PlatformError
from upscaling.estimate.checks.common import unasked
from upscaling.estimate.model import Answer, Check, no, unknown, yes
from upscaling.util.text import plain_text

if TYPE_CHECKING:
    from upscaling.backends.openeo.session import Session
    from upscaling.config import OpenEOBackendConfig
    from upscaling.estimate.evidence.work import Work
    from upscaling.estimate.model import Estimate
    from upscaling.estimate.run import Known

__all__ = ["checks", "platform_facts"]

NAMES = ("platform", "processes", "collections", "slots", "credits", "job size", "format", "workspace", "terms")
_SLOTS = re.compile(r"(?=.*(?:concurrent|parallel|simultaneous|active))(?=.*jobs?).*|job_?limit|max_?jobs")
_SIZES = re.compile(r"max_?(?:job_?)?(?:area|extent)(?:_?km2)?|max_?area_?km2", re.IGNORECASE)


def checks(known: Known, estimate: Estimate, *, ask: bool) -> list[Check]:
    """Return what the platform tells.

    Raises
    ------
    ConfigError
        If it names no address, cannot be reached or does not let us in.
    """
    from upscaling.backends.openeo.account import Account

    config, work = known.config.backend, known.work
    assert config.kind == "openeo"  # noqa: S101 -- the caller chose by kind
    url = config.url or work.service
    if not url:
        raise ConfigError("is required: the algorithm's source names no platform", key="backend.url")
    if not ask:
        return unasked(*NAMES)
    try:
        session = Account.of(config, url.rstrip("/")).session
        facts = platform_facts(session, config)
        return [
            _platform(url, facts),
            _processes(known, session),
            _collections(work, session),
            _slots(config, facts),
            _credits(facts, estimate),
            _job_size(config, facts, work, estimate),
            _format(known, session),
            _workspace(config, session),
            _terms(facts),
            *_estimates(known, session, facts, estimate.currency),
        ]
    except PlatformError as error:
        raise ConfigError(str(error), key="backend.url") from None


def platform_facts(session: Session, config: OpenEOBackendConfig) -> dict[str, Any]:
    """Return capabilities and, where there is a log-in, what the platform says of the user."""
    facts: dict[str, Any] = {"capabilities": session.get("/")}
    if config.auth != "none":
        try:
            facts["me"] = session.get("/me")
        except PlatformError as error:
            if error.status not in {404, 501, 405}:
                raise
    return facts


def _platform(url: str, facts: Mapping[str, Any]) -> Check:
    if not _offers(facts, "/jobs", "POST"):
        return no("platform", f"{url} offers no batch jobs", "backend.url")
    return yes("platform", f"{url} lets us in", "backend.url")


def _offers(facts: Mapping[str, Any], path: str, method: str) -> bool:
    listed = [entry for entry in facts["capabilities"].get("endpoints") or [] if isinstance(entry, dict)]
    return any(entry.get("path") == path and method in (entry.get("methods") or ()) for entry in listed)


def _estimates(known: Known, session: Session, facts: Mapping[str, Any], currency: str) -> list[Check]:
    """Return what the platform itself estimates for a job of the run, where it does that and the run has a job."""
    from upscaling.monitor.progress import read_states

    if not _offers(facts, "/jobs/{job_id}/estimate", "GET"):
        return []
    states = read_states(known.run_folder, known.plan) if known.plan is not None else []
    job = next((state.job_id for state in states if state.job_id), None)
    if job is None:
        text = "the platform estimates jobs; it is asked once the run has one"
        return [unknown("own estimate", text)]
    try:
        said = session.get(f"/jobs/{job}/estimate")
    except PlatformError as error:
        return [unknown("own estimate", plain_text(error))]
    words = [f"{said['costs']:g} {currency}"] if isinstance(said.get("costs"), int | float) else []
    words += [plain_text(said["duration"])] if said.get("duration") else []
    answer: Answer = "yes" if words else "unknown"
    return [
        Check(name="own estimate", answer=answer, text=f"{', '.join(words) or 'nothing'} for job {plain_text(job)}")
    ]


def _processes(known: Known, session: Session) -> Check:
    graph = known.work.definition.get("process_graph") or {}
    own = {None, "", "backend"}
    used = {str(node["process_id"]) for node in nodes_of(graph) if node.get("namespace") in own}
    elsewhere = sorted(
        {f"{node['process_id']} of {node['namespace']}" for node in nodes_of(graph) if node.get("namespace") not in own}
    )
    listed = session.get("/processes").get("processes")
    there = {str(entry.get("id")) for entry in listed or () if isinstance(entry, dict)}
    lacking = sorted(used - there)
    if lacking:
        return no("processes", f"the platform has no process {', '.join(lacking)}", "algorithm.source")
    if elsewhere:
        text = f"it has all {len(used)} standard ones; not asked for {', '.join(elsewhere)}"
        return unknown("processes", plain_text(text), "algorithm.source")
    return yes("processes", f"it has all {len(used)} that the algorithm calls")


def _collections(work: Work, session: Session) -> Check:
    from upscaling.algorithms.udp import loaded_collections

    names = loaded_collections(work.definition.get("process_graph") or {})
    if not names:
        return unknown("collections", "the algorithm names none that could be looked up")
    partial, untold = [], []
    for name in names:
        try:
            found = session.get(f"/collections/{name}")
        except PlatformError as error:
            if error.code != "CollectionNotFound" and error.status != 404:
                raise
            return no("collections", f"the platform has no collection {name}", "algorithm.source")
        outside, words = _outside(work, found)
        if outside == 1.0:
            return no("collections", f"the area lies outside {name}, which covers {words}", "area.aoi")
        partial += [f"{outside:.0%} of the tiles lie outside {name}"] if outside else []
        missed = _missed(work.period, found)
        asked, covered = _periods(work.period, found)
        if missed == "all":
            return no("collections", f"the period {asked} lies outside {name}, which covers {covered}", "time")
        partial += [f"{name} covers {covered}, not all of {asked}"] if missed == "some" else []
        untold += [f"the period of {name} or of the run is not known"] if missed == "unknown" else []
    if partial or untold:
        return Check(name="collections", answer="unknown", text="; ".join([*partial, *untold]), key="area.aoi")
    return yes("collections", f"{', '.join(names)}: area and period are covered")


def _outside(work: Work, collection: Mapping[str, Any]) -> tuple[float, str]:
    """Return which share of the tiles a collection does not reach, and what it covers."""
    from upscaling.backends.openeo.check import box_words

    spatial = (collection.get("extent") or {}).get("spatial") or {}
    boxes = [box for box in spatial.get("bbox") or () if isinstance(box, list) and len(box) in {4, 6}]
    if not boxes or not len(work.boxes):
        return 0.0, ""
    reached = np.zeros(len(work.boxes), dtype=bool)
    for box in boxes:
        reached |= _meet(work.boxes, box if len(box) == 4 else [*box[:2], *box[3:5]])
    return float(1 - reached.mean()), box_words(boxes[0])


def _meet(tiles: Any, box: list[float]) -> Any:
    west, south, east, north = (float(edge) for edge in box)

    def spans(first: Any, last: Any) -> list[tuple[Any, Any]]:
        crosses = first > last
        return [(first, np.where(crosses, 180.0, last)), (np.where(crosses, -180.0, first), last)]

    across = np.zeros(len(tiles), dtype=bool)
    for tile_west, tile_east in spans(tiles[:, 0], tiles[:, 2]):
        for box_west, box_east in spans(np.float64(west), np.float64(east)):
            across |= (tile_west < box_east) & (box_west < tile_east)
    return across & (tiles[:, 1] < north) & (south < tiles[:, 3])


def _missed(period: tuple[str | None, str | None] | None, collection: Mapping[str, Any]) -> str:
    """Return how much of a run's period a collection lacks: ``nothing``, ``some``, ``all``, ``unknown``."""
    ours, theirs = _instants(period), [_instants(interval) for interval in _intervals(collection)]
    if ours is None or not theirs or None in theirs:
        return "unknown"
    start, end = ours
    known = [interval for interval in theirs if interval is not None]
    if not any(first < end and start < last for first, last in known):
        return "all"
    return "nothing" if any(first <= start and end <= last for first, last in known) else "some"


def _intervals(collection: Mapping[str, Any]) -> list[Any]:
    temporal = (collection.get("extent") or {}).get("temporal") or {}
    return [entry for entry in temporal.get("interval") or () if isinstance(entry, list) and len(entry) == 2]


def _instants(interval: Any) -> tuple[dt.datetime, dt.datetime] | None:
    if not interval or not any(interval):
        return None
    try:
        ends = [None if text is None else dt.datetime.fromisoformat(str(text)) for text in interval]
    except ValueError:
        return None
    moments = [None if end is None else (end if end.tzinfo else end.replace(tzinfo=dt.UTC)) for end in ends]
    first, last = dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)
    return moments[0] or first, moments[1] or last


def _periods(period: Any, collection: Mapping[str, Any]) -> tuple[str, str]:
    """Return a run's period and a collection's as texts: days, or moments where both end or begin on the same day."""
    intervals = _intervals(collection)
    days = {str(end)[:10] for end in period or () if end}
    signs = None if any(str(end)[:10] in days for interval in intervals for end in interval) else 10

    def shown(interval: Any) -> str:
        return " to ".join(str(end)[:signs] if end else "…" for end in interval or ())

    return shown(period), plain_text(", ".join(map(shown, intervals)))


def _slots(config: OpenEOBackendConfig, facts: Mapping[str, Any]) -> Check:
    limits = [int(value) for name, value in _numbers(facts) if _SLOTS.fullmatch(name.lower()) and value >= 1]
    if not limits:
        return unknown("slots", f"the platform advertises no limit; {config.slots} are configured", "backend.slots")
    limit = min(limits)
    if config.slots > limit:
        text = f"{config.slots} jobs at the same time are configured, the platform allows {limit}"
        return no("slots", text, "backend.slots")
    more = f"; {limit} would be allowed" if limit > config.slots else ""
    return yes("slots", f"{config.slots} jobs at the same time{more}", "backend.slots")


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number in a document, with the name it stands under."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key != "endpoints":
                yield from _numbers(inner, str(key).replace("-", "_").replace(":", "_"))
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def _credits(facts: Mapping[str, Any], estimate: Estimate) -> Check:
    """Hold what the account has left (openEO: `budget` of `/me`, null for no limit) against what the run costs."""
    me = facts.get("me") or {}
    left = me.get("budget")
    if left is None and "budget" in me:
        return yes("credits", "the account has no limit")
    if not isinstance(left, int | float) or isinstance(left, bool):
        return unknown("credits", "the platform does not tell what the account has left")
    has, cost = f"{left:,.6g} {estimate.currency} left", estimate.cost
    bounds = [] if estimate.minimum_charge is None else [estimate.minimum_charge * (estimate.jobs - estimate.finished)]
    bounds += [] if cost is None else [max(cost.p10 - estimate.spent, 0.0)]
    if bounds and (max(bounds) > left or left <= 0):
        return no("credits", f"{has}, the run takes at least {max(bounds):,.6g}", "budget")
    if cost is None:
        return unknown("credits", f"{has}; what the run costs is not known")
    most = max(cost.p90 - estimate.spent, 0.0)
    if most > left:
        return unknown("credits", f"{has}, the run may take {most:,.6g}", "budget")
    return yes("credits", has)


def _job_size(config: OpenEOBackendConfig, facts: Mapping[str, Any], work: Work, estimate: Estimate) -> Check:
    limits = [value for name, value in _numbers(facts) if _SIZES.fullmatch(name) and value > 0]
    largest = float(work.area_km2.max()) if len(work.area_km2) else 0.0
    if limits and largest > min(limits):
        text = f"a job of {largest:,.4g} km² is larger than the platform allows ({min(limits):,.4g} km²)"
        return no("job size", text, "area.grid")
    mean = estimate.cost.p50 / estimate.jobs if estimate.cost is not None and estimate.jobs else None
    if config.job_budget is not None and mean is not None and mean > config.job_budget:
        text = f"a job is expected to cost {mean:.4g}, over its budget of {config.job_budget:g}"
        return no("job size", text, "backend.job_budget")
    if limits:
        return yes("job size", f"{largest:,.4g} km² of at most {min(limits):,.4g} km²", "area.grid")
    return unknown("job size", f"jobs of up to {largest:,.4g} km²; the platform advertises no limit", "area.grid")


def _format(known: Known, session: Session) -> Check:
    from upscaling.algorithms.udp import saves_result

    graph = known.work.definition.get("process_graph") or {}
    if saves_result(graph):
        saves = [node for node in nodes_of(graph) if node["process_id"] == "save_result"]
        named = {str(node.get("arguments", {}).get("format")) for node in saves}
        named = {name for name in named if not name.startswith("{")}
    else:
        named = {known.config.algorithm.output_format}
    offered = session.get("/file_formats").get("output")
    names = {str(name).lower() for name in offered} if isinstance(offered, dict) else set()
    lacking = sorted(name for name in named if name.lower() not in names)
    if lacking:
        text = f"the platform does not write {', '.join(lacking)}; it offers {', '.join(sorted(offered or ()))}"
        return no("format", plain_text(text, 400), "algorithm.output_format")
    return yes("format", f"{', '.join(sorted(named)) or 'as the algorithm is told'} is offered")


def _workspace(config: OpenEOBackendConfig, session: Session) -> Check:
    listed = session.get("/processes").get("processes")
    there = any(isinstance(entry, dict) and entry.get("id") == "export_workspace" for entry in listed or ())
    key = "backend.export_workspace"
    if config.export_workspace is not None and not there:
        return no("workspace", "results cannot stay on the platform", key)
    could = "results could stay in a workspace there" if there else "results cannot stay there; they are downloaded"
    return yes("workspace", could, key)


def _terms(facts: Mapping[str, Any]) -> Check:
    links = facts["capabilities"].get("links") or []
    hrefs = [
        str(link.get("href")) for link in links if isinstance(link, dict) and link.get("rel") == "terms-of-service"
    ]
    if not hrefs:
        return unknown("terms", "the platform links to no terms of service")
    return yes("terms", plain_text(hrefs[0]))
