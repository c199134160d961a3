# Collection -> S3 and a STAC API; never part of `all`: `snakemake publish`.


rule publish:
    input:
        collection="<run>/collection.json",
        mosaic="<run>/mosaic",
        quality="<run>/quality.json",
    output:
        record="<run>/published.json",
    log:
        "<run>/logs/publish.log",
    localrule: True
    conda:
        "../envs/upscaling.yaml"
    params:
        settings=CONFIG.publish and CONFIG.publish.model_dump(),
    message:
        "publishing the collection; what was done is in {output.record}"
    script:
        "../scripts/publish.py"
