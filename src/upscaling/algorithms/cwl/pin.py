"""Read an application package and pin it: one self-contained CWL file that needs no network any more."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

from upscaling.algorithms.cwl.load import KEY, load, loader_errors, preprocessed, processes_in
from upscaling.algorithms.cwl.oci import fetch_artifact
from upscaling.algorithms.cwl.reach import Reach, reach_of
from upscaling.algorithms.cwl.types import is_optional, plain_type, short_name
from upscaling.algorithms.cwl.vendor import files_in, vendor, vendored_schemas
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Parameter
from upscaling.util.files import sha256_file, write_json
from upscaling.util.process import tool_path
from upscaling.util.upstream import Patch

__all__ = ["NUMBERS", "images", "pin_package", "processes", "uses_javascript"]

NUMBERS = Patch(
    "ruamel.yaml",
    ">=0.18,<0.20",
    ("ruamel.yaml.scalarfloat:ScalarFloat._exp",),
    "numbers with an exponent cannot be pinned as they are written",
)
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SOFTWARE_VERSION = ("s:softwareVersion", "https://schema.org/softwareVersion", "http://schema.org/softwareVersion")


def pin_package(source: str | Path, into: Path, *, files_from: Iterable[str] = ()) -> Algorithm:
    """Copy a package into ``into`` as one file that holds everything it refers to.

    Every ``run:``, ``$import``, ``$include`` and schema is put in place by cwltool's own ``pack``; default Files, also
    those of the web, are copied beside it under their sha256. So are ``$schemas`` (ontologies of file formats), if an
    input says its format; else they are dropped. The same package gives the same bytes wherever it lies.

    Parameters
    ----------
    source
        Path or URL (also ``oci://``) of a CWL document, with ``#id`` of a workflow in it if it holds more than one.
    into
        Folder of the pinned copy; made if absent.
    files_from
        Folders whose files a local package may name, besides its own.

    Raises
    ------
    ConfigError
        If the package cannot be read, is not valid CWL, has no or more than one candidate workflow, or asks for
        something that no runner here has.
    """
    from cwltool.pack import pack

    location, _, fragment = str(source).partition("#")
    into.mkdir(parents=True, exist_ok=True)
    with _document_uri(location) as uri, loader_errors(location):
        reach = reach_of(uri, location, files_from)
        context, document = load(uri, reach)
        candidates = processes_in(context, uri)
        entry = _entry(candidates, fragment, location)
        parts, read = preprocessed(uri, reach)
        packed = pack(parts, entry["id"])
        read |= {str(literal.get("location")) for literal in files_in(packed)}
        plain = _normalised(packed, _metadata(document), reach, into)
    name = short_name(entry["id"]) if "#" in entry["id"] else Path(urlsplit(uri).path).stem
    _refuse(plain, location)
    target = into / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.cwl"
    write_json(target, plain)
    with loader_errors(location):
        pinned = target.absolute().as_uri()
        load(pinned, reach_of(pinned, location))  # what the runner gets is what was checked
    main = next(process for process in plain["$graph"] if process["id"] == "#main")
    return Algorithm(
        kind="cwl",
        id=name,
        path=target,
        sha256=sha256_file(target),
        source=str(source),
        parameters=_parameters(main, plain),
        title=main.get("label") or "",
        description=_text(main.get("doc")),
        version=_version(main, plain),
        files=tuple(sorted(unquote(urlsplit(part).path) for part in read if part.startswith("file:"))),
    )


def processes(document: Any) -> Iterator[dict[str, Any]]:
    """Yield every process of a packed document, those inside steps too."""
    stack = list(document["$graph"])
    while stack:
        process = stack.pop(0)
        yield process
        stack += [step["run"] for step in process.get("steps", []) if isinstance(step["run"], dict)]


def images(document: Any, *, required: bool = False) -> list[str]:
    """Return the container images that a packed document names, sorted; only those it cannot do without, if asked."""
    found = set()
    for process in processes(document):
        for holder in [process, *process.get("steps", [])]:
            for entry in [*holder.get("requirements", []), *([] if required else holder.get("hints", []))]:
                if entry.get("class") == "DockerRequirement":
                    found.add(str(entry.get("dockerPull") or entry.get("dockerImageId") or "without a name"))
    return sorted(found)


def uses_javascript(document: Any) -> bool:
    """Return True if running a packed document takes a JavaScript engine (``node``).

    Plain parameter references, ``$(inputs.scene.path)``, do not, even under InlineJavascriptRequirement.
    """
    asked = any(
        requirement.get("class") == "InlineJavascriptRequirement"
        for process in processes(document)
        for requirement in [*process.get("requirements", []), *process.get("hints", [])]
    )
    return asked and any(_is_javascript(text) for text in _strings(document))


@contextmanager
def _document_uri(location: str) -> Iterator[str]:
    """Yield the address of a document; what is in a registry is fetched into a folder that is gone afterwards."""
    scheme = urlsplit(location).scheme
    if scheme == "oci":
        with TemporaryDirectory() as folder:
            yield fetch_artifact(location, Path(folder)).as_uri()
        return
    if scheme in ("http", "https"):
        yield location
        return
    path = Path(unquote(urlsplit(location).path) if scheme == "file" else location).expanduser().absolute()
    if not path.is_file():
        raise ConfigError(f"no such file: {location} (looked in {Path.cwd()})", key=KEY)
    yield path.as_uri()


def _entry(candidates: list[dict[str, Any]], wanted: str, location: str) -> dict[str, Any]:
    """Return the process to run: the one asked for, ``main``, or the only workflow (or the only process)."""
    named = {short_name(process["id"]) if "#" in process["id"] else "": process for process in candidates}
    workflows = {name: process for name, process in named.items() if process["class"] == "Workflow"}
    listed = ", ".join(sorted(workflows or named))
    if wanted:
        if wanted not in named:
            raise ConfigError(f"holds no workflow {wanted}; it holds {listed}", key=KEY, file=location)
        return named[wanted]
    if "main" in named:
        return named["main"]
    choice = workflows or named
    if len(choice) == 1:
        return next(iter(choice.values()))
    what = "workflows" if workflows else "tools and no workflow"
    raise ConfigError(f"holds {len(choice)} {what}: {listed}; choose one as FILE#ID", key=KEY, file=location)


def _metadata(document: dict[str, Any]) -> dict[str, Any]:
    """Return what the document says about itself in other namespaces, s:softwareVersion for example."""
    return {key: value for key, value in document.items() if ":" in key and not key.startswith(("cwl", "$"))}


def _as_spelt(value: Any) -> Any:
    """Return a document in which whole numbers that were written with an exponent (``1.23e5``) are integers.

    The runner hands a number to a tool as it was written: 123000, but 123000.0 if JSON were left to write it.
    """
    from ruamel.yaml.scalarfloat import ScalarFloat

    if isinstance(value, dict):
        return {key: _as_spelt(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_as_spelt(entry) for entry in value]
    if isinstance(value, ScalarFloat):
        NUMBERS.insist()
        exponent: str | None = value._exp  # type: ignore[attr-defined]
        return int(value) if exponent and value.is_integer() else value
    return value


def _normalised(packed: Any, metadata: dict[str, Any], reach: Reach, into: Path) -> dict[str, Any]:
    """Return the packed document as plain JSON that does not depend on where and when it was packed."""
    import json

    text = json.dumps(_as_spelt(packed))
    # in v1.0 documents cwltool names inline tools with random UUIDs; count them instead
    for number, found in enumerate(dict.fromkeys(UUID.findall(text)), 1):
        text = text.replace(found, f"inline-{number}")
    document: dict[str, Any] = json.loads(text)
    if "$graph" not in document:
        document = {"$graph": [document]}
    for process in document["$graph"]:
        # pack takes the second thing of a name for a copy of the first
        for entry in [*process.get("inputs", []), *process.get("outputs", []), *process.get("steps", [])]:
            if "$import" in entry:
                raise ConfigError(f"uses the name {short_name(entry['$import'])} twice", key=KEY, file=reach.location)
    schemas = document.pop("$schemas", [])
    for process in document["$graph"]:
        schemas += process.pop("$schemas", [])
        for key in ("cwlVersion", "$namespaces"):
            if key in process:
                document.setdefault(key, process.pop(key))
    _bring_files(document, reach, into)
    ontologies = vendored_schemas(schemas, reach, into) if _checks_formats(document) else []
    found = {"$schemas": ontologies} if ontologies else {}
    return {"cwlVersion": document.pop("cwlVersion"), **metadata, **document, **found}


def _bring_files(document: dict[str, Any], reach: Reach, into: Path) -> None:
    """Copy what the document's File and Directory objects refer to into the plan."""
    for process in processes(document):
        for entry in process["inputs"]:
            if not all(vendor(literal, reach, into) for literal in files_in(entry.get("default"))):
                del entry["default"]  # of the author's own machine, or a dead link; the input is then required
    for literal in files_in(document):
        if not vendor(literal, reach, into):
            place = literal.get("location") or literal.get("path")
            raise ConfigError(
                f"refers to a {literal['class']}, {place}, that cannot be copied into the plan",
                key=KEY,
                file=reach.location,
            )


def _checks_formats(document: Any) -> bool:
    """Whether a runner would compare formats of files, by the ontologies: it takes seconds to read those, per tile."""
    return any("format" in entry for process in processes(document) for entry in _entries(process["inputs"]))


def _entries(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the inputs of a process, and the fields of their records."""
    if isinstance(node, dict):
        yield node
        yield from _entries(node.get("type"))
        yield from _entries(node.get("fields") or node.get("items"))
    elif isinstance(node, list):
        for value in node:
            yield from _entries(value)


def _refuse(document: dict[str, Any], location: str) -> None:
    for process in processes(document):
        for requirement in process.get("requirements", []):
            if requirement.get("class") == "InplaceUpdateRequirement":
                raise ConfigError("asks for InplaceUpdateRequirement, which Toil refuses", key=KEY, file=location)
    if uses_javascript(document) and shutil.which("node", path=tool_path()) is None:
        raise ConfigError("uses JavaScript expressions, but there is no `node` on PATH", key=KEY, file=location)


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            if key not in ("doc", "label", "id"):
                yield from _strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value)


def _is_javascript(text: str) -> bool:
    from cwl_utils.expression import scanner
    from cwl_utils.sandboxjs import param_re

    if "${" in text:
        return True
    while "$(" in text:
        try:
            found = scanner(text)
        except Exception:
            return True  # not a reference that Python can follow
        if found is None:
            return False
        expression = text[found[0] : found[1]]
        if expression.startswith("$(") and not param_re.fullmatch(expression[1:]):
            return True
        text = text[found[1] :]
    return False


def _parameters(main: dict[str, Any], document: dict[str, Any]) -> tuple[Parameter, ...]:
    named: dict[str, Any] = {}
    for process in processes(document):
        for requirement in process.get("requirements", []):
            if requirement.get("class") == "SchemaDefRequirement":
                named.update({entry["name"]: entry for entry in requirement["types"] if "name" in entry})
    parameters = []
    for entry in main["inputs"]:
        schema = plain_type(entry["type"], named)
        parameters.append(
            Parameter(
                name=short_name(entry["id"]),
                schema=schema,
                required="default" not in entry and not is_optional(schema),
                default=entry.get("default"),
                description=_text(entry.get("doc")) or entry.get("label") or "",
            )
        )
    return tuple(parameters)


def _text(doc: Any) -> str:
    return "\n".join(doc) if isinstance(doc, list) else str(doc or "")


def _version(main: dict[str, Any], document: dict[str, Any]) -> str:
    for holder in (main, document):
        for key in SOFTWARE_VERSION:
            if key in holder:
                return str(holder[key])
    return ""
