"""``upscaling init``: a new project, by questions or by options."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from upscaling.errors import ConfigError, UpscalingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
        for option, value, check in (("--area", area, _check_area), ("--grid", grid, _check_grid)):
            if value is not None:
                try:
                    check(value)
                except ConfigError as error:
                    where = f"{error.file}: " if error.file else ""
                    raise ConfigError(where + error.message, file=option) from None
        wishes = Wishes(
            name, algorithm, catalogue, area, grid or "utm-20km", _span(time, step), platform, auth, container
        )
        wishes.parameters = dict(_assignment(word) for word in parameter or [])
        _refuse_unused(wishes, facts, step=step, grid=grid)
        _check_backend(wishes, facts)
        if asked:
            _ask(wishes, facts, grid=grid)
        blanks = write_project(Path(name), wishes, facts)
        typer.echo(f"{name}/: config.yaml, Snakefile, README.md")
        for key in blanks:
            typer.echo(f"  to fill in: {key} in {name}/config.yaml")
        typer.echo(_next_steps(wishes, facts))


def _next_steps(wishes: Wishes, facts: Mapping[str, Any]) -> str:
    steps = f"next:\n  cd {wishes.name}\n  upscaling plan config.yaml\n  upscaling run config.yaml"
    if facts["kind"] == "openeo" and "://127.0.0.1" in (wishes.platform or ""):
        steps += "\n  or, while no back-end runs there: upscaling demo --config config.yaml --folder ../.demo"
    return steps


def _refuse_unused(wishes: Wishes, facts: Mapping[str, Any], *, step: str | None, grid: str | None) -> None:
    """Raise if an option is given that the algorithm has no use for."""
    from upscaling.cli.scaffold import wants_area, wants_time

    package, name = "package" in facts, facts["id"]
    area, time = wants_area(facts), wants_time(facts)
    for option, given, used, why in (
        ("--step", step and wishes.time is None, False, "it belongs to --time START/END"),
        ("--time", wishes.time, time, f"{name} takes no dates; leave it out"),
        ("--area", wishes.area, area, f"{name} takes no area; leave it out"),
        ("--grid", grid, area, f"{name} takes no area; leave it out"),
        ("--platform", wishes.platform, not package, "a package runs here or on a cluster; leave it out"),
        ("--auth", wishes.auth, not package, "a package runs here or on a cluster; leave it out"),
        ("--container", wishes.container, package, "it is for application packages; leave it out"),
    ):
        if given and not used:
            raise ConfigError(why, file=option)


def _check_backend(wishes: Wishes, facts: Mapping[str, Any]) -> None:
    """Raise if no configuration can say this of its platform."""
    from upscaling.cli.scaffold import kind_of
    from upscaling.config import Config

    said = {"url": wishes.platform, "auth": wishes.auth, "container": wishes.container}
    backend = {"kind": kind_of(facts), **{key: value for key, value in said.items() if value is not None}}
    rest = {"run": wishes.name, "algorithm": {"source": wishes.source}, "area": {"aoi": [0, 0, 1, 1]}}
    try:
        Config.parse({**rest, "backend": backend})
    except ConfigError as error:
        option = {"backend.url": "--platform", "backend.auth": "--auth", "backend.container": "--container"}
        raise ConfigError(error.message, file=option.get(error.key or "", error.key)) from None


def _ask(wishes: Wishes, facts: Mapping[str, Any], *, grid: str | None) -> None:
    """Ask for what was not given; an empty answer leaves it to be filled in."""
    from upscaling.cli.scaffold import inputs_of, wants_area, wants_time

    if wants_area(facts):
        wishes.area = wishes.area or _asked("Area (vector file, or w,s,e,n in degrees)", _check_area)
        if grid is None:
            wishes.grid = _asked("Grid (`upscaling grids` lists them)", _check_grid, wishes.grid) or wishes.grid
    if wants_time(facts) and wishes.time is None:
        time = _asked("Time, START/END", _span)
        if time is not None:
            step = _asked("Step, e.g. month (empty: one job over all of it)", lambda step: _span(time, step))
            wishes.time = _span(time, step)
    for entry in inputs_of(facts):
        if entry.filled_by in {"parameters", "stage_in"} and entry.name not in wishes.parameters:
            prefix = f"{entry.name}="
            answer = _asked(f"{entry.name} ({entry.type})", lambda answer: _assignment(prefix + answer))  # noqa: B023 -- at once
            if answer is not None:
                wishes.parameters[entry.name] = _assignment(f"{entry.name}={answer}")[1]
    named = (facts.get("record") or {}).get("service")
    if facts["kind"] == "openeo" and not named and wishes.platform is None:
        wishes.platform = _asked(
            "Address of the platform", lambda answer: _check_backend(replace(wishes, platform=answer), facts)
        )


def _asked(question: str, check: Callable[[str], object] = str, default: str = "") -> str | None:
    """Return the answer, None for an empty one; ask again as long as ``check`` refuses it."""
    while True:
        answer = typer.prompt(question, default=default, show_default=bool(default))
        try:
            if answer:
                check(answer)
        except ConfigError as error:
            typer.echo(f"  {error.message}")
            continue
        return answer or None


def _check_area(area: str) -> None:
    from upscaling.area.aoi import read_aoi
    from upscaling.cli.scaffold import area_value

    read_aoi(area_value(area, Path()))


def _check_grid(grid: str) -> None:
    from upscaling.grids import get_grid

    if grid not in {"file", "none"}:
        get_grid(grid)


def _span(time: str | None, step: str | None = None) -> tuple[str, str, str | None] | None:
    from upscaling.config import Time
    from upscaling.planning.dimensions import time_steps

    if time is None:
        return None
    start, slash, end = time.partition("/")
    if not slash or not start or not end:
        raise ConfigError(f"{time!r} is no START/END, e.g. 2024-01-01/2025-01-01", file="--time")
    wanted = {"intervals": [(start, end)]} if step is None else {"start": start, "end": end, "step": step}
    try:
        time_steps(Time.model_validate(wanted))
    except ConfigError as error:
        raise ConfigError(error.message, file="--step" if error.key == "time.step" else "--time") from None
    return start, end, step


def _assignment(word: str) -> tuple[str, Any]:
    from upscaling.config.values import parse_value

    name, equals, value = word.partition("=")
    if not equals or not name:
        raise ConfigError(f"{word!r} is not NAME=VALUE", file="--parameter")
    return name, parse_value(value, f"--parameter {name}")
