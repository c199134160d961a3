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
        "../scripts/mosaic.py"


rule quality:
    input:
        collection="<run>/collection.json",
        mosaic="<run>/mosaic",  # which is compared with the tiles
    output:
        verdict="<run>/quality.json",
    log:
        "<run>/logs/quality.log",
    localrule: True
    conda:
        "../envs/upscaling.yaml"
    message:
        "missing tiles, gaps, overlaps, seams and differences of the mosaic, in {output.verdict}"
    script:
        "../scripts/quality.py"


rule run_report:
    input:
        collection="<run>/collection.json",
        mosaic="<run>/mosaic",
        quality="<run>/quality.json",
    output:
        page=report(
            "<run>/report.html",
            category="Run",
            labels={"what": "map, costs, failures, provenance"},
        ),
    log:
        "<run>/logs/report.log",
    localrule: True
    conda:
        "../envs/upscaling.yaml"
    message:
        "the report, {output.page}"
    script:
        "../scripts/report.py"
