"""What each error class means, what is done about it, and what a person can do."""

from __future__ import annotations

from typing import NamedTuple

from upscaling.errors import ErrorClass

__all__ = ["REMEDIES", "Remedy"]


class Remedy(NamedTuple):
    """A cause, what the package does by itself, and what helps."""

    cause: str
    policy: str
    remedy: str


REMEDIES = {
    ErrorClass.TRANSIENT: Remedy(
        "No connection, a timeout, 408, 429, 5xx, or more jobs than the platform takes at a time.",
        "It is asked again, at growing intervals. It is not a tile's failure; after `backend.outage_hours` the job is "
        "left alone.",
        "run it again when the platform is back: its jobs are found again",
    ),
    ErrorClass.AUTH: Remedy(
        "401, 403, or a refused token.",
        "One new log-in; then the run ends with one line, and the job is left alone.",
        "log in (`openeo-auth`, or the variables of config/README.md), try it with `upscaling check`, and run it again",
    ),
    ErrorClass.QUOTA: Remedy(
        "The account has no credits or storage left.",
        "The run ends with one line, and the job is left alone.",
        "get credits or storage, look at `upscaling estimate`, and run it again",
    ),
    ErrorClass.MEMORY: Remedy(
        "The platform's log, or the cluster, says that the memory did not suffice.",
        "The tile is run again on the next level of `backend.memory_levels`, or with twice the memory on a cluster; "
        "after the last level it fails.",
        "add a level to `backend.memory_levels`, raise `backend.memory_mb`, or take a grid of smaller tiles",
    ),
    ErrorClass.TIME: Remedy(
        "The cluster ended the job at its time limit.",
        "It is submitted again with more time (`backend.growth`), `backend.retries` times; then the tile fails.",
        "raise `backend.site.runtime_min`, or take a grid of smaller tiles",
    ),
    ErrorClass.PERMANENT: Remedy(
        "The platform refused the request, or the algorithm ended with an error.",
        "The tile fails with the platform's own words. The next run submits it again.",
        "repair the algorithm or its parameters by what `upscaling logs RUN TILE` shows, then `upscaling run CONFIG`: "
        "tiles whose work changed run anew; `upscaling retry RUN` where the fault was not yours",
    ),
    ErrorClass.OUTPUT: Remedy(
        "The job ended well, and its results were refused: no raster, another place, too large, or not there after "
        "`backend.lag_seconds`.",
        "The tile fails. The job is paid: the next run fetches and checks its results again.",
        "change `collection` if the check is too strict, and run it again; `upscaling retry --resubmit` pays new jobs",
    ),
    ErrorClass.LOST: Remedy(
        "A node failed or was taken away, or the platform no longer knows the job.",
        "It is submitted again, `backend.resubmit_lost` times in one run; then the tile fails.",
        "run it again",
    ),
    ErrorClass.CANCELED: Remedy(
        "Somebody canceled the job, on the platform or with `upscaling cancel`.",
        "The tile fails. The next run submits it again.",
        "run it again",
    ),
}
