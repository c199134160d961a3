"""The files of a new project: a commented configuration that fits the algorithm, a Snakefile, a README."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from upscaling.errors import ConfigError, UpscalingError

__all__ = ["Wishes", "area_value", "inputs_of", "kind_of", "wants_area", "wants_time", "write_project", "yaml_line"]

_SNAKEFILE = """from upscaling.workflow import SNAKEFILE

configfile: "config.yaml"

module upscale:
    snakefile: SNAKEFILE
    config: config

use rule * from upscale
"""
_IGNORED = "/results/\n/.snakemake/\n"
_README = """# {name}

{title}: `{source}`, over `{area}`.

    upscaling plan config.yaml     # checks everything and shows what would run; sends nothing
    upscaling check config.yaml    # logs in and sees that the platform can run it; submits nothing
    upscaling run config.yaml      # runs it; run it again to continue

Results are in `results/{name}`. Those who know Snakemake run it here as ever; the `Snakefile` imports the workflow.
"""


@dataclass
class Wishes:
    """What the user wants, as far as it was said.

    Attributes
    ----------
    area
        Vector file, WKT, or ``w,s,e,n`` in degrees.
    time
        Start and end, half-open; and the step, or None for one job over all of it.
    """

    name: str
    source: str
    catalogue: str | None = None
    area: str | None = None
    grid: str = "utm-20km"
    time: tuple[str, str, str | None] | None = None
    platform: str | None = None
    auth: str | None = None
    container: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Input:
    """A parameter of the algorithm, the same for all kinds of services."""

    name: str
    type: str
    required: bool
    default: Any
    description: str
    filled_by: str


def inputs_of(facts: Mapping[str, Any]) -> list[Input]:
    """Return what an algorithm takes, out of what `describe` found."""
    if "package" in facts:
        words = {"missing": "parameters", "default": "default", "left out": "default"}
        return [
            Input(
                name, entry["type"], entry["required"], entry["default"], "",
                "stage_in" if entry["from"] == "missing" and entry["stage_in"] else
                words.get(entry["from"], "time step" if entry["step"] else "tile"),
            )
            for name, entry in facts["package"]["inputs"].items()
        ]  # fmt: skip
    names = [one.name for one in fields(Input)]
    return [Input(**{name: entry[name] for name in names}) for entry in facts.get("parameters") or []]


def wants_area(facts: Mapping[str, Any]) -> bool:
    """Return whether a tile fills any parameter."""
    return any(entry.filled_by == "tile" for entry in inputs_of(facts))


def wants_time(facts: Mapping[str, Any]) -> bool:
    """Return whether a time step fills any parameter."""
    return any(entry.filled_by == "time step" for entry in inputs_of(facts))


def write_project(folder: Path, wishes: Wishes, facts: Mapping[str, Any]) -> list[str]:
    """Write the files of a project into a new folder; return what is still to be filled in.

    Raises
    ------
    UpscalingError
        The folder is there and not empty.
    ConfigError
        A parameter is given that the algorithm does not have, or a value is wrong. Nothing was written then.
    """
    from upscaling.config import Config
    from upscaling.config.values import parse_values

    if folder.exists() and any(folder.iterdir()):
        raise UpscalingError(f"{folder} is there already, and not empty")
    known = [entry.name for entry in inputs_of(facts)]
    unknown = [name for name in wishes.parameters if name not in known]
    if unknown:
        raise ConfigError(f"{facts['id']} has no parameter {unknown[0]!r}; it has: {', '.join(known)}")
    blanks: list[str] = []
    text = "\n".join(_configuration(folder, wishes, facts, blanks)) + "\n"
    if not blanks:
        Config.parse(parse_values(text, "config.yaml"))
    folder.mkdir(parents=True, exist_ok=True)
    title = " ".join(str(facts.get("title") or facts["id"]).split())
    readme = _README.format(name=wishes.name, title=title, source=wishes.source, area=wishes.area or "…")
    files = {"config.yaml": text, "Snakefile": _SNAKEFILE, ".gitignore": _IGNORED, "README.md": readme}
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return blanks


def _configuration(folder: Path, wishes: Wishes, facts: Mapping[str, Any], blanks: list[str]) -> Iterator[str]:
    yield from _comment(" ".join(str(facts.get("title") or facts["id"]).split()), "")
    yield "# Keys that matter for it. All others: config/README.md of eo-upscaling."
    yield f"run: {wishes.name}"
    yield ""
    yield "algorithm:"
    yield f"  source: {yaml_line(_near(wishes.source, folder))}"
    if wishes.catalogue:
        yield f"  catalogue: {yaml_line(_near(wishes.catalogue, folder))}"
    yield from _parameters(folder, wishes, facts, blanks)
    if wants_area(facts):
        yield ""
        yield "area:"
        yield "  # A vector file, WKT in degrees, or [west, south, east, north] in degrees."
        yield f"  aoi: {yaml_line(area_value(wishes.area, folder))}" if wishes.area else "  aoi:"
        yield f"  grid: {wishes.grid} # `upscaling grids` lists them"
        blanks += [] if wishes.area else ["area.aoi"]
    if wishes.time:
        yield ""
        yield from _time(*wishes.time)
    if any(entry.filled_by == "stage_in" for entry in inputs_of(facts)) and not wishes.parameters:
        yield ""
        yield "# STAC items as input, in place of a parameter:"
        yield "# stage_in: {catalogue: https://stac.example.org/v1, collections: [sentinel-2-l2a]}"
    yield ""
    yield from _backend(wishes, facts, blanks)
    yield ""
    yield "collection:"
    yield "  # What the result says of itself. Changing it re-runs nothing."
    yield "  # title: …"
    yield "  license: other # SPDX identifier of the result's licence"


def _parameters(folder: Path, wishes: Wishes, facts: Mapping[str, Any], blanks: list[str]) -> Iterator[str]:
    lines: list[str] = []
    for entry in inputs_of(facts):
        given = entry.name in wishes.parameters
        steps = entry.filled_by == "time step" and wishes.time is not None
        if entry.filled_by == "tile" or (steps and not given):
            continue
        lines += _comment(f"{entry.name}: {entry.type}. {entry.description}", "    ")
        if given:
            lines.append(f"    {entry.name}: {yaml_line(_near(wishes.parameters[entry.name], folder))}")
        elif entry.required:
            lines.append(f"    {entry.name}: # needed")
            blanks.append(f"algorithm.parameters.{entry.name}")
        else:
            lines.append(f"    # {entry.name}: {yaml_line(entry.default)}")
    if lines:
        active = any(not line.lstrip().startswith("#") for line in lines)
        yield "  parameters:" if active else "  # parameters:"
        yield from lines


def _time(start: str, end: str, step: str | None) -> Iterator[str]:
    yield "time: # end is the first day that is no longer in it"
    if step is None:
        yield f"  intervals: [[{start}, {end}]] # or start, end and step: one job per tile and step"
    else:
        yield f"  start: {start}"
        yield f"  end: {end}"
        yield f"  step: {step} # one job per tile and step"


def kind_of(facts: Mapping[str, Any]) -> str:
    """Return the kind of backend that runs an algorithm."""
    return "cwl" if "package" in facts else "ogcapi" if facts["kind"] == "ogcapi" else "openeo"


def _backend(wishes: Wishes, facts: Mapping[str, Any], blanks: list[str]) -> Iterator[str]:
    kind = kind_of(facts)
    yield "backend:"
    yield f"  kind: {kind}"
    if kind == "cwl":
        images = facts["package"]["images"] or facts["package"]["images_required"]
        engine = next((name for name in ("docker", "podman", "singularity") if shutil.which(name)), "docker")
        yield f"  container: {wishes.container or (engine if images else 'none')} # docker, podman, singularity, none"
        yield "  slots: 2 # tiles at the same time; on a cluster: upscaling run --cluster"
        return
    named = kind == "ogcapi" or (facts.get("record") or {}).get("service")
    if wishes.platform:
        yield f"  url: {wishes.platform}"
    elif not named:
        yield "  url: # address of the platform"
        blanks.append("backend.url")
    local = "//127.0.0.1" in (wishes.platform or "") or "//localhost" in (wishes.platform or "")
    usual = "none" if kind == "ogcapi" else "basic" if local else "oidc"
    yield f"  auth: {wishes.auth or usual} # oidc, basic, bearer or none; secrets come from the environment"
    yield "  slots: 2 # jobs at the same time: what the platform allows you"


def _comment(text: str, indent: str) -> list[str]:
    mark = f"{indent}# "
    return textwrap.wrap(" ".join(text.split()), 110, initial_indent=mark, subsequent_indent=mark)


def yaml_line(value: Any) -> str:
    """Return a value as YAML reads it back, on one line."""
    return yaml.safe_dump([value], default_flow_style=True, width=10**6, allow_unicode=True).strip()[1:-1]


def _near(value: Any, folder: Path) -> Any:
    """Return the path of a file as it is seen from the project's folder; anything else as it is."""
    if not isinstance(value, str) or "://" in value:
        return value
    path, mark, part = value.partition("#")
    if not path or not Path(path).exists():
        return value
    near = os.path.relpath(path, folder)
    far = near.startswith(os.path.join(os.pardir, os.pardir))  # noqa: PTH118 -- text
    return (os.path.abspath(path) if far else near) + mark + part  # noqa: PTH100 -- links stay


def area_value(value: str, folder: Path) -> Any:
    """Return an area as the configuration of a project in ``folder`` has it: four numbers, or a text or path."""
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        return _near(value, folder)
    return numbers if len(numbers) == 4 else value
