"""What a person asks of a run: how far it is, what it cost, what failed and why, and where the logs are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from upscaling.errors import ErrorClass, UpscalingError
from upscaling.jobs.failures import without_particulars
from upscaling.jobs.remedies import REMEDIES
from upscaling.monitor.earlier import OPEN, earlier_jobs
from upscaling.monitor.progress import STATES, TileState, count_states, read_states
from upscaling.planning.plan import Plan, load_plan
from upscaling.util.files import link_out
from upscaling.util.locks import holder_of
from upscaling.util.text import duration

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "Failure",
    "Summary",
    "failed_tiles",
    "failures_of",
    "logs_of",
    "next_steps",
    "rate_of",
    "render",
    "summarize",
]

_RECENT = dt.timedelta(hours=1)  # the rate is that of the last hour: a run of days changes its pace
_TAIL = 20  # lines of each log
_COLOURS = {
    "not started": "dim",
    "created": "blue",
    "queued": "dark_orange",
    "running": "yellow",
    "finished": "green",
    "canceled": "bright_black",
    "failed": "red",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Tiles that failed for one reason: how many, and one of them with its own words."""

    error_class: str
    tiles: tuple[str, ...]
    example: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A run at one moment.

    Attributes
    ----------
    rate
        Tiles finished per hour, over the last hour in which any was; None if fewer than two were.
    left
        Time that the rest will take at that rate; None where no process works on the run.
    waits
        A line for each reason why tiles wait, with their number; and one if jobs of earlier parameters may go on.
    costs
        So far, failed attempts included; None if no cost is known.
    live
        Whether a process works on the run.
    """

    run: str
    counts: dict[str, int]
    rate: float | None
    left: dt.timedelta | None
    costs: float | None
    failures: tuple[Failure, ...]
    live: bool = False
    waits: tuple[str, ...] = ()
    folder: str = ""


def summarize(run_folder: Path) -> Summary:
    """Read a run's state off its folder; nobody is asked."""
    plan = load_plan(run_folder)
    states = read_states(run_folder, plan)
    counts = {str(name): number for name, number in count_states(states).items()}
    rate = rate_of(states)
    open_tiles = len(states) - counts["finished"]
    known = [state.spent for state in states if state.spent is not None]
    live = holder_of(run_folder) is not None
    return Summary(
        run=plan.facts["run"],
        counts=counts,
        rate=rate,
        left=dt.timedelta(hours=open_tiles / rate) if rate and open_tiles and live else None,
        costs=sum(known) if known else None,
        failures=tuple(failures_of(states)),
        live=live,
        waits=(*_waits(states), *_earlier(run_folder, plan)),
        folder=str(run_folder),
    )


def _waits(states: Iterable[TileState]) -> Iterable[str]:
    alike: dict[str, list[str]] = {}
    for state in states:
        if state.waits:
            alike.setdefault(without_particulars(state.waits), []).append(state.waits)
    for reasons in sorted(alike.values(), key=len, reverse=True):
        yield f"{len(reasons)} wait: {reasons[0]}"


def _earlier(run_folder: Path, plan: Plan) -> Iterable[str]:
    number = sum(job.state in OPEN for job in earlier_jobs(run_folder, plan))
    if number:
        yield (
            f"{number} jobs of earlier parameters may still run: `upscaling cancel {run_folder}` ends them,"
            f" `upscaling clean --remote {run_folder}` lists what is left of earlier ones"
        )


def rate_of(states: Iterable[TileState]) -> float | None:
    """Return the tiles finished per hour, over the last hour in which any was; None if fewer than two were."""
    ends = [dt.datetime.fromisoformat(state.updated) for state in states if state.state == "finished" and state.updated]
    recent = [end for end in ends if end > last - _RECENT] if (last := max(ends, default=None)) else []
    if last is None or len(recent) < 2 or last == min(recent):
        return None
    return (len(recent) - 1) / ((last - min(recent)) / dt.timedelta(hours=1))


