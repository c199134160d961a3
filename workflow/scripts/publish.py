"""Publish a run's collection."""

import sys
from pathlib import Path

from upscaling.planning.plan import kept_config
from upscaling.publish import publish
from upscaling.workflow.hooks import logged

if __name__ == "__main__":
    with logged(snakemake.log[0], "publish"):
        run_folder = Path(snakemake.output.record).parent
        publish(kept_config(run_folder), run_folder, say=lambda line: sys.stderr.write(f"publish: {line}\n"))
