"""Blocks below ``backend`` of a run on an openEO platform."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from upscaling.config.collection import Block

__all__ = ["ExportWorkspace"]

_PLACES = {"{run}", "{tile}"}


class ExportWorkspace(Block):
    """Leave the results on the platform, in a workspace of yours there (openEO process `export_workspace`).

    Nothing is downloaded: items point to the workspace, and say which checks could not be made. Part of a tile's
    identity.
    """

    workspace: str = Field(pattern=r"^[\w\-.~]+$", examples=["my-project"])
    """Id of the workspace, as the platform's operator gave it to you."""
    merge: str = "{run}/{tile}"
    """Path in the workspace for one tile's results; `{tile}` must be in it, as names of files repeat between tiles."""

    @field_validator("merge")
    @classmethod
    def _a_place_for_each_tile(cls, value: str) -> str:
        if (
            "{tile}" not in value
            or set(re.findall(r"\{[^}]*\}?", value)) - _PLACES
            or "}" in re.sub(r"\{\w+\}", "", value)
        ):
            raise ValueError("must be a path with {tile}, and perhaps {run}, in it")
        if ".." in value.split("/") or value.startswith("/"):
            raise ValueError("must be a relative path without `..`")
        return value

    def place(self, run: str, tile: str) -> str:
        """Return the path for a tile."""
        return self.merge.replace("{run}", run).replace("{tile}", tile)
