"""The files made from the configuration model: commented default, JSON schema, table of keys."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from upscaling.config import Algorithm, Area, Collection, Config, CwlBackendConfig, ForEach, OpenEOBackendConfig, Time
from upscaling.config import collection as of_collection
from upscaling.config.cwl import Site
from upscaling.config.described import descriptions, schema_of
from upscaling.config.ogcapi import OgcApiBackendConfig
from upscaling.config.openeo import ExportWorkspace
from upscaling.config.products import Mosaic, Publish
from upscaling.config.stage_in import ItemSearch, StageIn

__all__ = ["drifted", "write_all"]

_WIDTH = 110
_DEMO: dict[str, Any] = {
    "run": "demo",
    "algorithm": {
        "source": "config/demo/ndvi_composite.json",
        "parameters": {"temporal_extent": ["2023-06-01", "2023-09-01"]},
    },
    "area": {"aoi": "config/demo/area.geojson", "grid": "utm-2km"},
    "backend": {
        "kind": "openeo",
        "url": "http://127.0.0.1:8787/openeo/1.2",
        "auth": "basic",
        "slots": 2,
        "poll_seconds": [0.2, 10.0],
    },
    "collection": {"title": "NDVI of the demo area", "license": "CC0-1.0"},
}
_HEAD = """\
# yaml-language-server: $schema=../workflow/schemas/config.schema.json
#
# Configuration of a run; as it stands it runs the demo. Keys behind `#` show their defaults.
# Made from src/upscaling/config/model.py by `upscaling config-files`; your own copy can be edited freely.
"""
_BEGIN, _END = "<!-- keys: made by `upscaling config-files` -->\n", "<!-- end of keys -->\n"


def write_all(root: Path) -> None:
    """Write every generated file below the project folder ``root``."""
    for path, text in _generated(root).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def drifted(root: Path) -> list[Path]:
    """Return the generated files that do not say what the model says."""
    return [
        path
        for path, text in _generated(root).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def _generated(root: Path) -> dict[Path, str]:
    readme = root / "config" / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    schema = schema_of(Config)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return {
        root / "config" / "config.yaml": _commented(),
        root / "workflow" / "schemas" / "config.schema.json": json.dumps(schema, indent=2) + "\n",
        readme: f"{before}{_BEGIN}{''.join(_tables())}{_END}{after}",
    }


def _commented() -> str:
    Config.parse(_DEMO)  # what is written must be right
    lines = [_HEAD]
    for name, field in Config.model_fields.items():
        if name == "pathvars":
            continue
        lines.append("")
        if name == "backend":
            lines += ["# Where it runs.", "backend:"]
            lines += _block(OpenEOBackendConfig, _DEMO["backend"], "  ")
            lines += ["", "  # Or, instead of all the above, an application package through Toil (config/README.md):"]
            lines += ["  # kind: cwl", *(f"  # {line}" for line in _defaults(CwlBackendConfig))]
            lines += ["", "  # Or a process on an OGC API - Processes server (config/README.md):"]
            lines += ["  # kind: ogcapi", *(f"  # {line}" for line in _defaults(OgcApiBackendConfig))]
        elif name == "run":
            lines += [*_comment(Config, name, ""), f"run: {_DEMO['run']}"]
        elif not (block := _block_of(field.annotation)):  # a plain value
            lines += [*_comment(Config, name, ""), f"# {name}: {_shown(field)}"]
        elif name in _DEMO:
            lines += [f"# {(block.__doc__ or '').strip()}", f"{name}:", *_block(block, _DEMO[name], "  ")]
        else:  # which the demo does without
            lines += [f"# {line}" for line in (f"{name}: # {(block.__doc__ or '').strip()}", *_indented(block))]
    return "\n".join(lines) + "\n"


def _block_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a block, out of ``Block | None`` or ``Block | list[Block]``; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_block_of, get_args(annotation))), None)


def _indented(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield from _comment(model, name, "  ")
        value = (field.examples or [""])[0] if field.is_required() else field.get_default(call_default_factory=True)
        yield f"  {name}: {json.dumps(value)}"


def _block(model: type[BaseModel], values: dict[str, Any], indent: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield from _comment(model, name, indent)
        mark = "" if name in values else "# "
        value = values.get(name, field.get_default(call_default_factory=True))
        yield f"{indent}{mark}{name}: {json.dumps(value) if not isinstance(value, str) else value}"


def _defaults(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if not field.is_required():
            value = field.get_default(call_default_factory=True)
            yield f"{name}: {{}} # see config/README.md" if isinstance(value, BaseModel) else f"{name}: {value}"


def _comment(model: type[BaseModel], name: str, indent: str) -> list[str]:
    text = " ".join(descriptions(model).get(name, "").split())
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _tables() -> Iterator[str]:
    blocks: list[tuple[str, type[BaseModel]]] = [
        ("", Config),
        ("algorithm", Algorithm),
        ("area", Area),
        ("time", Time),
        ("for_each", ForEach),
        ("for_each.search", ItemSearch),
        ("stage_in", StageIn),
        ("backend, kind `openeo`", OpenEOBackendConfig),
        ("backend.export_workspace", ExportWorkspace),
        ("backend, kind `cwl`", CwlBackendConfig),
        ("backend.site", Site),
        ("backend, kind `ogcapi`", OgcApiBackendConfig),
        ("collection", Collection),
        ("mosaic", Mosaic),
        ("publish", Publish),
        ("collection.assets.&lt;key&gt;", of_collection.AssetDescription),
        ("collection.assets.&lt;key&gt;.bands[]", of_collection.Band),
        ("collection.assets.&lt;key&gt;.bands[].classes[]", of_collection.ClassValue),
        ("collection.renders.&lt;name&gt;", of_collection.Render),
        ("collection.expect", of_collection.Expect),
        ("collection.prr", of_collection.Prr),
    ]
    for title, model in blocks:
        yield f"\n### {title or 'Top level'}\n\n{' '.join((model.__doc__ or '').split())}\n\n"
        yield "| key | default | meaning |\n| --- | --- | --- |\n"
        for name, field in model.model_fields.items():
            text = " ".join(descriptions(model).get(name, "see below").split()).replace("|", "\\|")
            default = "*required*" if field.is_required() else f"`{_shown(field)}`"
            yield f"| `{name}` | {default} | {text} |\n"
    yield from _forms()


def _forms() -> Iterator[str]:
    """Yield the table of the forms that ``algorithm.bind`` chooses from."""
    from upscaling.binding.forms import FORMS

    dimensions = {"area": "the tile", "crs": "the tile's CRS", "step": "the time step"}
    yield "\n### Forms of `algorithm.bind`\n\nWhat a parameter can get of a tile or a time step.\n\n"
    yield "| form | of | what is sent |\n| --- | --- | --- |\n"
    for name, form in FORMS.items():
        yield f"| `{name}` | {dimensions[form.of]} | {form.words} |\n"
    yield "\n"


def _shown(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    return "{}" if isinstance(value, BaseModel) else json.dumps(value)
