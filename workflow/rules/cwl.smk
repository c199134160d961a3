# One run of the application package per tile, through Toil.


rule tile:
    output:
        item="<run>/tiles/{tile}/item.json",
    log:
        "<run>/logs/{tile}.log",
    conda:
        "../envs/upscaling.yaml"
    threads: CONFIG.backend.cores
    resources:
        toil_leaders=1,
        mem_mb=CONFIG.backend.memory_mb,
    params:
        key=key_of,
    message:
        "tile {wildcards.tile}: application package"
    script:
        "../../scripts/tile.py"
