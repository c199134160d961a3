# Tiles -> one STAC collection; beyond some ten thousand tiles -> one per part, each of which can be run by itself
# (`snakemake <run>/parts/<part>/collection.json`), and one over them.


rule collect_part:
    input:
        tiles=items_of_part,
    output:
        collection="<run>/parts/{part}/collection.json",
        table="<run>/parts/{part}/items.parquet",
    log:
        "<run>/logs/parts/{part}.log",
    wildcard_constraints:
        part="[A-Za-z0-9_-]+",
    localrule: True
    conda:
        "../envs/upscaling.yaml"
    params:
        said=hooks.said_of_collection(CONFIG),
    message:
        "the STAC collection of part {wildcards.part}, {output.collection}"
    script:
        "../scripts/collect.py"


rule collect_items:
    input:
        tiles=items_or_parts,
    output:
        # Not items.parquet, which a run in parts has for each part: an output that Snakemake has not seen before would
        # keep it from noticing that a run has grown into parts.
        collection="<run>/collection.json",
    log:
        "<run>/logs/collect.log",
    localrule: True
    conda:
        "../envs/upscaling.yaml"
    params:
        said=hooks.said_of_collection(CONFIG),
    message:
        "the STAC collection, {output.collection}"
    script:
        "../scripts/collect.py"
