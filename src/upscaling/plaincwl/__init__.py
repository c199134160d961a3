"""A whole run as one plain CWL workflow: tiles, their checks and the collection, without Snakemake."""

from upscaling.plaincwl.write import write_workflow

__all__ = ["write_workflow"]
