"""OGC application packages (20-089r1): read and pinned into one file. Runs nothing."""

from upscaling.algorithms.cwl.pin import images, pin_package, uses_javascript

__all__ = ["images", "pin_package", "uses_javascript"]
