"""Every command and snippet of README, config/README and docs works as written, in a clone and in an empty folder.

What cannot be had here stands in a table with the reason; an entry that fits nothing any more is an error, too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.conftest import ROOT
from tests.servers import environment
from upscaling.config import Config
from upscaling.config.values import merge, parse_values
from upscaling.errors import ConfigError

DOCUMENTS = ["README.md", "config/README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))]
PROGRAMS = {"cd", "cp", "export", "make", "pip", "python", "snakemake", "toil-cwl-runner", "upscaling"}
# command (its beginning) -> why it is not run, or not as it stands
LEFT_OUT = {
    "pip install": "there is no registry with this package; unit/util/test_packaging.py builds the wheel",
    "make check": "runs before every test",
    "make test": "runs this test",
    "toil-cwl-runner --batchSystem slurm …": "… stands for what `upscaling cwl` prints (test_plain_cwl_run.py)",
}
ENDLESS = ("upscaling local-backend", "upscaling view", "upscaling status results/austria --watch")
# first line of a block -> what it is
SHOWN = {
    "config.yaml": "a drawing",
    "12:00:04 1200 tiles to run": "what the terminal shows",
}
OPENEO: dict[str, Any] = {
    "run": "r",
    "algorithm": {"source": "a.json"},
    "area": {"aoi": [11, 46, 12, 47]},
    "backend": {"kind": "openeo"},
}
BASES = [OPENEO | {"backend": {"kind": kind}} for kind in ("openeo", "cwl", "ogcapi")]


class Block(NamedTuple):
    document: str
    language: str
    text: str


def blocks(document: str) -> Iterator[Block]:
    """Yield the fenced and the indented blocks of a document, but for those inside a list."""
    lines = (ROOT / document).read_text().splitlines()
    number = 0
    while number < len(lines):
        fence = re.match(r"```(\w*)$", lines[number])
        if fence:
            end = lines.index("```", number + 1)
            yield Block(document, fence[1] or "text", "\n".join(lines[number + 1 : end]))
            number = end + 1
        elif lines[number].startswith("    ") and not (number and lines[number - 1].strip()):
            end = number
            while end < len(lines) and (not lines[end].strip() or lines[end].startswith("    ")):
                end += 1
            text = "\n".join(line[4:] for line in lines[number:end]).rstrip()
            yield Block(document, _language(text), text)
            number = end
        else:
            number += 1


def _language(text: str) -> str:
    first = text.lstrip().splitlines()[0]
    if first.split(" ")[0] in PROGRAMS:
        return "sh"
    if re.search(r"^(module|use rule) ", text, re.MULTILINE):
        return "snakemake"
    return "text" if first.startswith(tuple(SHOWN)) else "yaml"


ALL = [block for document in DOCUMENTS for block in blocks(document)]


def _commands(document: str) -> list[str]:
    """Return the commands of a document, in order, without those that cannot be run."""
    found = []
    for block in ALL:
        if block.document == document and block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                command = re.sub(r"\s+#.*$", "", line).strip()
                if command and not command.startswith(tuple(LEFT_OUT)):
                    found.append(re.sub(r"\s+", " ", command))
    return found


def _run_all(folder: Path, *documents: str) -> None:
    """Run the commands of documents in one shell, one after another; what does not end is stopped at the end."""
    script = ["set -eu", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for command in (command for document in documents for command in _commands(document)):
        script.append(f"echo '+ {command}' >&2")
        if command.startswith(ENDLESS):
            script.append(f"{command.removesuffix('&')} &")
            script += [
                "for n in $(seq 300); do (exec 3<>/dev/tcp/127.0.0.1/8787) 2>/dev/null && break; sleep 0.3; done"
            ]
        else:
            script.append(command)
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=environment(), capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def _austria(folder: Path) -> None:
    """The area that the documents speak of; here it is that of the demo's scenes."""
    import geopandas as gpd

    gpd.read_file(ROOT / "config" / "demo" / "area.geojson").to_file(folder / "austria.gpkg")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder)], check=True, timeout=120)
    for document in DOCUMENTS:  # also what is not committed yet
        shutil.copy(ROOT / document, folder / document)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("where", ["a fresh clone", "an empty folder"])
def test_the_readme_from_the_demo_to_the_result(where: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue("clone") if where == "a fresh clone" else tmp_path
    _austria(folder)
    _run_all(folder, "README.md", "docs/running.md")
    (snippet,) = [block.text for block in ALL if block.document == "README.md" and block.language == "python"]
    said = subprocess.run(
        ["python", "-c", snippet],
        cwd=folder / "austria",
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert "finished" in said.stdout


def test_the_other_documents_commands(clone: Path, tmp_path: Path) -> None:
    _run_all(clone, "config/README.md")
    package = OPENEO | {
        "algorithm": {"source": str(ROOT / "cwl/ndvi.cwl"), "parameters": {"scene": str(ROOT / "cwl")}},
        "area": {"aoi": [11.30, 46.484, 11.31, 46.49], "grid": "utm-5km"},
        "backend": {"kind": "cwl", "container": "none"},
    }
    (tmp_path / "my-area.yaml").write_text(yaml.safe_dump(package))
    _run_all(
        tmp_path, "docs/cluster.md", "docs/packages.md", "docs/configuring.md", "docs/ogcapi.md", "docs/stage-in.md"
    )


@pytest.mark.parametrize("block", [block for block in ALL if block.language == "yaml"], ids=lambda b: b.text[:40])
def test_a_snippet_of_a_configuration_is_right(block: Block) -> None:
    for part in re.split(r"\n(?=\w)", re.sub(r"(?m)^#.*\n?", "", block.text)):
        values = parse_values(part, block.document)
        problems = []
        for base in BASES:
            try:
                Config.parse(merge(merge({}, base), values), file=block.document)
                break
            except ConfigError as error:
                problems.append(str(error))
        else:
            raise AssertionError(f"{part}: {problems}")


def test_the_snippet_of_a_snakefile_imports_the_workflow(tmp_path: Path) -> None:
    snippets = [block.text for block in ALL if block.language == "snakemake"]
    assert len(snippets) == 1
    (tmp_path / "Snakefile").write_text(snippets[0])
    config = OPENEO | {"algorithm": {"source": str(ROOT / "config/demo/ndvi_composite.json")}}
    config["algorithm"]["parameters"] = {"temporal_extent": ["2023-06-01", "2023-09-01"]}
    config["area"] = {"aoi": str(ROOT / "config/demo/area.geojson"), "grid": "utm-10km"}
    config["backend"] = {"kind": "openeo", "url": "http://127.0.0.1:9"}
    (tmp_path / "workflow.yaml").write_text(yaml.safe_dump({"upscale": config}))
    command = ["snakemake", "--cores", "1", "--list-rules"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "upscale_collect_items" in done.stdout
    assert (tmp_path / "results/upscale/r/plan/config.json").is_file()


def test_the_tables_fit_the_documents() -> None:
    lines = [line.strip() for block in ALL if block.language == "sh" for line in block.text.splitlines()]
    for entry in [*LEFT_OUT, *ENDLESS]:
        assert any(line.startswith(entry) for line in lines), f"{entry} is in no document any more"
    for entry in SHOWN:
        assert any(block.text.lstrip().startswith(entry) for block in ALL), entry
    linked = {link for document in DOCUMENTS for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text())}
    assert linked
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text()):
            assert (ROOT / document).parent.joinpath(link).exists(), f"{document}: {link}"
