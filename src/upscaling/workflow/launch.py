"""Start Snakemake on a configuration, with the workflow and the profile of this installation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from upscaling.util.project import project_path

__all__ = ["snakemake_command", "what_to_open"]


def snakemake_command(
    configs: Sequence[Path],
    options: Sequence[str] = (),
    *,
    targets: Sequence[str] = (),
    cluster: bool = False,
    folder: Path | None = None,
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
    folder
        Where it will run; the working directory when left out.
    """
    given = {option.partition("=")[0] for option in options}
    command = ["snakemake"]
    if not given & {"--snakefile", "-s"}:
        command += ["--snakefile", _near(project_path("Snakefile"), folder)]
    if not given & {"--profile", "--workflow-profile"}:
        command += ["--profile", _near(project_path("workflow", "profiles", "slurm" if cluster else "local"), folder)]
    command += ["--configfile", *map(str, configs), *options]
    return [*command, "--", *targets] if targets else command


def _near(path: Path, folder: Path | None) -> str:
    near = os.path.relpath(path, folder or os.curdir)
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
