# One OGC API - Processes job per tile. One process of the run submits (or attaches), waits and fetches for all; a
# tile's own shell only waits for its word, and needs no core.

# Through the environment: a path in the command, other in every run, would be a change of the rule to Snakemake.
hooks.export("UPSCALING_TILE_SH", workflow.source_path("../scripts/tile.sh"))


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
        ogcapi_slots=1,
    params:
        key=key_of,
    message:
        "tile {wildcards.tile}: OGC API job"
    # Not `script:`, of which Snakemake looks up the source anew for every tile, a tenth of the time to build the DAG.
    shell:
        'bash "$UPSCALING_TILE_SH" {output.item:q} {wildcards.tile:q} {log:q} {params.key:q}'
