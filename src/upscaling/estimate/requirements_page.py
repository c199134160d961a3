"""Requirements and their feasibility on one page (HTML and Markdown), to be handed to a platform operator."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from upscaling.area.aoi import read_aoi
from upscaling.config import Config
from upscaling.config.deadline import seconds_left
from upscaling.errors import UpscalingError
from upscaling.estimate.checks.common import UNASKED
from upscaling.estimate.compare import PlatformRow, compare_platforms
from upscaling.estimate.model import Estimate
from upscaling.estimate.requirements import ADVISE, Requirements, to_config
from upscaling.estimate.run import estimate_run
from upscaling.estimate.show import amount, duration, facts_of
from upscaling.grids.picture import plot_tiles
from upscaling.planning.make import tile_table
from upscaling.planning.plan import kept_config
from upscaling.util.files import write_whole
from upscaling.util.text import plain_text

__all__ = ["write_page", "write_run_page"]

_NAME = "requirements"
_STORAGE = "long-term storage: who keeps the results, and for how long?"
_QUALITY = "quality: what must the results fulfil, and who checks it?"
_LICENCE = "licence of the results: none is given"
_WIDE = 10.0  # p90 over p10, from which an interval says little


@dataclasses.dataclass(frozen=True)
class _Page:
    """What both forms of the page show."""

    title: str
    facts: list[tuple[str, str]]
    estimate: Estimate
    platforms: Sequence[PlatformRow]
    risks: list[str]
    questions: list[str]


def write_page(
    wanted: Requirements,
    folder: Path,
    *,
    file: Path | None = None,
    benchmarks: Sequence[Path] = (),
    ask: bool = True,
) -> tuple[Path, Path]:
    """Write ``requirements.html``, ``requirements.md`` and ``tiles.png`` into a folder; return the first two.

    Raises
    ------
    UpscalingError
        If the area, the algorithm or the platform cannot be used.
    """
    config = to_config(wanted, file=file)
    estimate = estimate_run(config, benchmarks=benchmarks, ask=ask)
    platforms: list[PlatformRow] = []
    if wanted.platform == ADVISE and ask:
        platforms = compare_platforms(config, benchmarks=benchmarks)
    risks, questions = _risks(estimate, wanted.deadline), _questions(wanted, estimate)
    return _write(_Page(wanted.title, _facts(wanted, estimate), estimate, platforms, risks, questions), config, folder)


def write_run_page(run_folder: Path, folder: Path, *, title: str = "", ask: bool = True) -> tuple[Path, Path]:
    """Write the same files for a run, from its configuration; what only a form says is among the open questions.

    Raises
    ------
    UpscalingError
        If the folder is not that of a run, or its run has no area.
    """
    config, estimate = kept_config(run_folder), estimate_run(run_folder, ask=ask)
    questions = [*_unknown(estimate), "contact: who asks, and who is to be asked?", _STORAGE, _QUALITY]
    questions += ["budget: none is given"] if config.budget is None else []
    questions += [_LICENCE] if config.collection.license == "other" else []
    risks = _risks(estimate, config.deadline)
    title = title or config.collection.title or config.run
    return _write(_Page(title, _run_facts(config, estimate), estimate, [], risks, questions), config, folder)


def _write(page: _Page, config: Config, folder: Path) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / "tiles.png"
    _draw(config, picture)
    html, markdown = folder / f"{_NAME}.html", folder / f"{_NAME}.md"
    for path, text in ((html, _html(page, picture)), (markdown, _markdown(page))):
        write_whole(path, text)
    return html, markdown


def _draw(config: Config, path: Path) -> None:
    if config.area is None:
        raise UpscalingError("requirements need an area")
    plot_tiles(tile_table(config.area)[1], read_aoi(config.area.aoi), path, explained=False)


def _risks(estimate: Estimate, deadline: str) -> list[str]:
    """Return what may go wrong, from the numbers."""
    found = [*estimate.verdict_reasons, *estimate.warnings]
    if estimate.basis == "rough":
        found.append("the numbers are rough: no job of this run was tried; a pilot of 12 jobs tells more")
    if estimate.verdict is None and estimate.seconds is not None and estimate.seconds.p50 > seconds_left(deadline):
        found.append("by the rough numbers the deadline is out of reach: more slots, another platform or another grid")
    if estimate.cost is not None and estimate.cost.p10 > 0 and estimate.cost.p90 / estimate.cost.p10 > _WIDE:
        found.append("the cost is known to within a factor of ten only")
    if estimate.failed:
        found.append(f"{estimate.failed} attempts failed so far")
    return found + [entry.text for entry in estimate.advice]


def _unknown(estimate: Estimate) -> list[str]:
    """Return the checks that nobody answered."""
    unknown = [check for check in estimate.checks if check.answer == "unknown"]
    unasked = [check.name for check in unknown if check.text == UNASKED]
    found = [f"{check.name}: {check.text}" for check in unknown if check.text != UNASKED]
    return [f"{UNASKED}: {', '.join(unasked)}", *found] if unasked else found


def _questions(wanted: Requirements, estimate: Estimate) -> list[str]:
    """Return what the project or the operator must still answer."""
    found = _unknown(estimate)
    if wanted.budget is None:
        found.append("budget: none is given")
    if wanted.output.long_term_storage == "undecided":
        found.append(_STORAGE)
    if wanted.output.licence == "other":
        found.append(_LICENCE)
    if not wanted.quality:
        found.append(_QUALITY)
    return found


def _facts(wanted: Requirements, estimate: Estimate) -> list[tuple[str, str]]:
    output = wanted.output
    period = "" if wanted.period is None else f"{wanted.period.start} to {wanted.period.end}"
    if wanted.period is not None and wanted.period.step:
        period += f", one result each {wanted.period.step}"
    budget = "none given" if wanted.budget is None else f"{wanted.budget:,g} {wanted.currency}"
    contact = f"{wanted.contact.name}, {wanted.contact.email}"
    rows = [
        ("purpose", wanted.purpose),
        ("contact", f"{contact}, {wanted.contact.organisation}".rstrip(", ")),
        ("algorithm", f"{estimate.algorithm} {wanted.algorithm.version}".strip()),
        ("parameters", ", ".join(f"{name} = {value}" for name, value in wanted.algorithm.parameters.items())),
        ("area", f"{estimate.area_km2:,.0f} km² in tiles of {wanted.grid}"),
        ("period", period),
        ("platform", f"{estimate.platform}{' (advised)' if wanted.platform == 'advise' else ''}"),
        ("deadline", wanted.deadline),
        ("budget", budget),
        ("output", f"{output.format}, {output.crs or 'CRS of the tiles'}, {output.place}"),
        ("long-term storage", output.long_term_storage),
        ("licence", output.licence),
        ("quality", "; ".join(wanted.quality)),
        ("notes", wanted.notes),
    ]
    return [(name, value) for name, value in rows if value]


def _run_facts(config: Config, estimate: Estimate) -> list[tuple[str, str]]:
    time, values = config.time, config.algorithm.parameters
    given = [f"{name} = {plain_text(json.dumps(value, ensure_ascii=False), 200)}" for name, value in values.items()]
    period = ""
    if time is not None:
        period = f"{time.start} to {time.end}, one result each {time.step}"
        if time.intervals:
            period = ", ".join(f"{start} to {end}" for start, end in time.intervals)
    rows = [
        ("algorithm", estimate.algorithm),
        ("parameters", ", ".join(given)),
        ("area", f"{estimate.area_km2:,.0f} km² in tiles of {config.area.grid if config.area else ''}"),
        ("period", period),
        ("platform", estimate.platform),
        ("deadline", config.deadline),
        ("budget", "none given" if config.budget is None else f"{config.budget:,g} {estimate.currency}"),
        ("output", f"{config.algorithm.output_format}, {config.publish.s3 if config.publish else 'download'}"),
        ("licence", config.collection.license),
    ]
    return [(name, value) for name, value in rows if value]


def _verdict(estimate: Estimate) -> str:
    return estimate.verdict or "rough: no verdict without a pilot"


def _html(page: _Page, picture: Path) -> str:
    loader = PackageLoader("upscaling.estimate", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    image = base64.b64encode(picture.read_bytes()).decode()
    return environment.get_template("requirements.html").render(
        vars(page),
        numbers=facts_of(page.estimate),
        verdict=_verdict(page.estimate),
        reasons=page.estimate.verdict_reasons,
        image=image,
        amount=amount,
        duration=duration,
    )


def _markdown(page: _Page) -> str:
    estimate = page.estimate
    parts = [f"# {_plain(page.title)}", f"Feasibility: **{_verdict(estimate)}**. Made {estimate.made}."]
    parts += [_list(estimate.verdict_reasons)] if estimate.verdict_reasons else []
    parts += ["![tiles](tiles.png)", "## Requirements", _table(("", ""), page.facts)]
    parts += ["## Numbers", _table(("", ""), facts_of(estimate)), _list(estimate.rests_on)]
    checks = [(check.name, check.answer, check.text) for check in estimate.checks]
    parts += ["## Is it possible?", _table(("question", "answer", "found"), checks)]
    if page.platforms:
        rows = [(row.platform, row.possible, _cost(row), "; ".join(row.refusals)) for row in page.platforms]
        parts += ["## Platforms", _table(("platform", "possible", "cost", "what speaks against it"), rows)]
    parts += ["## Risks", _list(page.risks), "## Open questions", _list(page.questions)]
    return "\n\n".join(parts) + "\n"


def _cost(row: PlatformRow) -> str:
    return "unknown" if row.cost is None else f"{amount(row.cost.p50)} {row.currency}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_plain(line)}" for line in lines) or "None."


def _plain(text: str) -> str:
    """Return a text that means nothing to Markdown or HTML."""
    escaped = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{sign}" if sign in "\\`*_|[]" else sign for sign in escaped)
