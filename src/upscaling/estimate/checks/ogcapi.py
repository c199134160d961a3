"""Checks of an OGC API - Processes server: process, asynchronous jobs, inputs, slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from upscaling.errors import ConfigError, PlatformError
from upscaling.estimate.checks.common import unasked
from upscaling.estimate.model import Check, no, unknown, yes

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
    found = [yes("platform", f"{url} answers", "backend.url")]
    if packaged:
        found.append(unknown("processes", "the package is deployed when the run begins"))
    elif work.algorithm.id in offered:
        found.append(yes("processes", f"it has {work.algorithm.id}"))
        options = offered[work.algorithm.id].get("jobControlOptions") or []
        several = "async-execute" in options or not options
        words = "runs jobs in the background" if several else "answers only while one waits: long jobs may be cut off"
        found.append(Check(name="jobs", answer="yes" if several else "unknown", text=words))
    else:
        text = f"the server has no process {work.algorithm.id}"
        found.append(no("processes", text, "algorithm.source"))
    limit = f"OGC API servers advertise no limit; {config.slots} are configured"
    found.append(unknown("slots", limit, "backend.slots"))
    found.append(unknown("credits", "OGC API servers do not tell what an account has left"))
    links = [link for link in landing.get("links") or () if isinstance(link, dict)]
    terms = next((str(link.get("href")) for link in links if link.get("rel") in {"terms-of-service", "license"}), "")
    answer = yes("terms", terms) if terms else None
    return [*found, answer or unknown("terms", "the server links to no terms of service")]
