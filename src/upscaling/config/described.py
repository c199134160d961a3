"""What the texts below the fields of a model say, read from its source when somebody asks.

pydantic can read them too (``use_attribute_docstrings``), but does so whenever a class is made: a third of the time in
which Snakemake reads the Snakefile, which each job on a cluster does.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from upscaling.config.collection import Block

__all__ = ["descriptions", "schema_of"]


@cache
def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return field -> text, for the fields of a model that have one, inherited ones too."""
    found: dict[str, str] = {}
    for place in reversed(model.__mro__):
        if issubclass(place, Block):
            found |= _below_fields(place)
    said = {name: field.description for name, field in model.model_fields.items() if field.description}
    return {**found, **said}


def _below_fields(model: type[BaseModel]) -> dict[str, str]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 -- it is the source of a class
    return {
        line.target.id: inspect.cleandoc(text.value.value)
        for line, text in pairwise(definition.body)
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a model, with the texts of its fields and of those of its blocks."""
    schema = model.model_json_schema()
    parts = {**schema.get("$defs", {}), model.__name__: schema}
    for block in _blocks(Block):
        for name, text in descriptions(block).items() if block.__name__ in parts else ():
            properties = parts[block.__name__]["properties"]
            properties[name] = dict(sorted({**properties[name], "description": text}.items()))
    return schema


def _blocks(block: type[Block]) -> Iterator[type[Block]]:
    yield block
    for narrower in block.__subclasses__():
        yield from _blocks(narrower)
