"""A large run is made of parts, each of which can be run and gathered by itself, through real Snakemake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.servers import EmbeddedBackend
from tests.workflow.conftest import CRS, Run
from upscaling.results.validate import validate_collection

# Two tiles in the scene, and one where there are no data, beyond the border of a 100 km square at 700 km.
AOI = {
    "type": "MultiPolygon",
    "coordinates": [
        [[[676100, 5148100], [679900, 5148100], [679900, 5149900], [676100, 5149900], [676100, 5148100]]],
        [[[702100, 5148100], [702900, 5148100], [702900, 5148900], [702100, 5148900], [702100, 5148100]]],
    ],
    "crs": CRS,
}
PART, OTHER = "32632_6_51", "32632_7_51"


def test_a_part_is_run_by_itself_and_then_the_rest(
    backend: EmbeddedBackend, shared_data: Path, scene_run: Callable[..., Run]
) -> None:
    run = scene_run(backend, area={"aoi": "two.geojson", "grid": "utm-2km"}, collection={"parts_from": 2})
    (run.folder / "two.geojson").write_text(json.dumps(AOI))
    done = run.snakemake("--", f"results/real/parts/{PART}/collection.json")
    assert done.returncode == 0, done.stderr
    assert sorted(path.parent.name for path in run.results.glob("tiles/*/item.json")) == [
        "utm-2km_32n_e0676_n5148",
        "utm-2km_32n_e0678_n5148",
    ]
    part = run.results / "parts" / PART / "collection.json"
    assert json.loads(part.read_text())["id"] == f"real-{PART}"
    assert validate_collection(part, shared_data / "stac_schemas") == []
    assert not (run.results / "collection.json").exists()

    done = run.gather()
    assert done.returncode == 0, done.stderr
    assert len(backend.jobs()) == 3
    whole = json.loads((run.results / "collection.json").read_text())
    assert [link["href"] for link in whole["links"] if link["rel"] == "child"] == [
        f"./parts/{PART}/collection.json",
        f"./parts/{OTHER}/collection.json",
    ]
    tiles = whole["upscaling:tiles"]
    assert (tiles["planned"], tiles["collected"], tiles["nodata"]) == (3, 3, 1)
    assert validate_collection(run.results / "collection.json", shared_data / "stac_schemas") == []
    assert "Nothing to be done" in run.gather().stderr

    # The run shrinks below the threshold: its items change their collection, and no job is run or even asked for.
    run.config["collection"] = {"parts_from": 3, "title": "All of it"}
    done = run.gather()
    assert done.returncode == 0, done.stderr
    assert len(backend.jobs()) == 3 and "openEO batch job" not in done.stdout + done.stderr
    whole = json.loads((run.results / "collection.json").read_text())
    assert whole["title"] == "All of it" and sum(link["rel"] == "item" for link in whole["links"]) == 3
    assert validate_collection(run.results / "collection.json", shared_data / "stac_schemas") == []

    done = run.snakemake("--", f"results/real/parts/{PART}/collection.json")
    assert done.returncode != 0
    assert f"error: run real has no part '{PART}': it is too small to have parts" in done.stderr
    assert "Traceback" not in done.stderr
