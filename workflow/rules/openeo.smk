# One openEO batch job per tile. One process of the run submits (or attaches), waits and fetches for all of them; a
# tile's own shell only waits for its word, and needs no core.


rule tile:
    output:
        item="<run>/tiles/{tile}/item.json",
    log:
        "<run>/logs/{tile}.log",
    localrule: True
    conda:
        "../envs/upscaling.yaml"
    threads: 0
    resources:
        openeo_slots=1,
        mem_mb=200,
    params:
        key=key_of,
    message:
        "tile {wildcards.tile}: openEO batch job"
    script:
        "../../scripts/tile.sh"
