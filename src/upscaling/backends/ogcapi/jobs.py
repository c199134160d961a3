"""Which of a server's jobs is ours: the standard knows no key, title or label of a job.

A creation whose outcome is unknown (a broken line, a killed process) is settled in this order:

1. A server that repeats what a job was sent (in the list, in its status, or at ``/jobs/{id}/inputs``) tells it itself:
   the job with this tile's inputs, created since the intent was written, is ours. It may write them in another way
   (see ``same_inputs``): a job is not ours only where a plain value differs for certain.
2. A server that lists its jobs tells by elimination: if every job of the process that is as new as the intent has a
   receipt of this run, or was sent other inputs, ours was never created.
3. Else nobody knows. The tile stops with one line, or is submitted again where the user has decided so
   (``backend.on_unknown``). Never is a job adopted that could be another tile's, never one created silently twice.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from upscaling.backends.ogcapi.same_inputs import Match, as_mapping, same_inputs
from upscaling.binding.secret_values import revealed
from upscaling.clients.ogcapi.client import STATUSES, OgcApiClient, id_in
from upscaling.clients.ogcapi.http import JSON
from upscaling.errors import ErrorClass, PlatformError, TileFailedError
from upscaling.jobs.receipts import Receipt, read_receipts
from upscaling.model import TileJob
from upscaling.util.files import write_json
from upscaling.util.text import plain_text

__all__ = ["decide_unknown", "find_job", "inputs_in", "is_since", "words_of_failure"]

# A job that failed is the answer, too: the tile then says why, and only the next run sends another.
_FURTHEST = ("canceled", "error", "created", "queued", "running", "finished")
_ZONES = dt.timedelta(hours=14)
_CLOCKS = dt.timedelta(seconds=60)  # by which the server's clock may differ from ours, after its Date was compared
_OTHERS = (0.5, 1.0, 2.0, 4.0, 8.0)  # s to wait for other tiles of the run to claim their jobs
_MOST_LOOKUPS = 200  # jobs that are asked one by one
_LAST_LINES = 5
_ERROR = re.compile(r"\b(?:error|critical|fatal)\b", re.IGNORECASE)  # of the lines of a log
_LONGEST_WORDS = 2000  # characters of one of the server's messages
DECIDED = "on_unknown"  # fact of a receipt: what a person decided for this tile alone, the next time it is not known


def _known_jobs(run_folder: Path) -> tuple[set[str], set[str]]:
    """Return the job ids that the receipts of a run name, as other processes write them: all, and those under way."""
    every: set[str] = set()
    active: set[str] = set()
    for _tile, content in read_receipts(run_folder):
        if content is None:
            continue
        named = [content, *content.get("history", [])]
        every |= {_short(str(attempt.get("job_id"))) for attempt in named}
        if content.get("state") in {"created", "started"}:
            active.add(_short(str(content.get("job_id"))))
    return every, active


def _short(job_id: str) -> str:
    return job_id.rstrip("/").rpartition("/")[2]


def find_job(
    client: OgcApiClient,
    job: TileJob,
    receipt: Receipt,
    *,
    process_id: str,
    run_folder: Path,
    without: frozenset[str],
    resubmit: bool,
) -> str | None:
    """Return the id of this work's job on the server, or None if it certainly has none.

    Raises
    ------
    TileFailedError
        If that cannot be known; the receipt then keeps its intent.
    PlatformError
        If the server cannot be asked now.
    """
    since = _latest(receipt.updated)  # which has a zone
    decided = receipt.facts.pop(DECIDED, None) == "resubmit"
    reason = "its job list names jobs of this process that no receipt knows"
    for pause in (*_OTHERS, 0.0):
        listed = _listed(client, process_id)
        if listed is None:
            reason = "it lists no jobs"
            break
        known, active = _known_jobs(run_folder)
        names = {_short(_id(entry)) for entry in listed}
        if active and not active & names:
            reason = "its job list does not show jobs that are under way"
            break
        unclaimed = [e for e in listed if _short(_id(e)) not in known and _id(e) not in without]
        bare = [entry for entry in unclaimed if "status" not in entry]
        if len(bare) > _MOST_LOOKUPS:
            reason = f"its job list names {len(bare)} jobs without a word on them"
            break
        told = (_completed(client, entry) for entry in unclaimed if _is_new(entry, since, client))
        candidates = [e for e in told if _is_of(e, process_id) and _is_new(e, since, client)]
        if not candidates:
            return None
        ours, untold = _by_inputs(client, job, candidates)
        if ours is not None:
            return ours
        if not untold:
            return None
        time.sleep(pause)
    if decided or resubmit:
        past = {name: getattr(receipt, name) for name in ("key", "state", "job_id")}
        receipt.history.append({**past, "at": receipt.updated, "why": f"submitted again as decided: {reason}"})
        return None
    raise TileFailedError(
        f"whether a job was created on {client.base} at {receipt.updated} is not known: {reason}. Look there, then set"
        " backend.on_unknown to resubmit for one run to submit it (again)",
        error_class=ErrorClass.TRANSIENT,
    )


def _listed(client: OgcApiClient, process_id: str) -> list[dict[str, Any]] | None:
    """Return the jobs of a process; None if the server lists none. Raises PlatformError if it cannot be asked now."""
    try:
        found = {_id(entry): entry for entry in client.jobs(process_id)}
        if not any(_is_of(entry, process_id) for entry in found.values()):  # it may know the process by another id
            found |= {_id(entry): entry for entry in client.jobs()}
    except PlatformError as error:
        is_refusal = error.error_class in {ErrorClass.AUTH, ErrorClass.QUOTA}
        if is_refusal or (error.error_class is ErrorClass.TRANSIENT and error.status not in {404, 405, 501}):
            raise
        return None
    return [entry for entry in found.values() if _is_of(entry, process_id)]


def _is_of(entry: Mapping[str, Any], process_id: str) -> bool:
    """Whether a job may be of this process: servers add a version, a namespace or an address to its id."""
    said = entry.get("processID") or entry.get("processId") or entry.get("process")
    if isinstance(said, Mapping):
        said = said.get("id")
    if not _id(entry) or said is None:
        return bool(_id(entry))
    own, text = re.escape(process_id.casefold()), unquote(str(said)).casefold()
    return re.search(rf"(^|[/:#@.]){own}($|[/:#@?;.]|[-_ ]?v?\d)", text) is not None


def _id(entry: Mapping[str, Any]) -> str:
    return id_in(entry) or ""


def _latest(text: Any) -> dt.datetime | None:
    """Return the latest time that a text may be: one without a zone may be in any; None for what is no time."""
    try:
        moment = dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC) + _ZONES


def _completed(client: OgcApiClient, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an entry of the list with what its job says of itself, where the list says nothing."""
    if "status" in entry:
        return entry
    return {**entry, **(client.job(_id(entry)) or {"created": "1970-01-01T00:00:00Z"})}


