"""The configuration as the user wrote it, out of what Snakemake made of it.

Snakemake merges the files of ``--configfile``, the values of ``--config`` and the files of ``configfile:`` into one
dictionary. Which file a value came from, a key that stood twice, and the types inside ``--config key={…}`` are lost in
it, so the files and options are read here once more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upscaling.config import Config
from upscaling.config.values import Keys, Sources, labels_of, merge, parse_value, plain, read_values
from upscaling.errors import ConfigError
from upscaling.util.upstream import Patch

__all__ = ["HANDS_ON", "hand_on", "hand_on_replacement", "merged_config"]

_OPTIONS = "--config"
HANDS_ON = Patch(
    "snakemake",
    ">=9.27,<9.28",
    ("snakemake.spawn_jobs:SpawnedJobArgsFactory.get_configfiles_arg(self)",),
    "jobs on a cluster may not know of --replace-workflow-config",
)
_DEPTH = 4  # blocks in which the configuration of an imported workflow is looked for


def merged_config(config: Any, workflow: Any) -> Config:
    """Return the checked configuration of a workflow, whether it is run or imported as a module.

    Parameters
    ----------
    config
        Snakemake's merged configuration of this workflow (of a module: its block).
    workflow
        Snakemake's own object.

    Raises
    ------
    ConfigError
        With the file, or ``--config``, that holds the key to blame.
    """
    settings = workflow.config_settings
    prefix = _prefix_of(workflow.modifier_stack[0].globals.get("config"), config)
    if prefix is None:  # made by the importing workflow's own code: no file to name
        return Config.parse(config, sources=Sources((("config of the module", config),)))
    own = [Path(file) for file in workflow.configfiles if Path(file) not in settings.configfiles]  # of `configfile:`
    replaced = settings.replace_workflow_config and settings.overwrite_config
    files = [*([] if replaced else own), *settings.configfiles]
    parts: list[tuple[str, Any]] = [
        (label, read_values(file, prefix))
        for file, label in zip(files, labels_of(files), strict=True)
        if file.is_file()  # not a pipe, which can be read once only
    ]
    values = plain(config)
    if settings.config:
        typed = _typed(settings.config)
        parts.append((_OPTIONS, typed))
        values = _laid_over(values, _below(plain(settings.config), prefix), _below(typed, prefix))
    return Config.parse(values, sources=Sources(tuple(parts), prefix))


def _prefix_of(whole: Any, block: Any, above: Keys = ()) -> Keys | None:
    """Return the keys that lead to a module's block of the configuration; nothing for the configuration itself."""
    if whole is block or (not above and whole == block):
        return above
    if isinstance(whole, Mapping) and len(above) < _DEPTH:
        for key, value in whole.items():
            if isinstance(value, Mapping) and value:
                found = (*above, str(key)) if value == block else _prefix_of(value, block, (*above, str(key)))
                if found is not None:
                    return found
    return None


def _below(values: Any, keys: Keys) -> Any:
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _typed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of ``--config`` with types: inside blocks and lists Snakemake makes text of everything."""
    from snakemake.cli import parse_config

    typed: dict[str, Any] = {}
    for key, value in options.items():
        words = [word for word in sys.argv if word.startswith(f"{key}=")]
        if words and parse_config(words)[key] == value:
            read: dict[str, Any] = {}
            for word in words:
                merge(read, _with_key_named(key, word.partition("=")[2]))
            typed[key] = read[key]
        else:  # given by a program, with types of its own
            typed[key] = plain(value)
    return typed


def _with_key_named(key: str, text: str) -> dict[str, Any]:
    try:
        return {key: parse_value(text, _OPTIONS)}
    except ConfigError as error:
        raise ConfigError(error.message, key=f"{key}.{error.key}" if error.key else key, file=error.file) from None


def _laid_over(values: Any, text: Any, typed: Any) -> Any:
    """Return ``values`` in which every leaf that came from an option has the option's type."""
    if isinstance(values, Mapping) and isinstance(text, Mapping) and isinstance(typed, Mapping):
        more = {name: _laid_over(values[name], text[name], typed.get(name)) for name in text if name in values}
        return {**values, **more}
    return typed if values == text else values


def hand_on(workflow: Any, kept: Path) -> None:
    """Let jobs elsewhere (SLURM) read the run's kept configuration: also if the user's file changes meanwhile.

    Not where another workflow imports this one, whose own configuration is in the same files.
    """
    if workflow.is_main_process and len(workflow.modifier_stack) == 1:
        workflow.config_settings.configfiles = [Path(os.path.abspath(kept))]  # noqa: PTH100 -- links stay
        workflow.config_settings.config_args = None


def hand_on_replacement() -> None:
    """Let jobs elsewhere know of ``--replace-workflow-config``, which Snakemake (9.27) does not pass on to them."""
    from snakemake.spawn_jobs import SpawnedJobArgsFactory as Factory

    if getattr(Factory, "hands_on_replacement", False) or not HANDS_ON.applies():
        return
    arguments = Factory.get_configfiles_arg

    def get_configfiles_arg(self: Any) -> str:
        replaced = self.workflow.config_settings.replace_workflow_config
        return str(arguments(self)) + (" --replace-workflow-config" if replaced else "")

    Factory.get_configfiles_arg, Factory.hands_on_replacement = get_configfiles_arg, True
