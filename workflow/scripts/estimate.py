"""Print the estimate of a run, and keep it beside the run."""

import sys
from pathlib import Path

from rich.console import Console

from upscaling.estimate.run import estimate_run
from upscaling.estimate.show import render
from upscaling.util.files import write_json
from upscaling.workflow.hooks import logged

if __name__ == "__main__":
    with logged(snakemake.log[0], "estimate"):
        folder = Path(snakemake.params.folder)
        found = estimate_run(folder)
        write_json(folder / "estimate.json", found.model_dump(mode="json"))
        Console(file=sys.stderr, highlight=False).print(render(found))
