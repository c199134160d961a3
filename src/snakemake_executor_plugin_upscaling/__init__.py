"""Executor ``upscaling``: one process runs all tiles of a run; Snakemake's local executor runs every other job.

Found by its name, as all executor plugins are: ``executor: upscaling`` in a profile, ``--executor upscaling`` on the
command line. Imported at every start of Snakemake in this environment, so it imports little.
"""

from snakemake.executors.local import Executor as _LocalExecutor
from snakemake.executors.local import common_settings

from upscaling.workflow.executor import with_tiles

__all__ = ["Executor", "common_settings"]

Executor = with_tiles(_LocalExecutor)
