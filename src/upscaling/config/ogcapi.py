"""The block ``backend`` of a run on an OGC API - Processes server."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from upscaling.config.collection import Block, PollSeconds, ServerUrl

__all__ = ["OgcApiBackendConfig"]


class OgcApiBackendConfig(Block):
    """An OGC API - Processes server: one job per tile."""

    kind: Literal["ogcapi"]
    """`ogcapi`: jobs on an OGC API - Processes server. `algorithm.source` is then the process's URL, its id (with
    `url`), a catalogue record, or an application package (CWL), which is deployed on the server first."""
    url: ServerUrl | None = Field(None, examples=["https://processing.example.org/ogc-api"])
    """Landing page of the server, without `/processes`. May be left out where `algorithm.source` says it."""
    auth: Literal["none", "basic", "bearer", "oidc", "exchange"] = "none"
    """How to log in. `basic`: OGCAPI_USERNAME and OGCAPI_PASSWORD. `bearer`: OGCAPI_TOKEN. `oidc`: client credentials,
    OGCAPI_CLIENT_ID and OGCAPI_CLIENT_SECRET, with OGCAPI_ISSUER or OGCAPI_TOKEN_URL. `exchange`: OGCAPI_SUBJECT_TOKEN
    is exchanged there for a token that the server takes. Secrets never stand here, nor go to another host."""
    slots: int = Field(2, ge=1, le=1000)
    """Jobs of this run at the same time: what the platform allows you. Changing it re-runs nothing."""
    on_unknown: Literal["ask", "resubmit", "fail"] = "fail"
    """When a connection broke while a job was being created, and the server's job list does not tell whether it was:
    `fail` stops the tile with one line; `ask` asks at the start of the next run on a terminal; `resubmit` submits it
    again, which may run and cost twice."""
    response: Literal["auto", "raw", "document"] = "auto"
    """Shape of the results to ask for; `auto`: raw for a process with one output, a document for several."""
    objects: Literal["qualified", "bare"] = "qualified"
    """How objects (GeoJSON) are sent: `{value: …}`, as the standard has it, or bare, as some servers want them."""
    deploy_as: Literal["cwl", "execution-unit"] = "cwl"
    """How an application package is deployed: as CWL, or inside an OGC application package (`executionUnit`)."""
    on_deployed: Literal["fail", "use", "replace"] = "fail"
    """When another process has the package's id already: `use` it as it is, or `replace` it for everybody."""
    undeploy: bool = False
    """Remove a package that this run deployed from the server when the run ends."""
    stop_after: int = Field(5, ge=0)
    """Launch no more tiles when this many failed for the same reason before any succeeded; 0 for never."""
    timeout_hours: float = Field(24.0, gt=0, le=87_600)
    """Give up waiting for a job after this time; the job itself is left alone and found again by the next run."""
    poll_seconds: PollSeconds = Field([1.0, 60.0])
    """Shortest and longest time between two questions about a job's state; it grows with the job's age."""

    @field_validator("url")
    @classmethod
    def _landing_page(cls, value: str | None) -> str | None:
        return value.removesuffix("/processes") if value else value
