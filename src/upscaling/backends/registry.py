"""Where tiles run: one module per kind of platform, behind the protocol in ``base``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upscaling.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from upscaling.backends.base import Backend
    from upscaling.config import CwlBackendConfig, OgcApiBackendConfig, OpenEOBackendConfig

    BackendConfig = OpenEOBackendConfig | CwlBackendConfig | OgcApiBackendConfig

__all__ = ["get_backend"]


def get_backend(
    config: BackendConfig, plan_facts: dict[str, Any], run_folder: Path, *, attempt: int = 1, warm: bool = False
) -> Backend:
    """Build the backend that a configuration asks for; its module is imported only now.

    Parameters
    ----------
    attempt
        How often Snakemake has tried the tile in this run, this time included.
    warm
        Whether the caller runs many tiles, without threads: a backend may then load what it needs once.
    """
    if config.kind == "cwl":
        from upscaling.backends.cwl.backend import CwlBackend

        package = run_folder / "plan" / plan_facts["algorithm"]["file"] if warm else None
        return CwlBackend(config, run_folder=run_folder, attempt=attempt, warm=package)
    if config.kind == "ogcapi":
        from upscaling.backends.ogcapi.backend import OgcApiBackend

        return OgcApiBackend(config, url=plan_facts["service"], run_folder=run_folder)
    from upscaling.backends.openeo.backend import OpenEOBackend

    url = config.url or plan_facts.get("service")
    if not url:
        raise ConfigError("is required: the algorithm's source names no platform", key="backend.url")
    return OpenEOBackend(
        config,
        url=url.rstrip("/"),
        output_format=plan_facts["output_format"],
        run_folder=run_folder,
        bbox=plan_facts["bbox"],
    )
