"""The facts of a service as a person reads them, in 80 columns."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from upscaling.cli.scaffold import inputs_of, wants_area, wants_time, yaml_line

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["configuration", "render"]

_KINDS = {
    "openeo": "openEO process",
    "cwl": "application package (CWL)",
    "ogcapi": "process of OGC API - Processes",
    "scenarios": "benchmark scenarios",
}
_LONGEST_DEFAULT, _LONGEST_TEXT = 44, 400


def render(facts: Mapping[str, Any]) -> RenderableType:
    """Return what ``describe`` found, for a terminal."""
    from rich.console import Group
    from rich.text import Text

    facts = _printable(facts)
    parts: list[RenderableType] = [Text.assemble((str(facts["id"]), "bold"), f"  {_KINDS[facts['kind']]}")]
    if facts["title"] and facts["title"] != facts["id"]:
        parts.append(Text(facts["title"]))
    if facts["problem"]:
        parts.append(Text.assemble(("problem: ", "bold red"), facts["problem"]))
    about = _shortened(facts["description"])
    if about and about != facts["title"]:
        parts += [Text(), Text(about)]
    parts += [Text(), _grid(_facts(facts))]
    if facts.get("parameters"):
        parts += [Text(), _parameters(facts["parameters"])]
    if facts.get("package"):
        parts += [Text(), _inputs(facts["package"])]
    if facts.get("scenarios"):
        parts += [part for scenario in facts["scenarios"] for part in (Text(), _scenario(scenario))]
    if facts.get("notes"):
        parts += [Text(), _grid((("!", note) for note in facts["notes"]), space=1)]
    return Group(*parts)


def configuration(facts: Mapping[str, Any]) -> str:
    """Return the configuration that runs what ``describe`` found, as YAML to be copied; empty if nothing can."""
    if "missing" not in facts and not facts.get("package"):
        return ""
    return "\n".join(_configuration(_printable(facts)))


def _printable(value: Any) -> Any:
    """Return facts without control characters: definitions come from anywhere, and a terminal obeys them."""
    if isinstance(value, str):
        return "".join(character for character in value if character == "\n" or character.isprintable())
    if isinstance(value, Mapping):
        return {_printable(name): _printable(item) for name, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list | tuple) else value


def _shortened(text: str) -> str:
    """Return the beginning of a description in Markdown: whole paragraphs' words without their marks."""
    plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text.replace("\\n", "\n"))
    plain = re.sub(r"^#+\s.*$|[*`_]{2,}|`|<[^>]+>", "", plain, flags=re.MULTILINE)
    return textwrap.shorten(plain, _LONGEST_TEXT, placeholder=" …")


def _grid(rows: Iterable[tuple[str, str]], space: int = 2) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, space))
    table.add_column(style="dim" if space > 1 else "", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, Text(text))
    return table


