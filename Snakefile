# The front door: configuration, stages, targets. `snakemake --profile workflow/profiles/local`
from snakemake.utils import min_version
from upscaling.workflow import hooks

min_version("9.27")

# Only where the user names nothing to run: Snakemake would lay it under the user's own.
if hooks.names_nothing(config, workflow):

    configfile: hooks.default_config("config/config.yaml")


include: "workflow/rules/plan.smk"
include: f"workflow/rules/{CONFIG.backend.kind}.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/products.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/estimate.smk"


wildcard_constraints:
    tile="[A-Za-z0-9_-]+",


rule all:
    default_target: True
    input:
        # Every tile by name: a collection alone would hide that a tile's files were deleted.
        tiles=every_item,
        collection="<run>/collection.json",
        mosaic="<run>/mosaic",
        quality="<run>/quality.json",
        report="<run>/report.html",
    message:
        "all tiles and their collection, {input.collection}"
