"""What a pinned package asks for, in facts for a person or a preflight: inputs, tools, images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from upscaling.algorithms.cwl.pin import images, processes, uses_javascript
from upscaling.algorithms.cwl.types import describe, plain_type, short_name
from upscaling.binding.cwl import CwlBinder
from upscaling.errors import ConfigError
from upscaling.model import Algorithm, Parameter
from upscaling.stage_in.inputs import staged_words
from upscaling.util.files import read_json

__all__ = ["describe_package"]

RESOURCES = ("coresMin", "coresMax", "ramMin", "ramMax", "tmpdirMin", "outdirMin")


class _Described(CwlBinder):
    """What a tile would fill, also while a required input has no value."""

    def left_out(self, parameter: Parameter, *, space: bool) -> None:
        """Leave out an input without a value."""


def describe_package(
    algorithm: Algorithm, parameters: Mapping[str, Any] | None = None, bind: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what a package is and needs, as JSON values.

    Returns
    -------
    dict
        ``id``, ``title``, ``version``, ``sha256``; ``inputs``: name → ``type``, ``required``, ``default`` and ``from``,
        which is ``tile (<form>)``, ``parameters``, ``default``, ``left out`` or ``missing``, and ``stage_in``: what it
        would be given of STAC items (``a local catalogue`` …), or None where it takes none; ``step``: what it would get
        of a time step, or None; ``why``: why it was chosen for the tile, or None; ``problem``: why nothing
        takes the tile, or None; ``outputs``: name → type; ``tools``: name → its command and resources (cores,
        MiB); ``images``; ``images_required``: those under requirements; ``requirements``: their classes;
        ``javascript``; ``scatters``: steps that run once per element.
    """
    given = dict(parameters or {})
    document = read_json(algorithm.path)
    problem = None
    try:
        choices = _Described(algorithm, given, bind or {}).choices
    except ConfigError as error:
        choices, problem = {}, str(error)
    steps = CwlBinder.time_choices([p for p in algorithm.parameters if p.name not in {*choices, *given}])
    inputs = {}
    for parameter in algorithm.parameters:
        choice, step = choices.get(parameter.name), steps.get(parameter.name)
        if choice:
            source = f"tile ({choice.form})"
        elif parameter.name in given:
            source = "parameters"
        elif parameter.required:
            source = "missing"
        else:
            source = "left out" if parameter.default is None else "default"
        inputs[parameter.name] = {
            "type": describe(parameter.schema),
            "required": parameter.required,
            "default": parameter.default,
            "from": source,
            "why": choice.why if choice else None,
            "step": step.form if step else None,
            "stage_in": None if choice or step else staged_words(parameter),
        }
    main = next(process for process in document["$graph"] if process["id"] == "#main")
    parts = [step for process in processes(document) for step in process.get("steps", [])]
    return {
        "id": algorithm.id,
        "title": algorithm.title,
        "version": algorithm.version,
        "sha256": algorithm.sha256,
        "inputs": inputs,
        "problem": problem,
        "outputs": {short_name(output["id"]): describe(plain_type(output["type"], {})) for output in main["outputs"]},
        "tools": dict(_tools(document)),
        "images": images(document),
        "images_required": images(document, required=True),
        "javascript": uses_javascript(document),
        "requirements": sorted(
            {entry["class"] for process in document["$graph"] for entry in process.get("requirements", [])}
        ),
        "scatters": sorted(short_name(step["id"]) for step in parts if step.get("scatter")),
    }


def _tools(document: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, process in enumerate(processes(document)):
        if process["class"] == "CommandLineTool":
            command = process.get("baseCommand") or []
            entries = [*process.get("requirements", []), *process.get("hints", [])]
            resources: dict[str, Any] = next(
                (entry for entry in entries if entry["class"] == "ResourceRequirement"), {}
            )
            yield (
                short_name(process["id"]) if "id" in process else f"inline {number}",
                {
                    "command": command if isinstance(command, list) else [command],
                    "resources": {key: resources[key] for key in RESOURCES if key in resources},
                },
            )
