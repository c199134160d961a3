"""Check a run's collection as a whole, and say what its users should know."""

import sys
from pathlib import Path

from upscaling.config import Config
from upscaling.results.products import check_quality
from upscaling.workflow.hooks import logged

if __name__ == "__main__":
    with logged(snakemake.log[0], "quality"):
        found = check_quality(Config.parse(snakemake.config), Path(snakemake.output.verdict).parent)
        for line in found["problems"]:
            sys.stderr.write(f"quality: {line}\n")
