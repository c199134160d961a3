"""Run an Earth-observation algorithm tile by tile over a large area and gather the results.

The Python interface is `upscaling.api`; its names can be imported from here too, but for `estimate`, which is also the
name of a package.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upscaling.api import Config, Run, load_config, open_mosaic, plan, run

__version__ = version("eo-upscaling")
__all__ = ["Config", "Run", "__version__", "load_config", "open_mosaic", "plan", "run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not before it is used: jobs start many processes.
    return getattr(import_module("upscaling.api"), name)
