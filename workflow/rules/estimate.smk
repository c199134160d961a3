# What the run costs, when it is done, and whether it is possible: `snakemake estimate`. Submits nothing.


rule estimate:
    # No output: it is asked for anew each time. What it found is also in <run>/estimate.json.
    log:
        "<run>/logs/estimate.log",
    localrule: True
    conda:
        "../envs/upscaling.yaml"
    params:
        folder=RUN,
    message:
        "the estimate of the run, from what is known by now"
    script:
        "../scripts/estimate.py"