def _is_new(entry: Mapping[str, Any], since: dt.datetime | None, client: OgcApiClient) -> bool:
    """Whether a job may have been created since the intent; one without a date may."""
    created = _latest(entry.get("created") or entry.get("started"))
    return since is None or created is None or created >= since - _CLOCKS - abs(client.clock_offset)


def is_since(entry: Mapping[str, Any], text: str) -> bool:
    """Whether a job says that it was created at a time or later."""
    created, since = _latest(entry.get("created")), _latest(text)
    return created is not None and since is not None and created >= since


def _by_inputs(
    client: OgcApiClient, job: TileJob, candidates: Iterable[Mapping[str, Any]]
) -> tuple[str | None, list[str]]:
    """Return the job that was sent this tile's inputs, the furthest if there are several, and those that may be it."""
    defaults = {parameter.name: parameter.default for parameter in job.algorithm.parameters if not parameter.required}
    found, untold = [], []
    for entry in candidates:
        inputs = inputs_in(entry)
        if inputs is None:
            inputs = _asked(client, _id(entry))
        match = same_inputs(revealed(job.parameters), inputs, defaults)
        if match is Match.UNKNOWN:
            untold.append(_id(entry))
        elif match is Match.SAME:
            status = STATUSES.get(str(entry.get("status")).lower(), "")
            found.append((_FURTHEST.index(status) if status in _FURTHEST else 0, str(entry.get("created")), _id(entry)))
    # Of as far ones the oldest: a request that was sent twice made two.
    found.sort(key=lambda known: (-known[0], known[1]))
    return (found[0][2] if found else None), untold


