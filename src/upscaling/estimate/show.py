"""An estimate in words: lines for a terminal, and the few of them that status and report show."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from upscaling.estimate.model import Estimate, Interval, Outlook
from upscaling.util.text import duration

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["duration", "facts_of", "outlook_lines", "render"]

_MARK = {"yes": "[green]yes[/]", "no": "[red]no[/]", "unknown": "[yellow]unknown[/]"}
_SEE = {
    "": "",
    "comparison": ": see `upscaling estimate CONFIG --compare`",
    "failures": ": `upscaling status` shows why",
}
_COLOUR = {"feasible": "green", "at risk": "yellow", "not feasible": "red"}


def amount(value: float) -> str:
    """Return a number with the digits that an estimate is worth."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def facts_of(estimate: Estimate) -> list[tuple[str, str]]:
    """Return name and value of what an estimate states, in the order of reading."""
    e, of = estimate, estimate.currency
    dimensions = " x ".join(
        f"{count:,} {name}"
        for count, name in ((e.tiles, "tiles"), (e.steps, "time steps"), (e.rows, "rows"))
        if count > (name != "tiles")
    )
    empty = f"; {e.empty:,} more have no data and are not sent" if e.empty else ""
    cost = f"unknown ({e.stated_cost})" if e.cost is None else f"{_range(e.cost, amount)} {of}"
    cost += f", {amount(e.spent)} of it spent" if e.spent else ""
    found = [
        ("jobs", f"{e.jobs:,} ({dimensions}){empty}, {e.finished:,} finished"),
        ("area", f"{amount(e.area_km2)} km² of interest, {amount(e.processed_km2)} km² processed"),
        ("cost", cost),
        ("time", "unknown" if e.seconds is None else f"{_range(e.seconds, duration)} from now, on {e.slots} slots"),
    ]
    cluster = e.cluster
    measured: list[tuple[str, Any, Callable[[Any], str]]] = [
        ("cost per km²", e.cost_per_km2, lambda cost: f"{_range(cost, amount)} {of}"),
        ("100 x 100 km", e.seconds_per_10000_km2, lambda seconds: f"{duration(seconds)} of job time"),
        ("cheapest job", e.minimum_charge, lambda charge: f"{charge:g} {of}"),
        ("failures", e.failure_rate, lambda rate: f"{_range(rate, '{:.1%}'.format)} of the attempts"),
        ("memory", e.memory_gb, lambda most: f"{most:.3g} GB, the most of a job"),
        ("result", e.result_gb, lambda size: f"{_range(size, amount)} GB"),
        ("CPU hours", cluster and cluster.cpu_hours, lambda hours: _range(hours, amount)),
        ("node hours", cluster and cluster.node_hours, lambda hours: _range(hours, amount)),
        ("queue", cluster and cluster.queue_seconds, lambda wait: f"{duration(wait)} median wait"),
    ]
    return found + [(name, in_words(value)) for name, value, in_words in measured if value is not None]


def _range(interval: Interval, in_words: Callable[[float], str]) -> str:
    return f"{in_words(interval.p50)} (p10 {in_words(interval.p10)}, p90 {in_words(interval.p90)})"


def outlook_lines(estimate: Estimate) -> list[str]:
    """Return the estimate in the few lines that status and report show."""
    lines = []
    known = {name: value for name, value in facts_of(estimate) if name in {"cost", "time"}}
    for name, value in known.items():
        if not value.startswith("unknown"):
            lines.append(f"{name}: {value}")
    lines += [f"{name}: {_in_words(name, outlook, estimate)}" for name, outlook in _limits(estimate)]
    if lines:
        lines.append(f"estimate from {estimate.rests_on[0]}" if estimate.rests_on else "rough estimate")
    return lines + [f"warning: {line}" for line in estimate.warnings]


def _limits(estimate: Estimate) -> list[tuple[str, Outlook]]:
    both = (("deadline", estimate.deadline), ("budget", estimate.budget))
    return [(name, outlook) for name, outlook in both if outlook is not None]


def _in_words(name: str, outlook: Outlook, estimate: Estimate) -> str:
    limit = duration(outlook.limit) if name == "deadline" else f"{amount(outlook.limit)} {estimate.currency}"
    # Of a run that a check refuses: the numbers alone.
    word = "" if estimate.verdict_reasons else f"{outlook.verdict}, "
    return f"{word}kept with a probability of {outlook.probability:.0%} ({limit})"


def render(estimate: Estimate) -> RenderableType:
    """Return an estimate for a terminal."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    title = f"{estimate.run}: {estimate.algorithm} on {estimate.platform}"
    parts: list[RenderableType] = [Text(title, style="bold")]
    numbers = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in facts_of(estimate):
        numbers.add_row(name, escape(value))
    for name, outlook in _limits(estimate):
        colour = _COLOUR[outlook.verdict]
        words = escape(_in_words(name, outlook, estimate))
        numbers.add_row(name, words if estimate.verdict_reasons else f"[{colour}]{words}[/]")
    if estimate.verdict is None:
        word = "rough: no verdict without a pilot" if estimate.basis == "rough" else "none yet"
        hint = "too few finished jobs" if estimate.basis == "pilot" else "`upscaling estimate CONFIG --pilot`"
        numbers.add_row("verdict", f"{word} ({hint})")
    else:
        numbers.add_row("verdict", f"[{_COLOUR[estimate.verdict]}]{estimate.verdict}[/]")
        for line in estimate.verdict_reasons:
            numbers.add_row("", escape(line))
    parts.append(numbers)
    parts += [Text(f"from {estimate.basis}:", style="bold"), *(Text(f"  {line}") for line in estimate.rests_on)]
    if estimate.checks:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title="possible?", title_justify="left")
        for check in estimate.checks:
            key = f" [dim]({escape(check.key)})[/]" if check.answer == "no" and check.key else ""
            table.add_row(check.name, _MARK[check.answer], f"{escape(check.text)}{key}")
        parts.append(table)
    if estimate.advice:
        parts.append(Text("advice:", style="bold"))
        for entry in estimate.advice:
            key = f" ({entry.key})" if entry.key else ""
            parts.append(Text(f"  {entry.text}{key}{_SEE[entry.see]}"))
    return Group(*parts)
