"""Gather the items of a run's tiles into its STAC collection."""

from pathlib import Path

from upscaling.gather import gather
from upscaling.snake import logged

if __name__ == "__main__":
    with logged(snakemake.log[0], "collection"):
        gather(config=snakemake.config, run_folder=Path(snakemake.output.collection).parent)
