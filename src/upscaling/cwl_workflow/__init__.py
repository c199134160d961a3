"""A whole run as one plain CWL workflow: tiles, their checks and the collection, without Snakemake."""

from upscaling.cwl_workflow.write import write_workflow

__all__ = ["write_workflow"]