def _record(record: Mapping[str, Any], process: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    for name in ("provider", "platform"):
        if record.get(name):
            yield name, str(record[name].get("title") or record[name]["href"])
    if process:
        yield "process", f"{process['base']}/processes/{process['id']}"
    elif record.get("service"):
        yield "service", record["service"]
    if record:
        yield "cost", _cost(record["cost"])
        kept = (record.get("license") and f"licence {record['license']}", _day(record.get("updated")))
        yield "record", ", ".join(filter(None, (record["visibility"], *kept)))


def _facts(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    record = facts["record"] or {}
    yield from _record(record, facts.get("process"))
    yield "read from", facts["read_from"]
    if record.get("application") and record["application"] != facts["read_from"]:
        yield "linked as", record["application"]
    if facts["floats"]:
        yield "version", f"floats: the link follows {facts['floats']!r}; a plan keeps a copy and its sha256"
    if facts.get("sha256"):
        yield "sha256", facts["sha256"]
    if facts.get("outputs"):
        yield "outputs", ", ".join(facts["outputs"])
    if facts.get("collections"):
        yield "loads", ", ".join(facts["collections"])
    if "saves_result" in facts:
        yield "result", "ends in save_result" if facts["saves_result"] else "save_result is added (output_format)"
    if facts.get("job_options"):
        yield "job options", ", ".join(f"{name} {_value(value)}" for name, value in facts["job_options"].items())
    if facts.get("package"):
        yield from _package(facts["package"])


def _day(updated: Any) -> str:
    return f"updated {str(updated)[:10]}" if updated else ""


def _cost(cost: Mapping[str, Any]) -> str:
    if cost["estimate"] is None:
        return "not stated"
    unit = str(cost["unit"] or "(no unit stated)").rstrip(".")
    words = f"{cost['estimate']:g} {unit}"
    # Measured over 197 benchmark runs: 2 to 4 credits per batch job, whatever its area.
    return f"{words}, and a few credits per job however small its tile" if "credits per km" in unit else words


def _package(package: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if package["version"]:
        yield "version", package["version"]
    yield "outputs", ", ".join(f"{name}: {kind}" for name, kind in package["outputs"].items())
    for name, tool in package["tools"].items():
        needs = ", ".join(f"{key} {value}" for key, value in tool["resources"].items())
        yield f"tool {name}", f"{' '.join(map(str, tool['command']))}{f' ({needs})' if needs else ''}"
    required = set(package["images_required"])
    images = (f"{image}{' (required)' if image in required else ''}" for image in package["images"])
    yield "images", ", ".join(images) or "none"
    yield "JavaScript", "needed (node)" if package["javascript"] else "not needed"
    if package["scatters"]:
        yield "scatters over", ", ".join(package["scatters"])
    yield "requires", ", ".join(package["requirements"]) or "nothing"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_DEFAULT else f"{text[: _LONGEST_DEFAULT - 1]}…"


def _table(widths: Mapping[str, int | None]) -> Table:
    """Return a table with these columns: heading -> most characters, or None."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for heading, width in widths.items():
        table.add_column(heading, overflow="fold", max_width=width)
    return table


def _parameters(entries: list[dict[str, Any]]) -> RenderableType:
    from rich.text import Text

    table = _table({"parameter": 22, "filled by": 24, "type, default, meaning": None})
    for entry in entries:
        by = {
            "tile": Text(f"tile: {entry['becomes']}", style="green"),
            "time step": Text(f"time step: {entry['becomes']}", style="cyan"),
            "parameters": Text("you (required)", style="bold yellow"),
            "default": Text("default, or you", style="dim"),
        }[entry["filled_by"]]
        if entry["filled_by"] == "time step":
            by.append(", or you" if entry["required"] else ", you or default")
        meaning = Text(_limited(entry["type"], 120))
        if not entry["required"]:
            meaning.append(f"; default {_value(entry['default'])}", style="dim")
        if entry["description"]:
            longest = 150 if entry["filled_by"] in {"parameters", "default"} else 80
            meaning.append(f"\n{_limited(entry['description'], longest)}", style="italic")
        table.add_row(Text(entry["name"]), by, meaning)
    return table


def _limited(text: str, longest: int) -> str:
    return textwrap.shorten(text, longest, placeholder=" …")


def _inputs(package: Mapping[str, Any]) -> RenderableType:
    from rich.text import Text

    table = _table({"input": 24, "filled by": 20, "type": None, "default": None})
    styles = {"missing": "bold yellow", "left out": "dim", "default": "dim"}
    for name, entry in package["inputs"].items():
        source = "you (required)" if entry["from"] == "missing" else entry["from"]
        if entry["stage_in"] and entry["from"] in {"missing", "left out"}:
            source = f"stage_in: {entry['stage_in']}; or you"
        if entry["step"] and entry["from"] in {"missing", "left out"}:
            source = f"time step ({entry['step']}); or you"
        by = Text(source, style=styles.get(entry["from"], "green"))
        default = "" if entry["default"] is None else _value(entry["default"])
        table.add_row(Text(name), by, Text(entry["type"]), Text(default))
    return table


def _scenario(scenario: Mapping[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    verdict = Text.assemble(("arguments not accepted: ", "bold red"), scenario["problem"] or "")
    rows = [("calls", f"{scenario['process']} of {scenario['namespace']}"), ("platform", str(scenario["platform"]))]
    rows += [(name, _value(value)) for name, value in scenario["arguments"].items()]
    return Group(
        Text(scenario["id"], style="bold"),
        verdict if scenario["problem"] else Text("arguments accepted", style="green"),
        _grid(rows),
    )


def _configuration(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a configuration that lacks only what the user knows."""
    yield "  run: my-run"
    yield "  algorithm:"
    yield f"    source: {yaml_line(facts['source'])}"
    if facts["catalogue"]:
        yield f"    catalogue: {yaml_line(facts['catalogue'])}"
    package, entries = facts.get("package"), inputs_of(facts)
    wanted = [entry for entry in entries if entry.filled_by == "parameters"]
    staged = [entry.name for entry in entries if entry.filled_by == "stage_in"]
    if wanted:
        yield "    parameters:"
        yield from (f"      {yaml_line(entry.name)}:  # {_limited(entry.type, 50)}" for entry in wanted)
    if not facts.get("saves_result", True) and len(facts["saved_as"]) == 1:
        yield f"    output_format: {facts['saved_as'][0]}"
    if package or wants_area(facts):
        yield "  area: {aoi: area.geojson, grid: utm-20km}"
    else:
        name = next((entry.name for entry in entries), "…")
        yield f"  for_each: {{parameters: {{{yaml_line(name)}: […]}}}}"
    if staged:
        yield "  stage_in:"
        for name in staged:
            yield f"  {'- ' if len(staged) > 1 else '  '}catalogue: https://…  # a STAC API, a catalogue or GeoParquet"
            yield "    collections: […]"
            yield "    time: [2024-01-01, 2025-01-01]"
            yield from (f"    input: {yaml_line(name)}" for _ in staged[1:2])
    if wants_time(facts):
        yield "  time: {start: 2024-01-01, end: 2025-01-01, step: month}"
    if package or facts["kind"] == "ogcapi":
        yield f"  backend: {{kind: {facts['kind']}}}"
        return
    # A record names its platform: that address counts where the configuration has none.
    named = (facts["record"] or {}).get("service")
    yield "  backend: {kind: openeo, auth: oidc}" if named else "  backend: {kind: openeo, url: https://…, auth: oidc}"
