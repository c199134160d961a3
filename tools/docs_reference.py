"""Pages of the reference that are made from the code, so that they cannot differ from it."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

SOURCE = Path(__file__).resolve().parents[1] / "src" / "upscaling"
# folder or module of src/upscaling -> heading; what is in none of them is "Other"
HEADINGS = {
    "config": "Configuration",
    "planning": "Plan",
    "area": "Area",
    "grids": "Grids",
    "algorithms": "Algorithm",
    "binding": "Parameters of the algorithm",
    "stage_in": "STAC items as input",
    "http": "Network",
    "clients": "OGC API - Processes",
    "jobs": "Jobs",
    "backends": "Platforms and clusters",
    "execution": "Tiles",
    "results": "Results",
    "monitor": "Status, logs and report",
    "estimate": "Estimate",
    "publish": "Publication",
    "workflow": "Snakemake",
    "cwl_workflow": "The run as one CWL workflow",
    "service": "Service",
    "cli": "Command line",
    "api.py": "Python",
    "demo": "Demo",
    "local_backend": "Embedded openEO back-end",
}


def command_line() -> str:
    """Return the page of all commands, made from the command line itself."""
    from upscaling.cli.app import app

    group: Any = typer.main.get_command(app)
    lines = ["# Command line", "", "`upscaling COMMAND --help` says the same on the terminal."]
    lines += ["`upscaling --install-completion` makes your shell complete commands and options.", ""]
    lines += list(_commands(group, "upscaling", group.make_context("upscaling", [], resilient_parsing=True)))
    return "\n".join(lines)


def _commands(group: Any, words: str, context: Any) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from _commands(command, f"{words} {name}", context)
            continue
        usage = [word.replace("*", "...") for word in command.collect_usage_pieces(context)]
        yield from ["", f"## {words} {name}", "", f"```text\n{' '.join([words, name, *usage])}\n```", ""]
        yield from ["\n".join(line.strip() for line in (command.help or "").splitlines()), ""]
        rows = list(_options(command, context))
        if rows:
            yield from ["| option | default | meaning |", "| --- | --- | --- |", *rows]


def _options(command: Any, context: Any) -> Iterator[str]:
    for param in command.params:
        record = param.get_help_record(context)
        if record is None or param.name == "help":
            continue
        shown = param.default not in (None, False, ()) and not callable(param.default)
        default = f"`{param.default}`" if shown else ""
        yield f"| `{' '.join(record[0].split())}` | {default} | {(param.help or '').replace('|', chr(92) + '|')} |"


def error_classes() -> str:
    """Return the table of error classes."""
    from upscaling.jobs.remedies import REMEDIES

    rows = ["| class | cause | what happens | what you can do |", "| --- | --- | --- | --- |"]
    rows += [f"| `{name}` | {entry.cause} | {entry.policy} | {entry.remedy} |" for name, entry in REMEDIES.items()]
    return "\n".join(rows)


def messages() -> str:
    """Return every message that the code can end with, by the part that it comes from."""
    found: dict[str, set[str]] = defaultdict(set)
    names = _error_names()
    for path in sorted(SOURCE.rglob("*.py")):
        heading = HEADINGS.get(path.relative_to(SOURCE).parts[0], "Other")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names and node.args:
                found[heading].add(_message(node))
    lines: list[str] = []
    for heading in [*HEADINGS.values(), "Other"]:
        texts = sorted((text for text in found[heading] if any(sign.isalpha() for sign in text)), key=str.lower)
        if texts:
            lines += ["", f"### {heading}", "", *(f"- `{text.replace('`', chr(39))}`" for text in texts)]
    return "\n".join(lines)


def _error_names() -> set[str]:
    """Return the names of the error classes: those of errors.py, and what is derived from them anywhere."""
    classes = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    names = {"UpscalingError", "PlatformError"}
    while more := {name for name, bases in classes.items() if bases & names} - names:
        names |= more
    return names


def _message(call: ast.Call) -> str:
    key = next((word.value for word in call.keywords if word.arg == "key"), None)
    where = f"{_text(key)}: " if key is not None else ""
    return " ".join((where + _text(call.args[0])).split())


def _text(node: ast.expr) -> str:
    """Return the text of an expression, with … for what is known only when it happens."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case _:
            return "…"


def notebook(path: Path) -> str:
    """Return a notebook as a page: its text and its code (a test runs it)."""
    lines: list[str] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        lines += [text, ""] if cell["cell_type"] == "markdown" else ["```python", text, "```", ""]
    return "\n".join([*lines, f'The notebook itself: <a href="{path.name}" download>{path.name}</a>'])


def pictures(folder: Path) -> Iterator[Path]:
    """Draw the same area cut by several grids; yield the pictures."""
    from upscaling.cli.area import tiles_of
    from upscaling.grids.picture import plot_tiles

    for grid in ("utm-100km", "s2", "laea-100km", "deg-1"):
        aoi, tiles = tiles_of("9.5,46.4,17.2,49.0", grid, min_overlap=0.0)
        path = folder / f"grid-{grid}.png"
        plot_tiles(tiles, aoi, path)
        yield path
