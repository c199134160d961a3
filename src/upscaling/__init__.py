"""Run an Earth-observation algorithm tile by tile over a large area and gather the results."""

from importlib.metadata import version

__version__ = version("eo-upscaling")
__all__ = ["__version__"]
