"""Parts of the package that are installed on demand."""

from __future__ import annotations

from importlib.util import find_spec

from upscaling.errors import UpscalingError

__all__ = ["OPENEO_DRIVER", "absent", "require", "require_local"]

OPENEO_DRIVER = "openeo_driver==0.136.0a4"


def absent(module: str | None, extra: str) -> str:
    """Return what is said where a library is not installed: which extra brings it, and the command."""
    install = f"pip install 'eo-upscaling[{extra}]'"
    if extra == "local":  # openeo_driver asks for an old pystac: pip cannot install it together with the rest
        install += f"; pip install --no-deps '{OPENEO_DRIVER}'"
    return f"needs the extra `{extra}`: {install} ({module} is missing)"


def require(module: str, extra: str) -> None:
    """Check that a library is installed.

    Raises
    ------
    UpscalingError
        With the command that installs it.
    """
    if find_spec(module) is None:
        raise UpscalingError(absent(module, extra))


def require_local() -> None:
    """Check that the embedded back-end can be started.

    Raises
    ------
    UpscalingError
        With the commands that install it.
    """
    for module in ("openeo_processes_dask", "waitress"):
        require(module, "local")
    if find_spec("openeo_driver") is None:
        raise UpscalingError(f"the embedded back-end needs one more package: pip install --no-deps '{OPENEO_DRIVER}'")
