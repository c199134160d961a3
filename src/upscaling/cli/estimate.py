"""``upscaling estimate`` and ``upscaling requirements``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from upscaling.cli.runs import Results
from upscaling.errors import UpscalingError

if TYPE_CHECKING:
    from upscaling.config import Config
    from upscaling.estimate.model import Estimate

__all__ = ["add_commands"]

_Form = Annotated[Path, typer.Argument(help="Requirements (YAML or JSON).", show_default=False)]


def add_commands(app: typer.Typer, load: Callable[[list[Path]], Config]) -> None:
    """Add them to the command line; ``load`` reads a configuration."""

    @app.command()
    def estimate(
        *,
        run: Annotated[
            list[str],
            typer.Argument(
                metavar="CONFIG... [K]",
                help="Configuration files, or a run's folder; with --pilot also the number of pilot jobs.",
                show_default=False,
            ),
        ],
        pilot: Annotated[
            bool, typer.Option("--pilot", help="Run K (12) real jobs first; they count for the run.")
        ] = False,
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the pilot is paid.")] = False,
        compare: Annotated[bool, typer.Option("--compare", help="Compare the platforms that offer it.")] = False,
        platform: Annotated[list[str] | None, typer.Option(help="Another platform to compare: its address.")] = None,
        benchmarks: Annotated[list[Path] | None, typer.Option(help="Published benchmarks (Parquet).")] = None,
        offline: Annotated[bool, typer.Option("--offline", help="Ask no platform anything.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
        results: Results = None,
        cluster: Annotated[bool, typer.Option("--cluster", help="Pilot jobs of packages as SLURM jobs.")] = False,
    ) -> None:
        """Say what a run costs, when it is done, and whether it is possible; submits nothing without --pilot."""
        from upscaling.estimate.run import estimate_run

        jobs = int(run.pop()) if pilot and len(run) > 1 and run[-1].isdigit() else None
        paths = [Path(name) for name in run]
        what: Config | Path = paths[0] if len(paths) == 1 and paths[0].is_dir() else load(paths)
        if compare:
            _compare(what, platform or [], results=results, benchmarks=benchmarks or [], as_json=as_json)
            return
        if pilot:
            from upscaling.estimate.pilot import CLASSES

            settings = _config_of(what)
            _pilot(settings, jobs or CLASSES, yes=yes, results=results, cluster=cluster)
        found = estimate_run(what, results=results, benchmarks=benchmarks or [], ask=not offline)
        _show(found, as_json=as_json)

    add_requirements(app)


def _config_of(what: Config | Path) -> Config:
    from upscaling.planning.plan import kept_config

    return kept_config(what) if isinstance(what, Path) else what


def _show(found: Estimate, *, as_json: bool) -> None:
    from rich.console import Console

    from upscaling.estimate.show import render

    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        Console(highlight=False).print(render(found))
    if found.possible == "no":
        raise typer.Exit(1)


def _compare(
    what: Config | Path, platforms: list[str], *, results: Path | None, benchmarks: list[Path], as_json: bool
) -> None:
    import json

    from rich.console import Console

    from upscaling.estimate.compare import compare_platforms, render_platforms

    rows = compare_platforms(_config_of(what), platforms, results=results, benchmarks=benchmarks)
    if as_json:
        typer.echo(json.dumps([row.model_dump() for row in rows], indent=2))
    else:
        Console(highlight=False).print(render_platforms(rows))


def _pilot(config: Config, jobs: int, *, yes: bool, results: Path | None, cluster: bool) -> None:
    """Run the pilot, after a word on the most that it can cost; a pilot that is done is not run again."""
    from upscaling.estimate.pilot import ensure_pilot, most_cost, pilot_files
    from upscaling.estimate.run import estimate_run, known_of
    from upscaling.planning.ensure import ensure_plan
    from upscaling.planning.plan import keep_config
    from upscaling.util.process import run_in_front
    from upscaling.workflow.launch import snakemake_command

    folder = config.folder(results)
    ensure_plan(config, folder, say=lambda line: typer.echo(line, err=True))
    keep_config(config, folder)
    before = estimate_run(config, results=results)
    refused = [check for check in before.checks if check.answer == "no"]
    if refused:
        lines = "; ".join(f"{check.name}: {check.text}" for check in refused)
        raise UpscalingError(f"nothing was sent: {lines}")
    known = known_of(config, results=results)
    targets = ensure_pilot(known, jobs)
    finished = known.jobs.finished if known.jobs else [False] * len(known.work.ids)
    done = {target for target, state in zip(known.work.ids, finished, strict=True) if state}
    left = [target for target in targets if target not in done]
    if not left:
        typer.echo(f"all {len(targets)} pilot jobs are done", err=True)
        return
    most, why = most_cost(known, left)
    price = "what they cost is not known" if most is None else f"they cost at most about {most:,.4g} {before.currency}"
    typer.echo(f"{len(left)} pilot jobs of the run; {price} ({why})", err=True)
    if not yes and not typer.confirm("Run them?", err=True):
        raise UpscalingError("nothing was sent")
    file, items = pilot_files(config, folder, left)
    if run_in_front(snakemake_command([file], targets=items, cluster=cluster)):
        typer.echo("not all pilot jobs ended well; see `upscaling status`", err=True)


def add_requirements(app: typer.Typer) -> None:
    """Add the commands below ``upscaling requirements`` to the command line."""
    group = typer.Typer(no_args_is_help=True, help="What a project wants of an upscaling, as one structured form.")
    app.add_typer(group, name="requirements")

    @group.command()
    def new(file: Annotated[Path, typer.Argument(help="File to write.")] = Path("requirements.yaml")) -> None:
        """Write an empty form, with a comment on every field."""
        from upscaling.estimate.requirements import form

        if file.exists():
            raise UpscalingError(f"{file} is there already; name another file")
        file.write_text(form(), encoding="utf-8")
        typer.echo(f"{file}: fill it in, then `upscaling requirements check {file}`")

    @group.command()
    def check(
        file: _Form,
        offline: Annotated[bool, typer.Option("--offline", help="Ask no platform anything.")] = False,
    ) -> None:
        """Check the form, and whether what is wanted is possible; submits nothing."""
        from upscaling.estimate.requirements import load_requirements, to_config
        from upscaling.estimate.run import estimate_run

        _show(estimate_run(to_config(load_requirements(file), file=file), ask=not offline), as_json=False)

    @group.command("to-config")
    def to_config_file(
        file: _Form,
        out: Annotated[Path | None, typer.Option(help="File to write; standard output when left out.")] = None,
    ) -> None:
        """Turn the form into the configuration of a run."""
        import yaml

        from upscaling.estimate.requirements import config_values, load_requirements, to_config

        wanted = load_requirements(file)
        to_config(wanted, file=file)  # what is written must be right
        text = yaml.safe_dump(config_values(wanted), sort_keys=False, allow_unicode=True, width=110)
        if out is None:
            typer.echo(text, nl=False)
        else:
            out.write_text(text, encoding="utf-8")
            typer.echo(out)

    @group.command()
    def schema(
        estimate: Annotated[bool, typer.Option("--estimate", help="Of what `upscaling estimate --json` says.")] = False,
    ) -> None:
        """Print the JSON schema of the form, or of an estimate (both are in docs/schemas)."""
        import json

        from upscaling.config.described import schema_of
        from upscaling.estimate.model import Estimate
        from upscaling.estimate.requirements import Requirements

        schema = schema_of(Estimate if estimate else Requirements)
        found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))

    @group.command()
    def report(
        file: Annotated[Path, typer.Argument(help="A filled form (YAML or JSON), or the folder of a run.")],
        out: Annotated[Path, typer.Option(help="Folder for the page.")] = Path("requirements"),
        title: Annotated[str, typer.Option(help="Title of a run's page.")] = "",
        benchmarks: Annotated[list[Path] | None, typer.Option(help="Published benchmarks (Parquet).")] = None,
        offline: Annotated[bool, typer.Option("--offline", help="Ask no platform anything.")] = False,
    ) -> None:
        """Write one page for a platform operator: map, numbers, feasibility, risks, open questions."""
        from upscaling.estimate.requirements import load_requirements
        from upscaling.estimate.requirements_page import write_page, write_run_page

        if file.is_dir():
            pages = write_run_page(file, out, title=title, ask=not offline)
        else:
            wanted = load_requirements(file)
            pages = write_page(wanted, out, file=file, benchmarks=benchmarks or [], ask=not offline)
        for path in pages:
            typer.echo(path)
