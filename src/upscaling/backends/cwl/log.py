"""Why a CWL run failed, in the tool's own words, from the log of Toil or cwltool."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from upscaling.errors import ErrorClass, TileFailedError
from upscaling.jobs.failures import classify_log

__all__ = ["ONE_NAME", "batch_job", "failure", "text_of", "tool_ran"]

UNSUPPORTED_STATUS = 33  # of the CWL command line: a requirement that the runner does not have
KILLED = {-9, 137}
LONGEST = 600
FIRST_BYTES, LAST_BYTES = 2 << 20, 14 << 20  # of a log that are read: a tool may write without end
TAIL_LINES = 4

ENDED = re.compile(
    r"\[job (?P<name>[^\]]+)\] (?:exited with status: (?P<status>-?\d+)|was terminated by signal: (?P<signal>SIG\w+))"
)
STARTED = re.compile(r"\[job [^\]]+\] .*\$ ")
UNSUPPORTED = re.compile(r"(?:UnsupportedRequirement: |unsupported feature:\n)(.+)")
WORKER_DIED = re.compile(r"Job failed with exit value (-9|137)\b")
# What Toil says of a step that it gave to a batch system.
BATCH = re.compile(
    r"Job failed with exit value .*\n.*Exit reason: (?P<reason>[A-Z]+)(?:\n.*backing scheduler: (?P<job>\S+))?"
)
BATCH_CLASSES = {
    "MEMLIMIT": (ErrorClass.MEMORY, "ran out of memory"),
    "TIMELIMIT": (ErrorClass.TIME, "ran out of time"),
    "LOST": (ErrorClass.LOST, "was lost with its node"),
    "KILLED": (ErrorClass.CANCELED, "was canceled on the platform"),
}
OVER_TIME = re.compile(r"\[job ([^\]]+)\] exceeded time limit of (\d+) seconds")
TOO_BIG = re.compile(r"is requesting \d+ [^,]*, more than the maximum of \d+ (?:bytes of )?\w+")
TOO_BIG_CWLTOOL = re.compile(r"Requested at least .* but only .* available")
UNCOLLECTED = re.compile(r"^Error collecting output for parameter .*", re.MULTILINE)
# cwltool brings the folders of all outputs to one place by their name
MERGED = re.compile(r"No such file or directory: '[^']*/out/[^']*_\d+'")
JOB_ERROR = re.compile(r"\[job ([^\]]+)\] Job error:\n\s*(.+)")
MISSING = re.compile(r"'?([^' ]+)'? not found: .*No such file")
ONE_NAME = "the package gives several folders of one name, which cwltool puts together: choose backend.engine toil"
RUNNER_FAILURES = (
    (OVER_TIME, "step {0[1]} took longer than its limit of {0[2]} s", ErrorClass.PERMANENT),
    (WORKER_DIED, "a step was killed (signal 9), as a rule for want of memory", ErrorClass.MEMORY),
    (TOO_BIG, "a step {0[0]} on this machine", ErrorClass.PERMANENT),
    (TOO_BIG_CWLTOOL, "a step asks for more than this machine has: {0[0]}", ErrorClass.PERMANENT),
    (UNCOLLECTED, "{0[0]}", ErrorClass.OUTPUT),
    (MERGED, ONE_NAME, ErrorClass.PERMANENT),
    (MISSING, "the program {0[1]} of the package is not on PATH", ErrorClass.PERMANENT),
    (JOB_ERROR, "step {0[1]} could not be started: {0[2]}", ErrorClass.PERMANENT),
)
STDERR = "Failed command standard error:"
STAMP = re.compile(r"^\s*\[\d{4}-\d\d-\d\dT[\d:+]+\] (\[[^\]]*\] )*")
EMPTY_WORDS = re.compile(r"Exiting the worker because of a failed job|Log from job .* follows|Failed job at")
EXCEPTION = re.compile(r"\s*[\w.]*(?:Error|Exception)\b: \S")  # the last line of a traceback
FRAME = re.compile(r'File "([^"]+)", line (\d+)')
# "Unhandled error, try again with --debug for more information:"
LEADS_ON = re.compile(r"(, try again with --debug for more information[.:]?|:)\s*$")
LEVELS = re.compile(r"^(DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
LEVEL = re.compile(r"\[[EC]\] |^(ERROR|CRITICAL) ")


def text_of(path: Path, start: int) -> str:
    """Return what a run wrote to a log from byte ``start`` on; of more than 16 MB its first and last part."""
    with path.open("rb") as stream:
        stream.seek(start)
        text = stream.read(FIRST_BYTES)
        rest = max(stream.seek(0, os.SEEK_END) - LAST_BYTES, start + len(text))
        stream.seek(rest)
        gap = b"\n" if rest > start + len(text) else b""
        return (text + gap + stream.read(LAST_BYTES)).decode(errors="replace")


def tool_ran(log: str) -> bool:
    """Return True if a tool of the package was started and failed: not the runner's own trouble."""
    return any(pattern.search(log) for pattern in (ENDED, OVER_TIME, WORKER_DIED, UNCOLLECTED))


def batch_job(log: str) -> str | None:
    """Return the id that the batch system gave to the step which failed last; None if no step of its own did."""
    found = [match["job"] for match in BATCH.finditer(log)]
    return found[-1] if found else None


