"""``upscaling init``: a new project, by questions or by options."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from upscaling.errors import ConfigError, UpscalingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upscaling.cli.scaffold import Wishes

__all__ = ["add_init"]


def add_init(app: typer.Typer) -> None:
    """Add the command to the command line."""

    @app.command()
    def init(
        *,
        name: Annotated[str, typer.Argument(help="Name of the run, and of the new folder.", show_default=False)],
        algorithm: Annotated[str | None, typer.Option(help="UDP, package, record, or a process's address.")] = None,
        catalogue: Annotated[str | None, typer.Option(help="Folder or URL of the catalogue that has the id.")] = None,
        area: Annotated[str | None, typer.Option(help="Vector file, WKT, or w,s,e,n in degrees.")] = None,
        grid: Annotated[str | None, typer.Option(help="As listed by `upscaling grids`.")] = None,
        time: Annotated[str | None, typer.Option(help="START/END, e.g. 2024-01-01/2025-01-01.")] = None,
        step: Annotated[str | None, typer.Option(help="One job per tile and step, e.g. month.")] = None,
        platform: Annotated[str | None, typer.Option(help="Address of the openEO or OGC API platform.")] = None,
        auth: Annotated[str | None, typer.Option(help="How to log in: oidc, basic, bearer or none.")] = None,
        container: Annotated[str | None, typer.Option(help="For packages: docker, podman, singularity, none.")] = None,
        parameter: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be given several times.")] = None,
    ) -> None:
        """Make a new project: a configuration that fits the algorithm, a Snakefile, a README. Sends nothing.

        On a terminal what is not given is asked for.
        """
        from upscaling.cli.describe import describe
        from upscaling.cli.scaffold import Wishes, write_project
        from upscaling.config import Algorithm

        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise UpscalingError(f"{name!r} is no name: letters, digits, _ and -, and a letter or digit first")
        asked = sys.stdin.isatty()
        if algorithm is None:
            if not asked:
                raise UpscalingError("say which algorithm: --algorithm FILE, ADDRESS or ID")
            algorithm = typer.prompt("Algorithm (file, address, or id of a record)")
        facts = describe(Algorithm(source=algorithm, catalogue=catalogue))
        if facts.get("problem"):
            raise UpscalingError(f"{algorithm}: {facts['problem']}")
        if facts["kind"] == "scenarios":
            raise UpscalingError(f"{algorithm} holds benchmark scenarios, no algorithm")
        wishes = Wishes(
            name, algorithm, catalogue, area, grid or "utm-20km", _span(time, step), platform, auth, container
        )
        wishes.parameters = dict(_assignment(word) for word in parameter or [])
        if asked:
            _ask(wishes, facts, grid=grid)
        blanks = write_project(Path(name), wishes, facts)
        typer.echo(f"{name}/: config.yaml, Snakefile, README.md")
        for key in blanks:
            typer.echo(f"  to fill in: {key} in {name}/config.yaml")
        typer.echo(f"next:\n  cd {name}\n  upscaling plan config.yaml\n  upscaling run config.yaml")


def _ask(wishes: Wishes, facts: Mapping[str, Any], *, grid: str | None) -> None:
    """Ask for what was not given; an empty answer leaves it to be filled in."""
    from upscaling.cli.scaffold import inputs_of, wants_area, wants_time

    if wants_area(facts):
        wishes.area = wishes.area or _asked("Area (vector file, or w,s,e,n in degrees)")
        if grid is None:
            wishes.grid = typer.prompt("Grid (`upscaling grids` lists them)", default=wishes.grid)
    if wants_time(facts) and wishes.time is None:
        wishes.time = _span(_asked("Time, START/END"), _asked("Step (empty: one job over all of it)"))
    for entry in inputs_of(facts):
        if entry.filled_by in {"parameters", "stage_in"} and entry.name not in wishes.parameters:
            answer = _asked(f"{entry.name} ({entry.type})")
            if answer is not None:
                wishes.parameters[entry.name] = _assignment(f"{entry.name}={answer}")[1]
    named = (facts.get("record") or {}).get("service")
    if facts["kind"] == "openeo" and not named and wishes.platform is None:
        wishes.platform = _asked("Address of the platform")


def _asked(question: str) -> str | None:
    return typer.prompt(question, default="", show_default=False) or None


def _span(time: str | None, step: str | None) -> tuple[str, str, str | None] | None:
    if time is None:
        return None
    start, slash, end = time.partition("/")
    if not slash or not start or not end:
        raise ConfigError(f"{time!r} is no START/END, e.g. 2024-01-01/2025-01-01", file="--time")
    return start, end, step


def _assignment(word: str) -> tuple[str, Any]:
    from upscaling.config.values import parse_value

    name, equals, value = word.partition("=")
    if not equals or not name:
        raise ConfigError(f"{word!r} is not NAME=VALUE", file="--parameter")
    return name, parse_value(value, f"--parameter {name}")
