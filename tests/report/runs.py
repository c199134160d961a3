"""Runs of any size that never ran: a real plan, and receipts as every kind of end leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from upscaling.config import Config
from upscaling.planning.make import make_plan
from upscaling.planning.plan import Plan, keep_config

__all__ = ["ENDS", "planned_run"]

UDP: dict[str, Any] = {
    "id": "mean",
    "summary": "Mean </script> & more",
    "parameters": [
        {"name": "spatial_extent", "schema": {"type": "object", "subtype": "bounding-box"}},
    ],
    "process_graph": {
        "load": {
            "process_id": "load_collection",
            "arguments": {"id": "S2", "spatial_extent": {"from_parameter": "spatial_extent"}, "temporal_extent": None},
            "result": True,
        }
    },
}
HOSTILE = "no memory </script><script>throw new Error('hostile')</script> & \"quotes\""
NO_DATA = "j-empty"
FACTS = {"costs": 4.0, "usage": {"duration": {"value": 95.0, "unit": "seconds"}}}
# What becomes of tiles, by turns; None: nothing was submitted.
ENDS: list[dict[str, Any] | None] = [
    {"state": "done", "job_id": "j-done", "facts": FACTS},
    {"state": "done", "job_id": NO_DATA, "facts": {"costs": 6.5, "usage": {"duration": {"value": 140.5}}}},
    {"state": "failed", "job_id": "j-bad", "error": {"class": "out-of-memory", "message": HOSTILE}},
    {"state": "started", "job_id": "j-run"},
    {"state": "started", "job_id": "j-wait", "facts": {"status": "queued"}},
    {"state": "created", "job_id": "j-new"},
    {
        "state": "failed",
        "job_id": "j-stop",
        "error": {"class": "canceled", "message": "job j-stop was canceled on the platform"},
    },
    None,
]


def planned_run(folder: Path, aoi: list[float], grid: str) -> tuple[Path, Plan]:
    """Plan a run in ``folder``/results/big and give its tiles every kind of end, by turns."""
    udp = folder / "mean.json"
    udp.write_text(json.dumps(UDP))
    config = Config.parse(
        {
            "run": "big",
            "algorithm": {"source": str(udp)},
            "area": {"aoi": aoi, "grid": grid},
            "backend": {"kind": "openeo", "url": "https://openeo.example", "auth": "none"},
        }
    )
    run = folder / "results" / "big"
    plan = make_plan(config, run)
    keep_config(config, run)
    (run / "receipts").mkdir()
    for number, (tile, row) in enumerate(plan.tiles.items()):
        end = ENDS[number % len(ENDS)]
        if end is None:
            continue
        receipt = {"tile": tile, "key": row.key, "attempt": 1, "updated": "2026-01-01T00:00:00Z", **end}
        (run / "receipts" / f"{tile}.json").write_text(json.dumps(receipt))
        if end["state"] == "done":
            (run / "tiles" / tile).mkdir(parents=True)
            item = {"properties": {"upscaling:nodata": True}} if end["job_id"] == NO_DATA else {}
            (run / "tiles" / tile / "item.json").write_text(json.dumps(item))
    return run, plan
