"""Every command, program and snippet of README, config/README and docs works as written, in a clone or an empty folder.

What cannot be had here stands in a table with the reason; an entry that fits nothing any more is an error, too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
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

DOCUMENTS = [
    "README.md",
    "config/README.md",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md")),
]
PROGRAMS = {"cd", "cp", "export", "jupyter", "make", "pip", "python", "snakemake", "toil-cwl-runner", "upscaling"}
NOTEBOOKS = sorted(ROOT.glob("docs/notebooks/*.ipynb"))
# command (its beginning) -> why it is not run, or not as it stands
LEFT_OUT = {
    "pip install": "there is no registry with this package; unit/util/test_packaging.py builds the wheel",
    "make check": "runs before every test",
    "make docs": "test_the_site_is_built_without_a_network_and_loads_nothing_from_elsewhere",
    "make test": "runs this test",
    "toil-cwl-runner --batchSystem slurm …": "… stands for what `upscaling cwl` prints (test_plain_cwl_run.py)",
    "upscaling local-backend --data collections.yaml": "its list names files that nobody has; README serves a real one",
    "upscaling estimate config.yaml --pilot    # twelve jobs": "of a country; own-openeo.md has a pilot of three",
    "upscaling run config.yaml                 # the rest": "of a country; the other tutorials run theirs",
}
# command that goes on (its beginning) -> the port that it opens
ENDLESS = {
    "upscaling local-backend": 8787,
    "upscaling serve": 8000,
    "upscaling view": 8780,
    "upscaling status results/austria --watch": None,
}
# address that costs -> what stands for it here: an openEO platform all the same
STANDS_FOR = {"https://openeo.dataspace.copernicus.eu": "http://127.0.0.1:8787/openeo/1.2"}
# What tests/cluster/test_tutorial.py runs.
ON_A_CLUSTER = "docs/tutorials/package-to-slurm.md"
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
    file: str = ""  # that it is kept in, if the document says so


def blocks(document: str) -> Iterator[Block]:
    """Yield the fenced and the indented blocks of a document, but for those inside a list."""
    lines = (ROOT / document).read_text().splitlines()
    number = 0
    while number < len(lines):
        fence = re.match(r'```(\w*)(?: title="(\S+)")?$', lines[number])
        if fence:
            end = lines.index("```", number + 1)
            yield Block(document, fence[1] or "text", "\n".join(lines[number + 1 : end]), fence[2] or "")
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


def _steps(document: str) -> Iterator[str | Block]:
    """Yield the files and commands of a document, in order, without those that cannot be run."""
    for block in ALL:
        if block.document == document and block.file:
            yield block
        elif block.document == document and block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                command = re.sub(r"\s+#.*$", "", line).strip()
                if command and not line.strip().startswith(tuple(LEFT_OUT)):
                    yield re.sub(r"\s+", " ", command)


def script_of(*documents: str) -> str:
    """Return a script that does what documents say, one after another; what does not end is stopped at the end.

    An entry that is no document is a command.
    """
    script = ["set -eu", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    steps = [step for name in documents for step in (_steps(name) if name in DOCUMENTS else [name])]
    for step in steps:
        if isinstance(step, Block):
            script.append(f"cat >{step.file} <<'END-OF-FILE'\n{step.text}\nEND-OF-FILE")
            continue
        command = step
        for address, here in STANDS_FOR.items():
            command = command.replace(address, here)
        script.append(f"echo '+ {command}' >&2")
        port = next((port for beginning, port in ENDLESS.items() if command.startswith(beginning)), 0)
        script.append(command if port == 0 else f"{command.removesuffix('&')} &")
        if port:
            there = f"(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null"
            script.append(f"for n in $(seq 300); do {there} && break; kill -0 $!; sleep 0.3; done")
    return "\n".join(script)


def _run_all(folder: Path, *documents: str) -> str:
    """Run what documents say in one shell; return what was shown."""
    command = ["bash", "-c", script_of(*documents)]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _austria(folder: Path) -> None:
    """The area that the documents speak of; here it is that of the demo's scenes."""
    import geopandas as gpd

    gpd.read_file(ROOT / "config" / "demo" / "area.geojson").to_file(folder / "austria.gpkg")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder)], check=True, timeout=120)
    for document in DOCUMENTS:  # also what is not committed yet
        (folder / document).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / document, folder / document)
    return folder


