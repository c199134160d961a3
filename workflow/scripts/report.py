"""Write the report of a run."""

from pathlib import Path

from upscaling.estimate.outlook import outlook_of, remember
from upscaling.monitor.report import write_report
from upscaling.workflow.hooks import logged

if __name__ == "__main__":
    with logged(snakemake.log[0], "report"):
        folder = Path(snakemake.output.page).parent
        write_report(folder, outlook_of(folder))
        remember(folder)
