"""``upscaling``: everything the rules do, without Snakemake, and the tools around a run."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from upscaling.cli.estimate import add_commands as add_estimate_commands
from upscaling.cli.init import add_init
from upscaling.cli.packages import add_commands
from upscaling.cli.runs import ConfigFile, Results, RunFolder, add_run_commands
from upscaling.cli.serve import serve
from upscaling.errors import ConfigError, PlatformError, UpscalingError, refused_by_machine
from upscaling.util.text import redact

if TYPE_CHECKING:
    from typer.models import CommandInfo, TyperInfo

    from upscaling.config import Config

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_loaded: list[Config] = []  # the configuration of this call, for messages


def _load(paths: list[Path]) -> Config:
    from upscaling.config import load_config

    _loaded.append(load_config(*paths))
    for notice in _loaded[-1].notices:
        typer.echo(f"note: {notice}", err=True)
    return _loaded[-1]


# `upscaling --help`: the commands in the order in which they are needed
_PANELS = {
    "Begin": ("demo", "describe", "grids", "tiles", "init", "requirements"),
    "Run": ("plan", "check", "estimate", "run", "status", "logs", "retry", "cancel", "clean"),
    "Results": ("view", "report", "validate", "publish"),
    "Servers": ("serve", "local-backend"),
    "Parts of a run, and development": ("pull", "run-tile", "collect", "cwl", "config-files"),
}


def _into_panels() -> None:
    panels = {name: panel for panel, names in _PANELS.items() for name in names}
    entries: list[CommandInfo | TyperInfo] = [*app.registered_commands, *app.registered_groups]
    for entry in entries:
        entry.rich_help_panel = panels.get(_name_of(entry))
    order = [*panels, ""]
    app.registered_commands.sort(key=lambda entry: order.index(_name_of(entry) if _name_of(entry) in panels else ""))


def _name_of(entry: CommandInfo | TyperInfo) -> str:
    return str(entry.name or getattr(entry.callback, "__name__", ""))


def _show_version(wanted: bool) -> None:
    if wanted:
        from upscaling import __version__

        typer.echo(f"eo-upscaling {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take an Earth-observation algorithm from one small area to a country, a continent or ten years."""


def main() -> None:
    """Run the command line; whatever the package refuses ends in one line and exit status 1."""
    try:
        app()
    except (PlatformError, UpscalingError) as error:
        named = _loaded[-1].sources.named(error) if _loaded and isinstance(error, ConfigError) else error
        sys.stderr.write(f"error: {redact(str(named))}\n")
        raise SystemExit(1) from None
    except Exception as error:
        refused = refused_by_machine(error)
        if refused is None:
            raise
        sys.stderr.write(f"error: {refused}\n")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        sys.stderr.write("stopped; remote jobs go on and are found again by the next run\n")
        raise SystemExit(130) from None


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def run(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="Configuration file (YAML).", show_default=False)],
    cluster: Annotated[bool, typer.Option("--cluster", help="Tiles of packages as SLURM jobs.")] = False,
) -> None:
    """Run a configuration: Snakemake with the workflow and profile of this installation. Run it again to continue.

    More configuration files, targets and any options of Snakemake may follow, e.g. `upscaling run my.yaml -n`.
    """
    from upscaling.util.process import run_in_front
    from upscaling.workflow.launch import snakemake_command, what_to_open

    words = [str(config), *context.args]
    first = next((number for number, word in enumerate(words) if word.startswith("-")), len(words))
    before, options = words[:first], words[first:]
    files = [Path(word) for word in before if Path(word).suffix in {".yaml", ".yml", ".json"}]
    targets = [word for word in before if Path(word) not in files]
    settings = _load(files or [config])
    command = snakemake_command(files, options, targets=targets, cluster=cluster)
    typer.echo(shlex.join(command))
    status = run_in_front(command)
    if status == 0 and (settings.folder() / "report.html").is_file() and not {"-n", "--dry-run"} & set(options):
        typer.echo("\n" + "\n".join(what_to_open(settings.folder())))
    raise SystemExit(status)


@app.command()
def plan(
    config: ConfigFile,
    results: Results = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the tiles over the area: a PNG file.")] = None,
) -> None:
    """Make the plan of a run anew: pin the algorithm, choose the tiles, bind their parameters. Sends nothing.

    The other commands take the plan that is there as long as configuration and local files are the same; this one also
    reads addresses again. The plan of a run that is under way stays.
    """
    from upscaling.cli.area import plan_in_words, plot_plan, progress_in_words
    from upscaling.planning.make import make_plan

    settings = _load(config)
    run_folder = settings.folder(results)
    made = make_plan(settings, run_folder, say=typer.echo)
    typer.echo(plan_in_words(made))
    if words := progress_in_words(made, run_folder):
        typer.echo(words)
    if plot is not None:
        plot_plan(settings, made, plot)


