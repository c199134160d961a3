"""Gather the items of a run's tiles, or of one of its parts, into a STAC collection."""

import logging
from pathlib import Path

from upscaling.planning.plan import kept_config
from upscaling.results.gather import gather
from upscaling.workflow.hooks import logged

if __name__ == "__main__":
    folder = Path(snakemake.output.collection).parent
    part = dict(snakemake.wildcards).get("part")
    with logged(snakemake.log[0], f"collection of part {part}" if part else "collection"):
        run_folder = folder.parents[1] if part else folder
        summary = gather(config=kept_config(run_folder), run_folder=run_folder, part=part, parts_done=True)
        for problem in summary.problems:
            logging.warning("%s", problem)
