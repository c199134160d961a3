"""Run one tile: submit or attach, wait, fetch, check, and write its STAC item."""

from pathlib import Path

from upscaling.snake import logged
from upscaling.tile import run_tile

if __name__ == "__main__":
    with logged(snakemake.log[0], f"tile {snakemake.wildcards.tile}"):
        run_tile(
            snakemake.wildcards.tile,
            config=snakemake.config,
            run_folder=Path(snakemake.output.item).parents[2],
        )
