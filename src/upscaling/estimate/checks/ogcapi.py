"""Checks of an OGC API - Processes server: process, asynchronous jobs, inputs, slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from upscaling.errors import ConfigError, PlatformError
from upscaling.estimate.checks.common import unasked
from upscaling.estimate.model import Check

if TYPE_CHECKING:
    from upscaling.estimate.model import Estimate
    from upscaling.estimate.run import Known

__all__ = ["checks"]

NAMES = ("platform", "processes", "jobs", "slots", "credits", "format", "terms")


def checks(known: Known, estimate: Estimate, *, ask: bool) -> list[Check]:
    """Return what the server tells.

    Raises
    ------
    ConfigError
        If it cannot be reached or does not let us in.
    """
    from upscaling.clients.ogcapi.client import OgcApiClient

    del estimate
    config, work = known.config.backend, known.work
    assert config.kind == "ogcapi"  # noqa: S101 -- the caller chose by kind
    url = config.url or work.service
    if not ask or not url:
        return unasked(*NAMES)
    client = OgcApiClient(url, config.auth)
    try:
        landing = client.landing()
        packaged = work.algorithm.path.suffix != ".json"
        offered = {str(entry.get("id")): entry for entry in client.processes()}
    except PlatformError as error:
        raise ConfigError(str(error), key="backend.url") from None
    found = [Check(name="platform", answer="yes", text=f"{url} answers", key="backend.url")]
    if packaged:
        found.append(Check(name="processes", answer="unknown", text="the package is deployed when the run begins"))
    elif work.algorithm.id in offered:
        found.append(Check(name="processes", answer="yes", text=f"it has {work.algorithm.id}"))
        options = offered[work.algorithm.id].get("jobControlOptions") or []
        several = "async-execute" in options or not options
        words = "runs jobs in the background" if several else "answers only while one waits: long jobs may be cut off"
        found.append(Check(name="jobs", answer="yes" if several else "unknown", text=words))
    else:
        text = f"the server has no process {work.algorithm.id}"
        found.append(Check(name="processes", answer="no", text=text, key="algorithm.source"))
    found.append(
        Check(
            name="slots",
            answer="unknown",
            text=f"OGC API servers advertise no limit; {config.slots} are configured",
            key="backend.slots",
        )
    )
    found.append(Check(name="credits", answer="unknown", text="OGC API servers do not tell what an account has left"))
    links = [link for link in landing.get("links") or () if isinstance(link, dict)]
    terms = next((str(link.get("href")) for link in links if link.get("rel") in {"terms-of-service", "license"}), "")
    answer = Check(name="terms", answer="yes", text=terms) if terms else None
    return [*found, answer or Check(name="terms", answer="unknown", text="the server links to no terms of service")]