def inputs_in(entry: Mapping[str, Any]) -> Any:
    """Return what a job was sent, where its document repeats it; else None."""
    for holder in (entry, *(entry.get(name) for name in ("request", "parameters", "execute", "execution"))):
        if isinstance(holder, Mapping) and as_mapping(holder.get("inputs")) is not None:
            return as_mapping(holder["inputs"])
    parameters = entry.get("parameters")
    return parameters if isinstance(parameters, Mapping) and parameters else None


def _asked(client: OgcApiClient, job_id: str) -> Any:
    """Ask for one job's inputs: in its status, or at Weaver's ``/jobs/{id}/inputs``."""
    for address in (client.job_url(job_id), f"{client.job_url(job_id)}/inputs"):
        try:
            with client.request("GET", address) as answer:
                content = answer.json()
        except (PlatformError, ValueError):
            continue
        if isinstance(content, Mapping) and (inputs := inputs_in(content)) is not None:
            return inputs
    return None


def decide_unknown(policy: str, run_folder: Path) -> None:
    """At the start of a run, on a terminal: show the creations whose outcome is unknown, and ask what to do.

    With another policy, or where nobody can answer, nothing happens: each tile says its own line.
    """
    if policy != "ask" or not sys.stdin.isatty():
        return
    for tile, content in list(read_receipts(run_folder)):
        if content is None or content.get("state") != "intent":
            continue
        sys.stderr.write(f"{tile}: a job may have been created at {content['updated']}; the server did not answer.\n")
        answer = input("if it is not found there, submit it again? It may run and cost twice. [y/N] ").strip().lower()
        if answer in {"y", "yes"}:
            # Still an intent: what the server can tell of it counts more than what was decided.
            path = run_folder / "receipts" / f"{tile}.json"
            write_json(path, {**content, "facts": {**content.get("facts", {}), DECIDED: "resubmit"}})


def words_of_failure(client: OgcApiClient, job_id: str, log: Path) -> str:
    """Write all that the server says of a failed job to ``log``, and return the reason in its own words."""
    document = client.job(job_id) or {}
    told: list[tuple[str, Any]] = [("status", document)]
    words = [str(document.get("message") or "")]
    for name in ("results", "exceptions", "logs"):
        try:
            content = _told(client, f"{client.job_url(job_id)}/{name}", name)
        except PlatformError as error:
            if error.error_class is ErrorClass.TRANSIENT and error.code is None and name == "results":
                continue
            content = {"answer": str(error)}
            if name == "results" and error.code is not None:
                words.append(str(error).partition(": ")[2])
        told.append((name, content))
        if name == "exceptions":
            words += [str(entry) for entry in (content if isinstance(content, list) else [])][-_LAST_LINES:]
        elif name == "logs":
            words += list(filter(_ERROR.search, _lines(content)))[-_LAST_LINES:]
    log.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"--- {name}\n{json.dumps(content, indent=2, ensure_ascii=False)}\n" for name, content in told)
    log.write_text(text, encoding="utf-8")
    said = " | ".join(filter(None, dict.fromkeys(plain_text(word, _LONGEST_WORDS) for word in words)))
    return said or "the server ended the job in failure and gave no reason"


def _told(client: OgcApiClient, url: str, name: str) -> Any:
    """Return what a server tells at an address: JSON, of all pages, or text."""
    with client.request("GET", url, headers={"Accept": f"{JSON}, text/plain;q=0.5"}) as answer:
        text = answer.content()
    try:
        content = json.loads(text or b"null")
    except (ValueError, RecursionError):
        return text.decode(errors="replace")
    if isinstance(content, dict) and isinstance(content.get(name), list) and content.get("links"):
        return list(client.pages(url, name))
    return content


def _lines(content: Any) -> list[str]:
    """Return the lines of a log: text, a list of lines, or a list of entries with level and message."""
    if isinstance(content, Mapping):
        content = content.get("logs") or content.get("log") or []
    if isinstance(content, str):
        return content.splitlines()
    if not isinstance(content, list):
        return []
    named = ({"message": entry} if isinstance(entry, str) else entry for entry in content)
    entries = [entry for entry in named if isinstance(entry, Mapping)]
    return [f"{entry.get('level') or ''} {entry.get('message') or entry.get('id') or ''}".strip() for entry in entries]
