"""Commands for a run that is there: how far it is, why tiles failed, what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upscaling.errors import UpscalingError
from upscaling.util.text import plain_text

__all__ = ["ConfigFile", "Results", "RunFolder", "add_run_commands"]

ConfigFile = Annotated[
    list[Path],
    typer.Argument(help="Configuration file (YAML); of several the later ones count.", show_default=False),
]
Results = Annotated[
    Path | None, typer.Option(help="Folder that holds the runs; `pathvars.results`, else results.", show_default=False)
]
RunFolder = Annotated[Path, typer.Argument(help="Folder of a run, e.g. results/demo.", show_default=False)]


def add_run_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    for command in (status, logs, retry, cancel, clean):
        app.command()(command)


def status(
    run: RunFolder,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every few seconds until Ctrl-C.")] = False,
) -> None:
    """Show how far a run is: counts, rate, time left, cost so far and expected, failures by reason."""
    import time

    from rich.console import Console
    from rich.live import Live

    from upscaling.estimate.outlook import outlook_of
    from upscaling.monitor.status import next_steps, render, summarize

    console = Console()
    if not watch:
        summary = summarize(run)
        console.print(render(summary, outlook_of(run)))
        for line in next_steps(summary):
            typer.echo(line)
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(render(summarize(run), outlook_of(run)), refresh=True)
            time.sleep(5)


def logs(run: RunFolder, tile: Annotated[str, typer.Argument(help="A target of the plan.")]) -> None:
    """Show what is known of one tile: its state, the reason if it failed, and the end of each of its logs."""
    from upscaling.monitor.status import logs_of

    for line in logs_of(run, tile):
        typer.echo(line)


def retry(
    run: RunFolder,
    only: Annotated[str | None, typer.Option(help="Only tiles of this error class, e.g. out-of-memory.")] = None,
    resubmit: Annotated[
        bool,
        typer.Option("--resubmit", help="Make, and pay, new jobs where results of finished ones were refused."),
    ] = False,
    snakefile: Annotated[Path | None, typer.Option(help="Another workflow than the last time.")] = None,
    profile: Annotated[Path | None, typer.Option(help="Another Snakemake profile than the last time.")] = None,
) -> None:
    """Run the tiles again that failed, and no others; then make collection, mosaic and report if none is missing.

    Snakemake is started as it was the last time, with the same workflow and configuration. Where a job ended well and
    its results were refused (bad-output), they are fetched and checked again.
    """
    from upscaling.workflow.retry import retry_failed

    raise SystemExit(retry_failed(run, only=only, resubmit=resubmit, snakefile=snakefile, profile=profile))


def cancel(
    run: RunFolder,
    tile: Annotated[str | None, typer.Option(help="Only this tile, begun or not; Snakemake may go on.")] = None,
) -> None:
    """Cancel the run's jobs on the platform; what is done stays done. Stop Snakemake first."""
    from upscaling.monitor.platform_jobs import cancel_run, cancel_tile

    if tile is not None:
        typer.echo(f"{cancel_tile(run, tile)}: {tile}")
        return
    number = 0
    for name in cancel_run(run):
        number += 1
        typer.echo(f"canceled: {name}")
    typer.echo(f"{number} jobs canceled")


def clean(
    run: RunFolder,
    remote: Annotated[bool, typer.Option("--remote", help="Look at the platform's jobs of this run.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete them; without it they are only listed.")] = False,
) -> None:
    """List, and with --yes delete, jobs on the platform that carry the run's name but that no receipt knows."""
    from upscaling.monitor.platform_jobs import orphans, remove_jobs

    if not remote:
        raise UpscalingError("say what to clean: --remote for jobs on the platform that nobody waits for")
    found = orphans(run)
    for job in found:
        typer.echo(plain_text(f"{job['id']}  {job.get('status')}  {job.get('created', '')}  {job.get('title')}"))
    if not yes:
        typer.echo(f"{len(found)} orphans" + ("; --yes deletes them and their results" if found else ""))
        return
    for _ in remove_jobs(run, [job["id"] for job in found]):
        pass
    typer.echo(f"{len(found)} orphans deleted")
