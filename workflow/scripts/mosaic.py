"""Make the mosaics of a run's collection."""

from pathlib import Path

from upscaling.config import Config
from upscaling.results.products import make_mosaics
from upscaling.workflow.hooks import logged

if __name__ == "__main__":
    with logged(snakemake.log[0], "mosaic"):
        make_mosaics(Config.parse(snakemake.config), Path(snakemake.output.folder).parent)
