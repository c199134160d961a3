# Config -> plan. Made here, before the DAG, and only if its inputs changed: no checkpoint, and every tile is a target
# that `snakemake -n` shows by name.
from upscaling.workflow import hooks

CONFIG = hooks.read_config(config, workflow)


pathvars:
    run=f"<results>/{CONFIG.run}",


RUN = workflow.pathvars.apply("<run>")
CONFIG, PLAN = hooks.plan(CONFIG, RUN, workflow)
hooks.protect(CONFIG, RUN, workflow)

# Set here, so that Snakemake without our profiles is throttled too; --resources still wins.
for resource, slots in hooks.slots(CONFIG, workflow.resource_settings.cores).items():
    workflow.global_resources.setdefault(resource, slots)


@hooks.signed
def key_of(wildcards):
    """Return the key of a tile's work: Snakemake runs a tile again when it changes, and only then."""
    return PLAN.tiles[wildcards.tile].key


def every_item(wildcards):
    """Name every tile's item. A function, as a list would cost half a second at each parse, which remote jobs repeat."""
    return [f"{RUN}/tiles/{tile}/item.json" for tile in PLAN.tiles]


def items_of_part(wildcards):
    """Name the items of one part of the run."""
    return [
        f"{RUN}/tiles/{tile}/item.json"
        for tile in hooks.tiles_of_part(PLAN, wildcards.part)
    ]


def items_or_parts(wildcards):
    """Name what the run's collection is made of: its parts' collections if it has parts, else every item."""
    return [f"{RUN}/parts/{part}/collection.json" for part in PLAN.parts] or every_item(
        wildcards
    )