@pytest.mark.slow
def test_readme_algorithm_of_ones_own_and_country_in_an_empty_folder(tmp_path: Path) -> None:
    _austria(tmp_path)
    for notebook in NOTEBOOKS:
        shutil.copy(notebook, tmp_path)
    snippets = [block for block in ALL if block.language == "python" and not block.file]
    assert {block.document for block in snippets} == {"README.md", "docs/reference/python.md"}
    for number, block in enumerate(snippets):
        (tmp_path / f"snippet{number}.py").write_text(block.text)
    said = _run_all(
        tmp_path, "README.md", "docs/running.md",
        *(f"python ../snippet{number}.py" for number in range(len(snippets))),
        "cp ../analyse-result.ipynb .", "jupyter execute analyse-result.ipynb",
        "cd ..", "docs/tutorials/own-openeo.md",
        "cd ..", "docs/tutorials/country-year.md",
    )  # fmt: skip
    assert "0 tiles failed" in said


@pytest.mark.slow
def test_the_first_tutorial_in_a_fresh_clone(clone: Path) -> None:
    _run_all(clone, "docs/tutorials/first-run.md")
    assert (clone / "results" / "demo" / "mosaic" / "data.png").is_file(), "the tutorial names it"


@pytest.mark.slow
def test_the_service_for_a_team(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs/notebooks/dispatch-api.ipynb", tmp_path)
    assert "finished" in _run_all(tmp_path, "docs/tutorials/project-service.md")
    assert list(tmp_path.glob("service/tasks/*/results/*/collection.json"))


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


@pytest.mark.parametrize(
    "block",
    [block for block in ALL if block.language == "yaml" and block.file in {"", "site.yaml"}],
    ids=lambda b: b.text[:40],
)
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


CONSOLE = [
    (block.text.splitlines()[0].removeprefix("$ upscaling ").split(), "\n".join(block.text.splitlines()[1:]))
    for block in ALL
    if block.language == "console"
]


@pytest.mark.parametrize(("words", "shown"), CONSOLE, ids=[" ".join(words) for words, _ in CONSOLE])
def test_an_example_of_an_error_is_what_is_shown(
    words: list[str], shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from upscaling.cli.app import main

    monkeypatch.chdir(tmp_path)
    for block in ALL:
        if block.document == "docs/reference/errors.md" and block.file:
            (tmp_path / block.file).write_text(block.text + "\n")
    monkeypatch.setattr(sys, "argv", ["upscaling", *words])
    monkeypatch.setattr("upscaling.cli.app._loaded", [])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    assert capsys.readouterr().err.strip() == shown.replace("FOLDER", str(tmp_path))


def test_the_site_is_built_without_a_network_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    from upscaling.errors import ErrorClass

    blocked = "import socket\n\ndef refuse(*_): raise OSError('no network')\nsocket.socket.connect = refuse\n"
    (tmp_path / "sitecustomize.py").write_text(blocked)
    done = subprocess.run(
        ["mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "site")], cwd=ROOT,
        env=environment(NO_MKDOCS_2_WARNING="1", PYTHONPATH=str(tmp_path)), capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    for page, text in pages.items():
        assert not re.findall(r"<(?:script|img|iframe)[^>]+src=\"?https?:", text), page
        assert not re.findall(r"<link[^>]+rel=\"?(?:stylesheet|preconnect)\"?[^>]+href=\"?https?:", text), page
    # what the search of a page that is opened as a file takes in place of a request and a worker
    assert (tmp_path / "site/search/search_index.js").read_text().startswith("var __index = {")
    assert 'src="../file-search.js"' in pages["reference/errors.html"]
    errors = pages["reference/errors.html"]
    assert all(f"<code>{name}</code>" in errors for name in ErrorClass)
    assert "is there already, and not empty" in errors, "a message of `upscaling init`"
    assert "upscaling retry" in pages["reference/command-line.html"]
    assert "open_mosaic" in pages["reference/python.html"]


def test_the_tables_fit_the_documents() -> None:
    lines = [line.strip() for block in ALL if block.language == "sh" for line in block.text.splitlines()]
    for entry in [*LEFT_OUT, *ENDLESS]:
        assert any(line.startswith(entry) for line in lines), f"{entry} is in no document any more"
    for entry in SHOWN:
        assert any(block.text.lstrip().startswith(entry) for block in ALL), entry
    linked = {link for document in DOCUMENTS for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text())}
    assert linked
    for document in DOCUMENTS:
        for link in re.findall(
            r"(?<!!)\[[^]]*\]\(([^)#:]+)\)", (ROOT / document).read_text()
        ):  # pictures: made for the site
            assert (ROOT / document).parent.joinpath(link).exists(), f"{document}: {link}"
