"""The commands that are for application packages only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from upscaling.cli.runs import ConfigFile, Results

if TYPE_CHECKING:
    from upscaling.config import Config

__all__ = ["add_commands"]

_Inputs = Annotated[Path, typer.Argument(help="What the CWL runner gave the step, as JSON.", show_default=False)]


def add_commands(app: typer.Typer, load: Callable[[list[Path]], Config]) -> None:
    """Add them to the command line; ``load`` reads a configuration."""

    @app.command()
    def cwl(
        config: ConfigFile,
        out: Annotated[Path, typer.Option(help="Folder that it is written into.", show_default=False)],
        results: Results = None,
    ) -> None:
        """Write the whole run as one plain CWL workflow, which any CWL runner can do without Snakemake."""
        from upscaling.cwl_workflow import write_workflow

        settings = load(config)
        commands = write_workflow(settings, settings.folder(results), out, say=typer.echo)
        typer.echo(f"{out}: upscale.cwl, tiles.yml and plan/; run it with one of")
        for command in commands:
            typer.echo(f"  {command}")

    @app.command()
    def pull(
        config: ConfigFile,
        results: Results = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be pulled; pull nothing.")] = False,
    ) -> None:
        """Pull a package's container images and the items that tiles stage: the nodes then need no network."""
        from upscaling.algorithms.cwl import images
        from upscaling.backends.cwl.containers import pull_images
        from upscaling.errors import ConfigError
        from upscaling.planning.ensure import ensure_plan
        from upscaling.planning.plan import keep_config
        from upscaling.stage_in.stage import download_all
        from upscaling.util.files import read_json

        settings = load(config)
        if settings.backend.kind != "cwl":
            raise ConfigError("only application packages (kind cwl) have images", key="backend.kind")
        plan = ensure_plan(settings, settings.folder(results), say=typer.echo)
        pull_images(settings.backend, images(read_json(plan.algorithm.path)), dry_run=dry_run, say=typer.echo)
        if not dry_run:
            keep_config(settings, settings.folder(results))
            download_all(plan.folder, say=typer.echo)

    @app.command("cwl-item", hidden=True)
    def cwl_item(inputs: _Inputs) -> None:
        """Check and describe one tile: a step of what `upscaling cwl` writes."""
        from upscaling.cwl_workflow.steps import make_item

        typer.echo(make_item(inputs))

    @app.command("cwl-gather", hidden=True)
    def cwl_gather(inputs: _Inputs) -> None:
        """Gather the tiles into a collection: a step of what `upscaling cwl` writes."""
        from upscaling.cwl_workflow.steps import gather_tiles

        typer.echo(gather_tiles(inputs))
