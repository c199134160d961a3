"""What the Snakefile and the rule scripts call, and patches of Snakemake's plugins."""

from upscaling.util.project import project_path

__all__ = ["SNAKEFILE"]

SNAKEFILE = str(project_path("Snakefile"))
"""The workflow, for ``module … snakefile: SNAKEFILE`` in a Snakefile of your own."""
