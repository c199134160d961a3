# Collection -> what people open: mosaics with their pictures, the verdict on the whole, the report.


rule mosaic:
    input:
        collection="<run>/collection.json",
    output:
        # A folder, as only the results say which assets and time steps there are.
        folder=report(
            directory("<run>/mosaic"),
            patterns=["{name}.png"],
            category="Mosaic",
            labels={"mosaic": "{name}"},
        ),
    log:
        "<run>/logs/mosaic.log",
    localrule: True
    conda:
        "../envs/upscaling.yaml"
    params:
        settings=CONFIG.mosaic.model_dump(),
    message:
        "mosaics of all tiles, in {output.folder}"
    script:
        "../../scripts/mosaic.py"


rule quality:
    input:
        collection="<run>/collection.json",
    output:
        verdict="<run>/quality.json",
    log:
        "<run>/logs/quality.log",
    localrule: True
    conda:
        "../envs/upscaling.yaml"
    message:
        "missing tiles, gaps, overlaps and seams, in {output.verdict}"
    script:
        "../../scripts/quality.py"
