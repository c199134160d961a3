"""The configuration of a run: one pydantic model, one module per block."""

from upscaling.config.model import (
    Algorithm,
    Area,
    Collection,
    Config,
    CwlBackendConfig,
    ForEach,
    OgcApiBackendConfig,
    OpenEOBackendConfig,
    Time,
    load_config,
)

__all__ = [
    "Algorithm",
    "Area",
    "Collection",
    "Config",
    "CwlBackendConfig",
    "ForEach",
    "OgcApiBackendConfig",
    "OpenEOBackendConfig",
    "Time",
    "load_config",
]
