"""Make the mosaics of a run's collection."""

from pathlib import Path

from upscaling.planning.plan import kept_config
from upscaling.results.products import make_mosaics
from upscaling.workflow.hooks import logged

if __name__ == "__main__":
    with logged(snakemake.log[0], "mosaic"):
        run_folder = Path(snakemake.output.folder).parent
        make_mosaics(kept_config(run_folder), run_folder)
