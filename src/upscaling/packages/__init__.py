"""OGC application packages (20-089r1): read and pinned into one file, and bound to a tile. Runs nothing."""

from upscaling.packages.bind import FORMS, bind_package, tile_inputs
from upscaling.packages.describe import describe_package
from upscaling.packages.pin import images, pin_package, tool_path, uses_javascript

__all__ = [
    "FORMS",
    "bind_package",
    "describe_package",
    "images",
    "pin_package",
    "tile_inputs",
    "tool_path",
    "uses_javascript",
]
