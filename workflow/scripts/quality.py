"""Check a run's collection as a whole, and say what its users should know."""

import sys
from pathlib import Path

from upscaling.planning.plan import kept_config
from upscaling.results.products import check_quality
from upscaling.workflow.hooks import logged

if __name__ == "__main__":
    with logged(snakemake.log[0], "quality"):
        run_folder = Path(snakemake.output.verdict).parent
        found = check_quality(kept_config(run_folder), run_folder)
        for line in found["problems"]:
            sys.stderr.write(f"quality: {line}\n")
