"""Which class a platform's complaint belongs to, and what is done about each class.

| class          | examples                                          | policy                                        |
|----------------|---------------------------------------------------|-----------------------------------------------|
| transient      | no connection, 408, 429, 5xx, too many jobs       | wait and ask again; never a tile's failure,   |
|                |                                                   | but after `outage_hours` the job is left alone|
| authentication | 401, 403, token refused                           | log in again, once; then stop with one line,  |
|                |                                                   | the job is left alone                         |
| quota          | payment required, no credits left                 | stop with one line; the job is left alone     |
| out-of-memory  | the platform's log names memory                   | the next rung of `memory_ladder`, as another  |
|                |                                                   | job; at its end the tile fails                |
| lost           | the platform's log names a lost node, preemption, | submitted again, `resubmit_lost` times in one |
|                | eviction, its own death                           | run; then the tile fails                      |
| canceled       | by somebody on the platform, `upscaling cancel`   | the tile fails; the next run submits it again |
| permanent      | wrong graph, unknown collection, other job errors | the tile fails with the platform's own words  |
|                | job vanished, never starts, results are gone      | the tile fails; the next run submits it again |
| bad-output     | no raster, wrong extent, too large, hostile links | the tile fails; the job is paid, so the next  |
|                |                                                   | run fetches and checks its results again; only|
|                |                                                   | `upscaling retry --resubmit` makes another    |
| no data        | the platform's log says that nothing was found    | a success without assets                      |
"""

from __future__ import annotations

import re

from upscaling.errors import ErrorClass

__all__ = ["classify_http", "classify_log", "is_no_data", "without_particulars"]

_QUOTA_CODES = {"PaymentRequired", "BudgetInvalid", "CreditsInsufficient", "StorageQuotaExceeded"}
_TRANSIENT_CODES = {"ConcurrentJobLimit", "TooManyRequests", "ServiceUnavailable", "Internal", "Timeout"}
_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
_GATEWAY_STATUS = {404}  # without an openEO error code it is a proxy's answer, and says nothing of the job
_MEMORY = re.compile(
    r"out ?of ?memory|\boom\b|oomkilled|outofmemoryerror|memory limit|cannot allocate memory|memoryerror"
    r"|java heap space|exit code 137|executor-memory",
    re.IGNORECASE,
)
# A platform's own trouble: YARN (exit status -100, -102), Kubernetes and Spark on it, Slurm, the embedded back-end. Not
# "executor lost": that is most often the job's own hunger for memory.
_LOST = re.compile(
    r"\bBackendDied\b|\blost\*? node\b|\bnode[ _-]?(?:fail(?:ure|ed)?|lost)\b|\bimminent node shutdown\b"
    r"|\bnode \S{0,80} ?(?:was|is|has been) (?:lost|preempted|drained|shut ?down|terminated)\b|\bpre-?empt(?:ed|ion)\b"
    r"|\bpod\b.{0,120}\bevicted\b|\bspot (?:instance )?(?:interruption|termination)\b"
    r"|\bexited unrelated to the running tasks\b",
    re.IGNORECASE,
)
_NO_DATA = re.compile(r"\bNoDataAvailable\b|no data (?:is )?available|empty (?:data ?)?cube", re.IGNORECASE)


def classify_http(status: int | None, code: str | None) -> ErrorClass:
    """Class of a refused request, from the HTTP status and the openEO error code (openEO API 1.2, errors.json)."""
    if code in _TRANSIENT_CODES or (code is None and status in _GATEWAY_STATUS):
        return ErrorClass.TRANSIENT
    if code in _QUOTA_CODES or status == 402:
        return ErrorClass.QUOTA
    if status in {401, 403}:
        return ErrorClass.AUTH
    return ErrorClass.TRANSIENT if status in _TRANSIENT_STATUS else ErrorClass.PERMANENT


def classify_log(text: str) -> ErrorClass:
    """Class of a job that the platform ended in error, from the words of its log."""
    if _MEMORY.search(text):
        return ErrorClass.MEMORY
    return ErrorClass.LOST if _LOST.search(text) else ErrorClass.PERMANENT


def is_no_data(text: str) -> bool:
    """Whether a job's error log says that there was nothing to process: a result, not a fault."""
    return bool(_NO_DATA.search(text))


_PARTICULARS = re.compile(
    r"\b[0-9a-f]{8,}\b|\bj-\S+|\d+(\.\d+)?|\S*/\S*"
)  # ids, numbers and paths differ from tile to tile


def without_particulars(reason: str) -> str:
    """Return a reason without what is different for each tile, so that like can be counted with like."""
    return _PARTICULARS.sub("…", reason)