@app.command()
def check(config: ConfigFile, results: Results = None) -> None:
    """Make the plan if need be, and see that the platform is there, lets us in and can run it. Submits nothing."""
    from upscaling.execution.tile import check_run, finish_run
    from upscaling.planning.ensure import ensure_plan
    from upscaling.planning.plan import keep_config

    settings = _load(config)
    run_folder = settings.folder(results)
    made = ensure_plan(settings, run_folder, say=typer.echo)
    keep_config(settings, run_folder)
    check_run(settings, run_folder, made)
    finish_run(settings, run_folder)
    typer.echo(f"{settings.backend.kind} back-end: ready")


@app.command("run-tile")
def run_tile(
    run: RunFolder,
    tile: Annotated[str, typer.Argument(help="A target of the plan: a tile, or a tile and its other coordinates.")],
    log: Annotated[Path | None, typer.Option(help="Log file; standard error when left out.")] = None,
    key: Annotated[str | None, typer.Option(help="Key of the work; it is not run if the plan says another.")] = None,
) -> None:
    """Run one tile: submit it or attach to its job, wait, fetch, check, and write its item."""
    from upscaling.execution.alone import run_alone
    from upscaling.workflow.hooks import logged

    with logged(str(log) if log else None, f"tile {tile}"):
        run_alone(run, tile, key)


@app.command()
def collect(
    config: ConfigFile,
    results: Results = None,
    partial: Annotated[bool, typer.Option("--partial", help="Gather the tiles that are done.")] = False,
) -> None:
    """Gather the tiles of a run into its STAC collection."""
    from upscaling.results.gather import by_reason, gather

    settings = _load(config)
    summary = gather(config=settings, run_folder=settings.folder(results), partial=partial)
    for line in by_reason(summary.missing):
        typer.echo(f"missing: {line}", err=True)
    for problem in summary.problems:
        typer.echo(f"problem: {problem}", err=True)
    typer.echo(f"{summary.collection}: {summary.items} items")


@app.command()
def validate(
    collection: Annotated[Path, typer.Argument(help="A collection.json, or the folder of a run.", show_default=False)],
    schemas: Annotated[Path | None, typer.Option(help="Folder of JSON schemas of STAC extensions.")] = None,
    prr: Annotated[bool, typer.Option("--prr", help="Ask for all that ESA's PRR requires.")] = False,
) -> None:
    """Validate a collection and all its items against STAC 1.1 and APEx's recommendations, without a network.

    Extensions are checked against the schemas of a folder, if one is given.
    """
    from upscaling.results.validate import validate_collection

    if collection.is_dir():
        collection /= "collection.json"
    problems = validate_collection(collection, schemas, prr=prr, content=True)
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise UpscalingError(f"{collection}: {len(problems)} problems")
    typer.echo(f"{collection}: valid")


