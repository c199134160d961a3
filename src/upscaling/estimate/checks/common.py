"""Checks that hold for any platform: deadline, budget, disk, token, inputs, where results go, licence."""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from upscaling.config.deadline import seconds_left
from upscaling.estimate.model import Answer, Check, no, unknown, yes
from upscaling.estimate.show import duration

if TYPE_CHECKING:
    from upscaling.estimate.model import Estimate
    from upscaling.estimate.run import Known

__all__ = ["UNASKED", "checks", "unasked"]

UNASKED = "the platform was not asked"

# A raster of one band of bytes in pixels of 10 m; compression leaves a twentieth of it at the very least.
_GB_PER_KM2, _COMPRESSED = 100.0 * 100.0 / 1e9, 0.05
_RASTERS = {"gtiff", "netcdf", "zarr", "cog", "png"}
_TOKENS = {"openeo": "OPENEO_AUTH_TOKEN", "ogcapi": "OGCAPI_TOKEN"}
_OPEN = {"other", "proprietary", "various", ""}


def checks(known: Known, estimate: Estimate) -> list[Check]:
    """Return the checks that need no platform."""
    return [
        _deadline(known),
        _budget(known, estimate),
        _inputs(known),
        _token(known, estimate),
        _disk(known, estimate),
        _results(known),
        _licence(known),
    ]


def unasked(*names: str) -> list[Check]:
    """Return checks that only the platform could answer, which was not asked."""
    return [Check(name=name, answer="unknown", text=UNASKED) for name in names]


def _deadline(known: Known) -> Check:
    left = seconds_left(known.config.deadline)
    if left <= 0:
        return no("deadline", f"{known.config.deadline} has passed; give one that lies ahead", "deadline")
    return yes("deadline", f"{duration(left)} are left", "deadline")


def _budget(known: Known, estimate: Estimate) -> Check:
    limit = known.config.budget or getattr(known.config.backend, "run_budget", None)
    key = "budget" if known.config.budget else "backend.run_budget"
    if limit is None:
        return yes("budget", "no budget is set", "budget")
    left, charge = estimate.jobs - estimate.finished, _charge(known, estimate)
    if charge is not None and estimate.spent + left * charge > limit:
        text = (
            f"{left:,} jobs at the minimum charge of {charge:g} and {estimate.spent:g} spent"
            f" exceed the budget of {limit:g} {estimate.currency}"
        )
        return no("budget", text, key)
    if charge is None and estimate.cost is not None and estimate.cost.p05 > limit:
        text = f"the run costs at least {estimate.cost.p05:,.4g} {estimate.currency}, over the budget of {limit:g}"
        return no("budget", text, key)
    if charge is None:
        return unknown("budget", "the minimum charge of a job is not known", key)
    return yes("budget", f"{limit:g} is above the minimum charge of all jobs", key)


def _charge(known: Known, estimate: Estimate) -> float | None:
    """Return the least that a job costs: the lowest that was seen, or a flat price."""
    if estimate.minimum_charge is not None:
        return estimate.minimum_charge
    price = known.stated.price
    return price.amount if price is not None and not price.per and price.amount > 0 else None


def _inputs(known: Known) -> Check:
    work = known.work
    if not work.counted:
        return unknown("inputs", "no catalogue is known that tells which jobs have data")
    empty, number = int(work.empty.sum()), len(work.empty)
    if empty == number:
        return no("inputs", "no job has any item of the catalogue", "stage_in")
    least, most = int(work.observations[~work.empty].min()), int(work.observations.max())
    without = f"; {empty:,} have none and are not sent" if empty else ""
    return yes("inputs", f"{least} to {most} items a job{without}", "stage_in")


def _token(known: Known, estimate: Estimate) -> Check:
    backend = known.config.backend
    method = getattr(backend, "auth", "none")
    key = "backend.auth"
    if method in {"none", "basic"}:
        return yes("token", f"log-in `{method}` does not run out", key)
    if method != "bearer":
        return yes("token", f"log-in `{method}` renews its token by itself", key)
    variable = _TOKENS[backend.kind]
    ends = _expiry(os.environ.get(variable, ""))
    if ends is None:
        return unknown("token", f"{variable} does not tell when it runs out", key)
    left = ends - time.time()
    if left <= 0:
        return no("token", f"{variable} ran out {-left / 60:.0f} minutes ago", key)
    lives = f"{variable} is good for {left / 3600:.1f} hours"
    return _lasting(lives, left, estimate)


def _lasting(lives: str, left: float, estimate: Estimate) -> Check:
    """Hold the rest of a token's life, in seconds, against the time that the run takes."""
    key = "backend.auth"
    if estimate.seconds is None:
        return unknown("token", f"{lives}; how long the run takes is not known", key)
    if estimate.seconds.p90 > left:
        takes = f"the run may take {estimate.seconds.p90 / 3600:.1f}: use a log-in that renews itself (oidc)"
        return no("token", f"{lives}, {takes}", key)
    return yes("token", lives, key)


def _expiry(token: str) -> float | None:
    """Return when a JSON web token expires, in seconds since 1970; None for a token of another kind."""
    parts = token.rpartition("/")[2].split(".")  # openEO puts kind and provider before it
    if len(parts) != 3:
        return None
    try:
        content = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(content["exp"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None


def _disk(known: Known, estimate: Estimate) -> Check:
    if getattr(known.config.backend, "export_workspace", None) is not None:
        return yes("disk", "results stay on the platform")
    place = known.run_folder.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    has = f"{_size(free)} free where the results go"
    if estimate.result_gb is not None:
        needed = max(estimate.result_gb.p90 - _bytes_done(known) / 1e9, 0.0)
        text = f"{_size(needed)} expected, {has}"
        answer: Answer = "yes" if needed <= free else "no"
    elif known.config.algorithm.output_format.lower() in _RASTERS:
        raster = _GB_PER_KM2 * estimate.processed_km2
        text = f"a band of bytes at 10 m takes {_size(raster)}, {_size(raster * _COMPRESSED)} compressed; {has}"
        answer = "no" if raster * _COMPRESSED > free else "unknown"
    else:
        text, answer = f"the size of the results is not known; {has}", "unknown"
    if answer == "no":
        text += "; use another folder or backend.export_workspace"
    return Check(name="disk", answer=answer, text=text)


def _bytes_done(known: Known) -> float:
    import numpy as np

    return 0.0 if known.jobs is None else float(np.nansum(known.jobs.result_bytes))


def _results(known: Known) -> Check:
    publish = known.config.publish
    if publish is None:
        return yes("results", "results come to this machine; nothing is published")
    if not any(name.endswith("ACCESS_KEY_ID") and value for name, value in os.environ.items()):
        text = f"publishing to {publish.s3} needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        return no("results", text, "publish.s3")
    return yes("results", f"published to {publish.s3}", "publish.s3")


def _licence(known: Known) -> Check:
    record: dict[str, Any] = known.work.algorithm.record or {}
    licence = str((record.get("properties") or {}).get("license") or "")
    links = [link for link in record.get("links") or () if isinstance(link, dict)]
    terms = next((str(link.get("href")) for link in links if link.get("rel") in {"license", "order"}), "")
    where = f"; terms: {terms}" if terms else ""
    if licence.lower() in _OPEN:
        words = f"licence `{licence}`" if licence else "no licence is stated"
        return unknown("licence", f"{words}{where}; ask the provider whether upscaling is covered")
    return yes("licence", f"{licence}{where}")


def _size(gigabytes: float) -> str:
    return f"{gigabytes:,.3g} GB" if gigabytes >= 0.1 else f"{gigabytes * 1000:,.2g} MB"
