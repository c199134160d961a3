"""Write the report of a run."""

from pathlib import Path

from upscaling.monitor.report import write_report
from upscaling.workflow.hooks import logged

if __name__ == "__main__":
    with logged(snakemake.log[0], "report"):
        write_report(Path(snakemake.output.page).parent)
