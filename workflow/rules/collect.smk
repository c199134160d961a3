# Tiles -> one STAC collection.


rule collect_items:
    input:
        tiles=collect("<run>/tiles/{tile}/item.json", tile=PLAN.tiles),
    output:
        collection="<run>/collection.json",
        table="<run>/items.parquet",
    log:
        "<run>/logs/collect.log",
    localrule: True
    conda:
        "../envs/upscaling.yaml"
    params:
        run_folder=RUN,
    message:
        "collection of {params.run_folder}"
    script:
        "../../scripts/collect.py"
