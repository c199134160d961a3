# One run of the application package per tile, through Toil: on this machine, in a SLURM job of its own or with others
# (profile `slurm`, `backend.chunk`), or led from here while Toil submits every step (`backend.batch_system`).
import shlex
from functools import partial

from upscaling.workflow.patches import slurm_executor
from upscaling.backends.cwl.attempts import needs
from upscaling.execution.chunk import chunks

slurm_executor.patch_slurm_executor()

LEADS = CONFIG.backend.batch_system != "single_machine"
# A SLURM job reads this file too, and would try again by itself, with the memory that was not enough.
RETRIES = CONFIG.backend.retries if workflow.is_main_process else 0
SITE = {
    "slurm_account": CONFIG.backend.site.account,
    "slurm_partition": CONFIG.backend.site.partition,
    "qos": CONFIG.backend.site.qos,
    "slurm_extra": shlex.join(CONFIG.backend.site.extra),
}


@hooks.signed
def memory_of(wildcards, attempt):
    """Return what a tile gets: more after each time that it ran out of it."""
    return needs(CONFIG.backend, RUN, [wildcards.tile], attempt).memory_mb


@hooks.signed
def minutes_of(wildcards, attempt):
    """Return the time limit of a tile's job, likewise."""
    return needs(CONFIG.backend, RUN, [wildcards.tile], attempt).runtime_min


def memory_of_chunk(tiles, wildcards, attempt):
    """Return what a job of several tiles gets: enough for the hungriest."""
    return needs(CONFIG.backend, RUN, tiles, attempt).memory_mb


def minutes_of_chunk(tiles, wildcards, attempt):
    """Return the time limit of a job of several tiles."""
    return needs(CONFIG.backend, RUN, tiles, attempt).runtime_min


@hooks.signed
def attempt_of(wildcards, attempt):
    """Tell the tile's own process: it ends at once where another try is of no use."""
    return attempt


if CONFIG.backend.chunk == 1:

    rule tile:
        output:
            item="<run>/tiles/{tile}/item.json",
        log:
            "<run>/logs/{tile}.log",
        retries: RETRIES
        localrule: LEADS
        conda:
            "../envs/upscaling.yaml"
        threads: 1 if LEADS else CONFIG.backend.cores
        resources:
            **{name: value for name, value in SITE.items() if value},
            toil_leaders=1,
            mem_mb=200 if LEADS else memory_of,
            runtime=minutes_of,
            attempt=attempt_of,
        params:
            key=key_of,
        message:
            "tile {wildcards.tile}: application package"
        script:
            "../scripts/tile.py"

else:
    # A rule per job, as only so each tile keeps an output of its own.
    for CHUNK, TILES in chunks(PLAN, CONFIG.backend.chunk).items():

        rule:
            name:
                f"tiles_{CHUNK}"
            output:
                [f"<run>/tiles/{tile}/item.json" for tile in TILES],
            log:
                f"<run>/logs/chunks/{CHUNK}.log",
            retries: RETRIES
            localrule: LEADS
            conda:
                "../envs/upscaling.yaml"
            threads: 1 if LEADS else CONFIG.backend.cores
            resources:
                **{name: value for name, value in SITE.items() if value},
                toil_leaders=min(CONFIG.backend.together, len(TILES)),
                mem_mb=200 if LEADS else partial(memory_of_chunk, TILES),
                runtime=partial(minutes_of_chunk, TILES),
                attempt=attempt_of,
            params:
                key=[PLAN.tiles[tile].key for tile in TILES],
                tiles=TILES,
            message:
                f"{len(TILES)} tiles from {TILES[0]} on: application package"
            script:
                "../scripts/tiles.py"
