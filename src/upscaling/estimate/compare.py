"""Every platform that offers an algorithm, in one table: possible, cost, time, slots, where results go."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from upscaling.algorithms.catalogue import parse, read_source
from upscaling.algorithms.records import catalogue_root, is_record, link_of, ogc_process
from upscaling.config import Config
from upscaling.errors import UpscalingError
from upscaling.estimate.model import Answer, Estimate, Interval
from upscaling.estimate.run import estimate_run
from upscaling.estimate.show import amount, duration

if TYPE_CHECKING:
    from rich.console import RenderableType


__all__ = ["PlatformRow", "compare_platforms", "offered_by", "render_platforms", "row_of"]


class PlatformRow(BaseModel):
    """What a run would be on one platform."""

    model_config = ConfigDict(allow_inf_nan=False, frozen=True)

    platform: str
    kind: str
    record: str = ""
    """Record of the catalogue that offers the algorithm there; empty where a person named the platform."""
    possible: Answer
    refusals: list[str]
    """What speaks against it, a line each."""
    cost: Interval | None = None
    currency: str = ""
    stated_cost: str = ""
    seconds: Interval | None = None
    slots: str = "unknown"
    results: str = "unknown"


def compare_platforms(
    config: Config, named: Sequence[str] = (), *, results: Path | None = None, benchmarks: Sequence[Path] = ()
) -> list[PlatformRow]:
    """Return a row for the configured platform, each that the catalogue offers, and each that was named.

    Parameters
    ----------
    named
        Addresses of platforms: of openEO, or of processes of OGC API - Processes (``…/processes/<id>``).
    """
    tried: dict[str, tuple[str, str]] = {}
    own = getattr(config.backend, "url", None)
    tried[own or ""] = ("", "")
    for record, address, source in offered_by(config):
        tried.setdefault(address, (record, source))
    for address in named:
        tried.setdefault(address, ("", ""))
    seen: dict[tuple[str, str], PlatformRow] = {}
    for address, (record, source) in tried.items():
        row = _row(config, address, source, results=results, benchmarks=benchmarks)
        seen.setdefault((row.kind, row.platform), row.model_copy(update={"record": record}))
    return list(seen.values())


def offered_by(config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield record id, address of the service and path of every record of a local catalogue that runs the algorithm.

    A record does if it has the algorithm's id, or links to the same definition.
    """
    try:
        text, place = read_source(config.algorithm)
        content: Any = parse(text, place)
    except UpscalingError:
        return
    folder = Path(config.algorithm.catalogue) if config.algorithm.catalogue else catalogue_root(place)
    if folder is None or not folder.is_dir():
        return
    names = {str(content.get("id")), Path(place).stem}
    definition = _definition(content) if is_record(content) else Path(place).name
    for path in sorted(folder.glob("**/records/*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if is_record(record) and (record.get("id") in names or (definition and _definition(record) == definition)):
            services = [link for link in record["links"] if isinstance(link, dict) and link.get("rel") == "service"]
            for link in services:
                yield str(record.get("id")), str(link.get("href", "")).rstrip("/"), str(path)


def _definition(record: dict[str, Any]) -> str:
    return str(link_of(record, "application").get("href", "")).rpartition("/")[2]


def _row(config: Config, address: str, source: str, *, results: Path | None, benchmarks: Sequence[Path]) -> PlatformRow:
    try:
        settings = _elsewhere(config, address, source) if address or source else config
        found = estimate_run(settings, results=results, benchmarks=benchmarks)
    except UpscalingError as error:
        kind = "ogcapi" if ogc_process(address) else config.backend.kind
        return PlatformRow(platform=address, kind=kind, possible="no", refusals=[str(error)])
    return row_of(found, settings.backend.kind)


def row_of(found: Estimate, kind: str) -> PlatformRow:
    """Return the row of a run's estimate on one platform."""
    slots = next((check.text for check in found.checks if check.name == "slots"), "unknown")
    where = next((check.text for check in found.checks if check.name == "workspace"), "on this machine")
    return PlatformRow(
        platform=found.platform,
        kind=kind,
        possible=found.possible,
        refusals=found.verdict_reasons,
        cost=found.cost,
        currency=found.currency,
        stated_cost=found.stated_cost,
        seconds=found.seconds,
        slots=slots,
        results=where,
    )


def _elsewhere(config: Config, address: str, source: str) -> Config:
    """Return the same run on another platform."""
    values = config.model_dump(mode="json", exclude_defaults=False)
    process = ogc_process(address)
    if source:
        values["algorithm"] |= {"source": source, "catalogue": None}
    if process is not None:
        slots = config.backend.slots
        values["backend"] = {"kind": "ogcapi", "url": process.base, "slots": slots}
        if not source:
            values["algorithm"] |= {"source": address, "catalogue": None}
    elif config.backend.kind == "openeo":
        values["backend"]["url"] = address
    else:
        values["backend"] = {"kind": "openeo", "url": address, "slots": config.backend.slots}
    return Config.parse(values)


def render_platforms(rows: Sequence[PlatformRow]) -> RenderableType:
    """Return the table for a terminal."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("platform", "possible", "cost", "time", "slots", "results"):
        table.add_column(title, overflow="fold")
    lines = []  # beside the table: a column of reasons would leave the others no room on a usual terminal
    for row in rows:
        cost, time = "unknown", "unknown"
        if row.cost is not None:
            cost = f"{amount(row.cost.p50)} ({amount(row.cost.p10)} to {amount(row.cost.p90)}) {row.currency}"
        if row.seconds is not None:
            time = f"{duration(row.seconds.p50)} (to {duration(row.seconds.p90)})"
        table.add_row(*map(escape, (row.platform, row.possible, cost, time, row.slots, row.results)))
        lines += [f"{row.platform}: {refusal}" for refusal in row.refusals]
    return Group(table, *(escape(line) for line in ["", "what speaks against it:", *lines] if lines))
