"""Where the workflow's own files are: beside the installed package, or in the checkout that it is installed from."""

from __future__ import annotations

from pathlib import Path

from upscaling.errors import UpscalingError

__all__ = ["project_path"]


def project_path(*parts: str) -> Path:
    """Return the path of a file of the project, as ``Snakefile`` or ``workflow/profiles/local``.

    Raises
    ------
    UpscalingError
        If the installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    for root in (package / "project", package.parents[1]):
        if (root / "Snakefile").is_file():
            return root.joinpath(*parts)
    raise UpscalingError(f"the workflow's files are missing beside {package}: install eo-upscaling again")