def failure(status: int, log: str, path: Path) -> TileFailedError:
    """Return the error of a run that ended with ``status``.

    Parameters
    ----------
    status
        Exit status of the runner; negative if a signal ended it.
    log
        What it wrote in this run.
    path
        The file with all of it, named in the message.
    """
    reason, error_class = _reason(status, log)
    if len(reason) > LONGEST:
        reason = f"…{reason[-LONGEST:]}"
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return TileFailedError(f"{reason} (log: {path})", error_class=error_class)


def _reason(status: int, log: str) -> tuple[str, ErrorClass]:
    if status == UNSUPPORTED_STATUS:
        found = UNSUPPORTED.search(log)
        words = found[1] if found else _last_words(log.splitlines())
        return f"the package asks for what the runner does not have: {words}", ErrorClass.PERMANENT
    return _of_batch_system(log) or _of_tool(log) or _of_runner(status, log)


def _of_batch_system(log: str) -> tuple[str, ErrorClass] | None:
    found = list(BATCH.finditer(log))  # the last counts: what was retried may have gone well
    if not found or found[-1]["reason"] not in BATCH_CLASSES:
        return None
    error_class, words = BATCH_CLASSES[found[-1]["reason"]]
    return f"a step {words}, job {found[-1]['job']} of the batch system", error_class


def _of_tool(log: str) -> tuple[str, ErrorClass] | None:
    lines = [] if OVER_TIME.search(log) else log.splitlines()
    ended = ((number, ENDED.search(line)) for number, line in enumerate(lines))
    return next((_tool_failure(found, _stderr(lines, number)) for number, found in ended if found), None)


def _of_runner(status: int, log: str) -> tuple[str, ErrorClass]:
    for pattern, words, error_class in RUNNER_FAILURES:
        if found := pattern.search(log):
            return words.format(found), error_class
    if status in KILLED:
        return "the runner was killed (signal 9), as a rule for want of memory", ErrorClass.MEMORY
    if status < 0:
        return f"the runner was ended by signal {-status}", ErrorClass.TRANSIENT
    return _last_words(log.splitlines()), ErrorClass.PERMANENT


def _tool_failure(ended: re.Match[str], stderr: Sequence[str]) -> tuple[str, ErrorClass]:
    told = _clean(_without_frames(stderr))[-TAIL_LINES:]
    name, words = ended["name"], " | ".join(told) or "it wrote nothing to stderr"
    if ended["signal"] == "SIGKILL" or (ended["status"] and int(ended["status"]) in KILLED):
        return f"step {name} was killed (signal 9), as a rule for want of memory: {words}", ErrorClass.MEMORY
    how = f"was terminated by {ended['signal']}" if ended["signal"] else f"exited with status {ended['status']}"
    return f"step {name} {how}: {words}", classify_log(" | ".join(_clean(stderr)[-TAIL_LINES:]))


def _stderr(lines: Sequence[str], exited: int) -> Sequence[str]:
    """Return what the tool wrote to stderr: Toil quotes it after its end, cwltool lets it through before."""
    after = next((n for n in range(exited, len(lines)) if STDERR in lines[n]), None)
    if after is not None:
        end = next((n for n in range(after + 1, len(lines)) if STAMP.match(lines[n])), len(lines))
        return lines[after + 1 : end]
    start = next((n for n in range(exited, -1, -1) if STARTED.search(lines[n])), -1)
    while start < exited and lines[start].endswith("\\"):  # the command itself, one argument a line
        start += 1
    return lines[start + 1 : exited]


def _without_frames(lines: Sequence[str]) -> list[str]:
    """Return lines without the frames of Python's tracebacks; the exception says where it was raised."""
    kept: list[str] = []
    margin, where = None, ""
    for line in lines:
        body = line.lstrip()
        if body.startswith("Traceback (most recent call last)"):
            margin, where = line[: len(line) - len(body)], ""
        elif margin is None:
            kept.append(line)
        elif body and not line.startswith((f"{margin} ", f"{margin}\t")):
            kept.append(line.rstrip() + where)
            margin = None
        elif found := FRAME.match(body):
            where = f" ({PurePath(found[1]).name}, line {found[2]})"
    return [*kept, f"a traceback without its end{where}"] if margin is not None else kept


def _clean(lines: Sequence[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip()]


def _with_reason(line: str, after: Sequence[str]) -> str:
    """Return an error of the runner; where it only leads to its reason, that is on the lines after it."""
    if not LEADS_ON.search(line):
        return line
    ends = (n for n, one in enumerate(after) if STAMP.match(one) or LEVELS.match(one) or EXCEPTION.match(one))
    reason = " ".join(_clean(after[: next(ends, len(after))])).removeprefix("The error was: ")
    start = LEADS_ON.sub("", line)
    return f"{start}: {reason}" if reason else start


def _last_words(lines: Sequence[str]) -> str:
    """Return the runner's last error, else its last line, without the time stamp."""
    told = [
        _with_reason(line, lines[number + 1 :])
        for number, line in enumerate(lines)
        if LEVEL.search(line) and not EMPTY_WORDS.search(line)
    ]
    told = told or [line for line in lines if EXCEPTION.match(line)]
    last = (told or _clean(lines) or ["the runner ended without a word"])[-1]
    return STAMP.sub("", last).strip()
