"""Run the tiles of one job, one after the other; each gets its STAC item, whatever becomes of the others."""

from pathlib import Path

from upscaling.execution.chunk import run_tiles
from upscaling.planning.plan import kept_config
from upscaling.workflow.hooks import logged

if __name__ == "__main__":
    tiles = snakemake.params.tiles
    with logged(snakemake.log[0], f"{len(tiles)} tiles, {tiles[0]} …"):
        run_folder = Path(snakemake.output[0]).parents[2]
        run_tiles(
            dict(zip(tiles, snakemake.params.key, strict=True)),
            config=kept_config(run_folder),
            run_folder=run_folder,
            attempt=snakemake.resources.attempt,
        )
