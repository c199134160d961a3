"""After a run of which tiles are missing: gather the others, say what is missing and why, and write the report.

A process of its own: ``python -m upscaling.workflow.ending RUN``. With the command of a Snakemake that makes
some tiles behind it, that runs first; where it fails, it has gathered the others itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

from upscaling.errors import UpscalingError, refused_by_machine
from upscaling.util.process import run_in_front

__all__ = ["end_incomplete"]


def end_incomplete(run_folder: Path) -> None:
    """Write collection and report of an incomplete run, from its final state."""
    from upscaling.monitor.report import write_report
    from upscaling.planning.plan import kept_config, load_plan
    from upscaling.results.gather import by_reason, failure_reasons, gather

    failed = failure_reasons(load_plan(run_folder), run_folder)
    try:
        summary = gather(config=kept_config(run_folder), run_folder=run_folder, partial=True)
    except UpscalingError as error:
        for line in by_reason(failed):
            _say(f"missing: {line}")
        _say(f"no collection was made: {error}")
    else:
        for line in by_reason(summary.missing):
            _say(f"missing: {line}")
        _say(f"{summary.collection} holds the {summary.items} tiles that are done; {len(summary.missing)} are missing")
    try:
        _say(f"report: {write_report(run_folder)}")
    except UpscalingError as error:
        _say(f"no report was written: {error}")
    if failed:
        _say(
            f"next: `upscaling status {run_folder}` (why), then `upscaling retry {run_folder}` (the failed tiles again)"
            " or, after a change of algorithm or settings, `upscaling run CONFIG`"
        )


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    try:
        if sys.argv[2:] and (status := run_in_front(sys.argv[2:])):
            sys.exit(status)
        end_incomplete(Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as refused:
        words = refused_by_machine(refused)
        if words is None:
            raise
        sys.exit(f"collection and report were not written: {words}")
