"""What a person sees of a run on the terminal, through Snakemake itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers import BIN, environment

SNAKEFILE = """
TILES = [f"t{number}" for number in range(12)]

rule all:
    input:
        expand("results/r/tiles/{tile}/item.json", tile=TILES),

rule tile:
    output:
        "results/r/tiles/{tile}/item.json",
    shell:
        "[ {wildcards.tile} != t3 ] && echo 1 > {output} || {{ echo 'error: tile t3: no such band' >&2; exit 1; }}"

rule gathered:
    output:
        "gathered",
    message:
        "the collection"
    shell:
        "exit 7"
"""


def snakemake(folder: Path, *words: str) -> str:
    (folder / "Snakefile").write_text(SNAKEFILE)
    command = [BIN / "snakemake", "--quiet", "host", "--logger", "upscaling", "--keep-going", "--cores", "4", *words]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    return done.stderr + done.stdout


def test_tiles_are_counted_and_a_failure_is_told_once(tmp_path: Path) -> None:
    said = snakemake(tmp_path)
    assert "12 tiles to run, and 1 steps" in said
    assert "11 of 12 tiles done, 1 failed" in said
    assert said.count("t3") == 1, said
    assert "RuleException" not in said
    assert "Complete log(s)" in said
    assert "At least one job did not complete successfully" in said
    assert len(said.splitlines()) < 12, said
    (log,) = (tmp_path / ".snakemake" / "log").glob("*.log")
    assert "Error in rule tile" in log.read_text()


def test_a_step_that_is_no_tile_fails_in_snakemakes_own_words(tmp_path: Path) -> None:
    said = snakemake(tmp_path, "gathered")
    assert "the collection" in said
    assert "Error in rule gathered" in said


def test_a_dry_run_names_every_tile(tmp_path: Path) -> None:
    said = snakemake(tmp_path, "-n")
    assert all(f"tiles/t{number}/item.json" in said for number in range(12))
    assert "This was a dry-run" in said
