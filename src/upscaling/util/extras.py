"""Parts of the package that are installed on demand."""

from __future__ import annotations

from importlib.util import find_spec

from upscaling.errors import UpscalingError

__all__ = ["require", "require_local"]

OPENEO_DRIVER = "openeo_driver==0.136.0a4"


def require(module: str, extra: str) -> None:
    """Check that a library is installed.

    Raises
    ------
    UpscalingError
        With the command that installs it.
    """
    if find_spec(module) is None:
        raise UpscalingError(f"needs the extra `{extra}`: pip install 'eo-upscaling[{extra}]' ({module} is missing)")


def require_local() -> None:
    """Check that the embedded back-end can be started.

    Raises
    ------
    UpscalingError
        With the commands that install it: openeo_driver asks for an old pystac, so that pip cannot install it together
        with the rest.
    """
    require("openeo_processes_dask", "local")
    if find_spec("openeo_driver") is None:
        raise UpscalingError(f"the embedded back-end needs one more package: pip install --no-deps '{OPENEO_DRIVER}'")