@app.command()
def describe(
    source: Annotated[str, typer.Argument(help="A UDP, a CWL package (file#id), a record, or a record's id.")],
    catalogue: Annotated[str | None, typer.Option(help="Folder or URL of the catalogue that has the id.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show what a service is, needs and costs, and what a tile becomes for it. Sends nothing."""
    import json

    from rich.console import Console

    from upscaling.cli.describe import configuration, render
    from upscaling.cli.describe import describe as describe_source
    from upscaling.config import Algorithm

    facts = describe_source(Algorithm(source=source, catalogue=catalogue))
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        console = Console(highlight=False)
        console.print(render(facts))
        if lines := configuration(facts):
            console.print("\n[bold]To run it[/bold]")
            typer.echo(lines)  # to be copied: whole, however narrow the console is


@app.command()
def publish(
    config: ConfigFile,
    results: Results = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Also a run of which tiles are missing.")] = False,
) -> None:
    """Publish a run's collection to S3 and a STAC API, as the configuration's block `publish` says."""
    from upscaling.publish import publish as send

    settings = _load(config)
    send(settings, settings.folder(results), dry_run=dry_run, partial=partial, say=typer.echo)


@app.command()
def report(run: RunFolder) -> None:
    """Write the report of a run as it stands now."""
    from upscaling.estimate.outlook import outlook_of
    from upscaling.monitor.report import write_report
    from upscaling.results.shapes import read_mosaics

    page = write_report(run, outlook_of(run))
    read_mosaics(run, lambda problem: typer.echo(f"problem: {problem}", err=True))
    typer.echo(page)


@app.command()
def view(run: RunFolder, port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0: any.")] = 8780) -> None:
    """Serve a run on this machine for a browser, QGIS or a STAC Browser, until Ctrl-C."""
    from upscaling.monitor.view import serve

    serve(run, port=port, say=typer.echo)


@app.command()
def grids() -> None:
    """List the grids that can be laid over an area."""
    from rich.console import Console

    from upscaling.cli.area import grid_table

    Console().print(grid_table())


@app.command(context_settings={"ignore_unknown_options": True})  # an area may begin with a minus
def tiles(
    area: Annotated[str, typer.Argument(metavar="AOI", help="Vector file, WKT, w,s,e,n in degrees, or - for GeoJSON.")],
    grid: Annotated[str, typer.Option(help="As listed by `upscaling grids`.")] = "utm-20km",
    min_overlap: Annotated[float, typer.Option(help="Least share of a tile that must lie in the area.")] = 0.0,
    out: Annotated[Path | None, typer.Option(help="Write them: .parquet, .fgb, .gpkg or .geojson.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them over the area: a PNG file.")] = None,
) -> None:
    """Show the tiles of a grid over an area: counts, area, zones, what was dropped, and a small map."""
    from upscaling.cli.area import tiles_of, write_tiles
    from upscaling.grids.picture import plot_tiles
    from upscaling.grids.summary import describe_tiles

    aoi, table = tiles_of(area, grid, min_overlap=min_overlap)
    typer.echo(describe_tiles(table, aoi))
    if out is not None:
        write_tiles(table, out)
    if plot is not None:
        plot_tiles(table, aoi, plot)


@app.command("config-files")
def config_files(
    check_only: Annotated[bool, typer.Option("--check", help="Only say whether they are up to date.")] = False,
) -> None:
    """Write config/config.yaml, config/README.md and the JSON schema from the model (for developers)."""
    from upscaling.cli.config_files import drifted, write_all

    if check_only:
        for path in drifted(Path.cwd()):
            raise UpscalingError(f"{path} differs from the model: run `upscaling config-files`")
    else:
        write_all(Path.cwd())


@app.command("local-backend")
def local_backend(
    *,
    data: Annotated[Path, typer.Option(help="collections.yaml, or a local STAC catalogue or collection.")],
    root: Annotated[Path, typer.Option(help="Folder for jobs and their results.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8787,
    slots: Annotated[int, typer.Option(min=1, help="Jobs at the same time.")] = 2,
    udf: Annotated[bool, typer.Option("--udf", help="Run the Python UDFs of jobs, with my rights.")] = False,
    oidc: Annotated[
        str | None, typer.Option(metavar="ISSUER", help="Take the tokens of this OpenID provider's users too.")
    ] = None,
    oidc_client: Annotated[
        str | None, typer.Option(metavar="ID", help="Its client, for log-ins by device code.")
    ] = None,
    simulate: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="MIN MAX", help="For load tests: jobs take MIN to MAX seconds and give rasters of ones."),
    ] = None,
    simulate_costs: Annotated[
        tuple[float, float, int] | None,
        typer.Option(metavar="FLOOR PER_KM2 SEED", help="What simulated jobs cost: a floor, an area term, a world."),
    ] = None,
) -> None:
    """Serve the embedded openEO back-end. User and password: OPENEO_LOCAL_USER and OPENEO_LOCAL_PASSWORD."""
    from upscaling.util.extras import require_local

    require_local()
    from upscaling.local_backend.server import serve

    user, password = os.environ.get("OPENEO_LOCAL_USER"), os.environ.get("OPENEO_LOCAL_PASSWORD")
    if not user or not password:
        raise UpscalingError("set OPENEO_LOCAL_USER and OPENEO_LOCAL_PASSWORD for the user of the back-end")
    if simulate_costs is not None and simulate is None:
        raise UpscalingError("--simulate-costs belongs to --simulate")
    simulated = None if simulate is None else (*simulate, *(simulate_costs or ()))
    users, provider = {user: password}, (oidc, oidc_client) if oidc else None
    serve(data=data, root=root, port=port, slots=slots, users=users, simulate=simulated, udf=udf, provider=provider)


@app.command()
def demo(
    config: Annotated[Path, typer.Option(help="Its configuration; written if absent.")] = Path("config/config.yaml"),
    folder: Annotated[Path, typer.Option(help="Folder for demo data and the back-end's jobs.")] = Path(".demo"),
) -> None:
    """Run the demo: start the embedded back-end on generated scenes, run Snakemake, stop the back-end."""
    from upscaling.demo.run import run_demo

    raise SystemExit(run_demo(config, folder))


add_init(app)
add_run_commands(app)
add_commands(app, _load)
add_estimate_commands(app, _load)
app.command()(serve)
_into_panels()


if __name__ == "__main__":
    main()
