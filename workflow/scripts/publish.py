"""Publish a run's collection."""

import sys
from pathlib import Path

from upscaling.config import Config
from upscaling.publish import publish
from upscaling.workflow.hooks import logged

if __name__ == "__main__":
    with logged(snakemake.log[0], "publish"):
        publish(
            Config.parse(snakemake.config),
            Path(snakemake.output.record).parent,
            say=lambda line: sys.stderr.write(f"publish: {line}\n"),
        )
