"""Hooks of MkDocs: pages that are made from the code or lie elsewhere in the project, and links between them."""

from __future__ import annotations

import posixpath
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import docs_reference as reference  # noqa: E402 -- MkDocs loads this file alone

# page of the site <- document of the project
SHOWN = {
    "reference/configuration.md": "config/README.md",
    "reference/packages.md": "cwl/README.md",
    "reference/benchmarks.md": "benchmarks/README.md",
    "reference/benchmarks-openeo.md": "benchmarks/openeo/README.md",
    "reference/benchmarks-estimate.md": "benchmarks/estimate/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "index.md": "README.md",
}
GENERATED: dict[str, Callable[[], str]] = {
    "reference/command-line.md": reference.command_line,
    "notebooks/dispatch-api.md": lambda: reference.notebook(ROOT / "docs/notebooks/dispatch-api.ipynb"),
    "notebooks/analyse-result.md": lambda: reference.notebook(ROOT / "docs/notebooks/analyse-result.ipynb"),
}
_LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the files of the site: those of docs, those made here, and files of the project that a page links to."""
    for page, document in SHOWN.items():
        files.append(File.generated(config, page, content=(ROOT / document).read_text(encoding="utf-8")))
    for page, make in GENERATED.items():
        files.append(File.generated(config, page, content=make()))
    with tempfile.TemporaryDirectory() as folder:
        for picture in reference.pictures(Path(folder)):
            files.append(File.generated(config, f"pictures/{picture.name}", content=picture.read_bytes()))
    for target in sorted(_linked(files)):
        files.append(File.generated(config, f"project/{target}", abs_src_path=str(ROOT / target)))
    return files


def on_post_build(*, config: MkDocsConfig, **_: Any) -> None:
    """Write the index of the search as a script, too: a page that is opened as a file can load nothing else."""
    folder = Path(config.site_dir) / "search"
    index = (folder / "search_index.json").read_text(encoding="utf-8")
    (folder / "search_index.js").write_text(f"var __index = {index}", encoding="utf-8")


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Return a page's text with what the code says, and with links as the site has them."""
    source = page.file.src_uri
    if source == "reference/errors.md":
        markdown = markdown.replace("<!-- classes -->", reference.error_classes())
        markdown = markdown.replace("<!-- messages -->", reference.messages())

    def link(match: re.Match[str]) -> str:
        target = _target(source, match[2])
        return match[0] if target is None else match[1] + _relative(target, source) + match[3]

    return _LINK.sub(link, markdown)


def _origin(page: str) -> str:
    """Return where a page lies in the project."""
    return SHOWN.get(page, f"docs/{page}")


def _target(page: str, link: str) -> str | None:
    """Return the page or file of the site that a link of a document means; None if it is none of the project's."""
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(_origin(page)), link))
    shown = {document: page for page, document in SHOWN.items()}
    for name in (wanted, f"{wanted}/README.md"):
        if name in shown:
            return shown[name]
    if wanted.startswith("docs/"):
        return wanted.removeprefix("docs/").replace(".ipynb", ".md")
    return f"project/{wanted}" if (ROOT / wanted).is_file() else None


def _relative(target: str, page: str) -> str:
    return posixpath.relpath(target, posixpath.dirname(page) or ".")


def _linked(files: Files) -> Iterator[str]:
    for file in files.documentation_pages():
        for _, link, _ in _LINK.findall(file.content_string):
            target = _target(file.src_uri, link)
            if target and target.startswith("project/"):
                yield target.removeprefix("project/")
