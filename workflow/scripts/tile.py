"""Run one tile: submit or attach, wait, fetch, check, and write its STAC item."""

from pathlib import Path

from upscaling.backends.registry import get_backend
from upscaling.execution.tile import run_tile
from upscaling.planning.plan import kept_config, load_plan
from upscaling.workflow.hooks import logged

if __name__ == "__main__":
    with logged(snakemake.log[0], f"tile {snakemake.wildcards.tile}"):
        run_folder = Path(snakemake.output.item).parents[2]
        plan = load_plan(run_folder)
        config = kept_config(run_folder)
        backend = get_backend(config.backend, plan.facts, run_folder, attempt=snakemake.resources.attempt)
        key = snakemake.params.key
        run_tile(snakemake.wildcards.tile, key=key, run_folder=run_folder, plan=plan, backend=backend)
