"""What of a platform's configuration makes results differ: a part of the plan's key and of every tile's."""

from __future__ import annotations

from upscaling.config.model import CwlBackendConfig, OgcApiBackendConfig, OpenEOBackendConfig

__all__ = ["identity_of"]


def identity_of(
    config: OpenEOBackendConfig | CwlBackendConfig | OgcApiBackendConfig, *, service: str | None = None
) -> str:
    """Return what makes results differ by place: part of the plan's key and of every tile's.

    Parameters
    ----------
    service
        The platform that a catalogue record names; it counts where the configuration names none.

    Raises
    ------
    ConfigError
        Only when ``service`` was looked up and there is no address at all.
    """
    if config.kind == "cwl":
        return "cwl"
    if config.kind == "ogcapi" and config.objects == "bare":  # other requests, and so other work
        return f"ogcapi {config.url or service or ''} bare"
    place = f"{config.kind} {(config.url or service or '').rstrip('/')}"
    if config.kind == "openeo" and config.export_workspace is not None:  # its results are elsewhere
        return f"{place} workspace {config.export_workspace.workspace}/{config.export_workspace.merge}"
    return place
