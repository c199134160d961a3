"""Start Snakemake on a configuration, with the workflow and the profile of this installation."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from upscaling.util.process import run_in_front
from upscaling.util.project import project_path

__all__ = ["command_line", "run_tiles_again", "snakemake_command", "what_to_open"]


def snakemake_command(
    configs: Sequence[Path], options: Sequence[str] = (), *, targets: Sequence[str] = (), cluster: bool = False
) -> list[str]:
    """Return the command line; ``options`` of Snakemake win over those that are added here.

    Parameters
    ----------
    configs
        Configuration files; of several the later ones count.
    options
        Any of Snakemake's own.
    targets
        What to make; the whole run when left out.
    cluster
        Take the profile `slurm` in place of `local`.
    """
    given = {option.partition("=")[0] for option in options}
    command = ["snakemake"]
    if not given & {"--snakefile", "-s"}:
        command += ["--snakefile", _near(project_path("Snakefile"))]
    if not given & {"--profile", "--workflow-profile"}:
        command += ["--profile", _near(project_path("workflow", "profiles", "slurm" if cluster else "local"))]
    command += ["--configfile", *map(str, configs), *options]
    return [*command, "--", *targets] if targets else command


def run_tiles_again(
    run_folder: Path, tiles: Sequence[str], options: Sequence[str] = (), *, say: Callable[[str], None]
) -> int:
    """Run tiles of a run again, and bring its collection up to date; return Snakemake's exit status.

    Nothing but these tiles is run. Where no other tile is missing, everything that is made of them follows.
    """
    from upscaling.planning.plan import kept_config, load_plan
    from upscaling.results.gather import gather

    config, options = kept_config(run_folder), list(options)
    if config.folder().resolve() != run_folder.resolve():  # of a workflow that imports this one
        options += ["--config", "pathvars=" + json.dumps({"results": str(run_folder.resolve().parent)})]
    others = [
        tile
        for tile in load_plan(run_folder).tiles
        if tile not in set(tiles) and not (run_folder / "tiles" / tile / "item.json").is_file()
    ]
    targets = [f"{run_folder}/tiles/{tile}/item.json" for tile in tiles] if others else []
    command = snakemake_command([run_folder / "plan" / "config.json"], options, targets=targets)
    say(command_line(command))
    status = run_in_front(command)
    if status == 0 and others:
        summary = gather(config=config, run_folder=run_folder, partial=True)
        say(f"{summary.collection} holds the {summary.items} tiles that are done; {len(others)} others are missing")
        say(f"mosaic and report follow with all tiles: upscaling run {run_folder}/plan/config.json")
    return status


def command_line(command: Sequence[str]) -> str:
    """Return a command as it can be copied into a shell."""
    return shlex.join(command)


def _near(path: Path) -> str:
    near = os.path.relpath(path)
    return str(path) if near.startswith(os.pardir) else near


def what_to_open(run_folder: Path) -> list[str]:
    """Return one line for each result that a person opens."""
    lines = [
        f"report       {(run_folder / 'report.html').resolve()}   (any browser)",
        f"collection   {(run_folder / 'collection.json').resolve()}",
    ]
    table = run_folder / "items.parquet"
    if table.is_file():  # a run in parts has one for each
        lines.append(f"all items    {table.resolve()}   (QGIS, geopandas)")
    elif (run_folder / "parts").is_dir():
        lines.append(f"all items    {(run_folder / 'parts').resolve()}/*/items.parquet   (QGIS, geopandas)")
    tiles = sorted(run_folder.glob("tiles/*/*.tif"))
    if tiles:
        lines.append(f"mosaic       {(run_folder / 'mosaic').resolve()}   (*.gti.gpkg in QGIS, *.png to look at)")
        lines.append(f"one tile     {tiles[0].resolve()}   (QGIS, any GeoTIFF viewer)")
    lines.append(f"the tiles    {(run_folder / 'plan' / 'tiles.parquet').resolve()}")
    return lines
