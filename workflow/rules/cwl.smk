# One run of the application package per tile, through Toil: on this machine, in a SLURM job of its own (profile
# `slurm`), or led from here while Toil submits every step (`backend.batch_system`).
from upscaling.backends.cwl_attempts import needs

LEADS = CONFIG.backend.batch_system != "single_machine"


def memory_of(wildcards, attempt):
    """Return what a tile gets: more after each time that it ran out of it."""
    return needs(CONFIG.backend, RUN, wildcards.tile, attempt).memory_mb


def minutes_of(wildcards, attempt):
    """Return the time limit of a tile's job, likewise."""
    return needs(CONFIG.backend, RUN, wildcards.tile, attempt).runtime_min


def attempt_of(wildcards, attempt):
    """Tell the tile's own process: it ends at once where another try is of no use."""
    return attempt


SITE = {
    "slurm_account": CONFIG.backend.site.account,
    "slurm_partition": CONFIG.backend.site.partition,
    "qos": CONFIG.backend.site.qos,
    "slurm_extra": snake.shell_words(CONFIG.backend.site.extra),
}


rule tile:
    output:
        item="<run>/tiles/{tile}/item.json",
    log:
        "<run>/logs/{tile}.log",
    retries: CONFIG.backend.retries
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
        "../../scripts/tile.py"
