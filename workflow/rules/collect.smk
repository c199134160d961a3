# Tiles -> one STAC collection.


rule collect_items:
    input:
        tiles=every_item,
    output:
        collection="<run>/collection.json",
        table="<run>/items.parquet",
    log:
        "<run>/logs/collect.log",
    localrule: True
    conda:
        "../envs/upscaling.yaml"
    message:
        "the STAC collection, {output.collection}"
    script:
        "../../scripts/collect.py"
