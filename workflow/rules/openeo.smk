# One openEO batch job per tile. With executor `upscaling` (our profiles name it) one process of the run does all of
# them, and the shell below is not used; with another local executor it is a process for each tile.


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
        openeo_slots=hooks.slot_of(workflow),
    params:
        key=key_of,
    message:
        "tile {wildcards.tile}: openEO batch job"
    # Not `script:`, of which Snakemake looks up the source anew for every tile, a tenth of the time to build the DAG.
    shell:
        "item={output.item:q}; "
        'upscaling run-tile "${{item%/tiles/*}}" {wildcards.tile:q} --key {params.key:q} --log {log:q}'