def failures_of(states: Iterable[TileState]) -> list[Failure]:
    """Return each reason once, the most frequent first."""
    alike: dict[tuple[str, str], list[TileState]] = {}
    for state in states:
        if state.state in {"failed", "canceled"}:
            reason = (state.error or "").replace(state.job_id or "\0", "…")
            alike.setdefault((state.error_class or state.state, without_particulars(reason)), []).append(state)
    ordered = sorted(alike.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    return [
        Failure(error_class, tuple(tile.tile for tile in tiles), tiles[0].error or "")
        for (error_class, _), tiles in ordered
    ]


def failed_tiles(run_folder: Path, only: str | None = None) -> list[str]:
    """Return the targets that failed, of one error class if ``only`` is given."""
    states = read_states(run_folder)
    return [
        state.tile
        for state in states
        if state.state in {"failed", "canceled"} and (only is None or state.error_class == only)
    ]


def render(summary: Summary, outlook: Sequence[str] = ()) -> RenderableType:
    """Return the summary as it is shown on a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    total = sum(summary.counts.values())
    width = 60
    bar = Text()
    for name in reversed(STATES):
        cells = round(width * summary.counts[name] / total) if total else 0
        bar.append("█" * cells if name != "not started" else "░" * cells, style=_COLOURS[name])
    line = Text()
    for name in STATES:
        if summary.counts[name]:
            line.append(f"{summary.counts[name]} {name}   ", style=_COLOURS[name])
    facts = []
    if summary.rate and summary.live:
        facts.append(f"{summary.rate:,.0f} tiles/h")
    if summary.left and not outlook:
        facts.append(f"{duration(summary.left.total_seconds())} left")
    if summary.costs is not None:
        facts.append(f"cost {summary.costs:,.1f}")
    left_open = total - summary.counts["finished"]
    if left_open and not summary.live:
        facts.append("no Snakemake works on it")
    parts: list[RenderableType] = [Text(f"{summary.run}: {total} tiles", style="bold"), bar, line]
    if facts:
        parts.append(Text(", ".join(facts)))
    parts += [Text(line, style="yellow") for line in summary.waits]
    parts += [Text(line, style="bold red" if line.startswith("warning") else "") for line in outlook]
    if summary.failures:
        table = Table(box=None, padding=(0, 2, 0, 0), title="failed", title_justify="left")
        table.add_column("tiles", justify="right")
        table.add_column("class")
        table.add_column("why (one example)", overflow="fold")
        for failure in summary.failures:
            reason = f"{failure.example} [{failure.tiles[0]}]"
            table.add_row(str(len(failure.tiles)), failure.error_class, Text(reason))
        parts.append(table)
    return Group(*parts)


def next_steps(summary: Summary) -> list[str]:
    """Return the commands that help after failures, to be copied; none if no tile failed."""
    if not summary.failures:
        return []
    steps = [f"what helps  upscaling logs {summary.folder} {summary.failures[0].tiles[0]}"]
    if summary.live:
        return steps
    return [*steps, f"once more   upscaling retry {summary.folder}", "repaired    upscaling run CONFIG"]


def logs_of(run_folder: Path, tile: str, plan: Plan | None = None) -> Sequence[str]:
    """Return what is known of one target, line by line: state, reason, and the end of each of its logs.

    Raises
    ------
    UpscalingError
        If the run has no such target.
    """
    states = {state.tile: state for state in read_states(run_folder, plan)}
    if tile not in states:
        import difflib

        close = difflib.get_close_matches(tile, states, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UpscalingError(f"{run_folder} has no tile {tile!r}{hint}")
    state = states[tile]
    lines = [f"{tile}: {state.state}, attempt {state.attempt}, last change {state.updated or 'never'}"]
    if state.job_id:
        lines.append(f"job {state.job_id}" + (f", cost {state.costs:g}" if state.costs is not None else ""))
    if state.error:
        lines.append(f"{state.error_class}: {state.error}" if state.error_class else state.error)
    if state.error_class in REMEDIES:
        lines.append(f"what helps: {REMEDIES[ErrorClass(state.error_class)].remedy.replace('`', '')}")
    found = sorted((run_folder / "logs").glob(f"{tile}.*log")) + sorted((run_folder / "logs").glob(f"{tile}.log"))
    for log in dict.fromkeys(found):
        if (outside := link_out(log, log.parent)) is not None:
            lines += ["", f"--- {log} is a link to {outside}, outside the run's folder"]
            continue
        content = log.read_text(errors="replace").splitlines()
        if content:
            lines += ["", f"--- {log} ({len(content)} lines)", *content[-_TAIL:]]
    return lines
