"""What a person sees of a run: one line for each step, tiles as a count with rate and time left, a failure once.

Snakemake's own terminal output takes three lines for each tile and fifteen for each that failed, of which none says
why. Its full log, in ``.snakemake/log``, is as ever; so is what it says in a dry run. Found by its name, as all logger
plugins are: ``logger: upscaling`` in a profile, ``--logger upscaling`` on the command line.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from logging import LogRecord
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from upscaling.errors import UpscalingError
from upscaling.util.files import end_of
from upscaling.util.text import duration
from upscaling.util.upstream import Patch

__all__ = ["CONFIG_FILES", "OUTPUT", "LogHandler"]

CONFIG_FILES = Patch(
    "snakemake",
    ">=9.27,<9.28",
    ("snakemake.settings.types:load_configfile(configpath)", "snakemake.exceptions:CliException"),
    "a configuration file that cannot be read may end in a traceback",
)
OUTPUT = Patch(
    "snakemake",
    ">=9.27,<9.28",
    (
        "snakemake.logging:ColorizingTextHandler.is_tty",
        *(
            f"snakemake_interface_logger_plugins.common:LogEvent.{name}"
            for name in (
                "ERROR", "JOB_ERROR", "JOB_FINISHED", "JOB_INFO",
                "JOB_STARTED", "PROGRESS", "RESOURCES_INFO", "RUN_INFO", "WORKFLOW_STARTED",
            )
        ),
    ),
    "run with --logger '' or another profile",
)  # fmt: skip

_NOISE = (
    "Assuming unrestricted shared filesystem",
    "Conda environments: ignored",
    "Execute ",
    "Select jobs to execute",
    "Shutting down, this might take",
    "Using shell: ",
    "Warning: the following output files of rule",  # the report is refreshed while the tiles run
    "MinJobAge ",
    "Cleaning up SLURM log files",
)
_SUBMITTED = re.compile(r"Job \d+ has been submitted with SLURM jobid")  # a line for each tile; they are counted
_CHUNK = re.compile(r"(^|_)tiles_\d{5}")  # rule of a job of several tiles
_ONCE = ("Will exit after finishing currently running jobs",)
_CLOCKS = 60  # s that the clocks of nodes may differ
_TAIL = 64_000  # bytes of a log
_EVERY = {True: 2.0, False: 15.0}  # s between two lines of progress, on a terminal and in a file
_SILENCE = (20.0, 60.0, 300.0)  # s without a word after which the run says what it is at; then the last one again


def _explain_config_files() -> None:
    """Name file, line and key where Snakemake (9.27) ends with a traceback, or with no file's name.

    It reads ``--configfile`` before it reads the Snakefile, and imports its plugins before that.
    """
    if not CONFIG_FILES.applies():
        return
    import snakemake.settings.types as settings
    from snakemake.exceptions import CliException

    load = settings.load_configfile

    def load_configfile(configpath: Any) -> Any:
        try:
            return load(configpath)
        except Exception as error:
            from upscaling.config.values import labels_of, read_values
            from upscaling.errors import ConfigError

            if not Path(configpath).exists():
                hint = "a target must stand before --configfile, or after --"
                raise CliException(f"{configpath}: no such file ({hint})") from None
            try:
                read_values(Path(*labels_of([configpath])))
            except ConfigError as explained:
                raise CliException(str(explained)) from None
            raise error from None

    settings.load_configfile = load_configfile


_explain_config_files()


class LogHandler(LogHandlerBase):
    """Writes to Snakemake's stream, in place of its own handler."""

    def __post_init__(self) -> None:
        """Set up Snakemake's own handler, for all that is not ours to say better."""
        try:
            OUTPUT.insist()
        except UpscalingError as error:
            from snakemake.exceptions import CliException

            raise CliException(str(error)) from None
        from snakemake.logging import ColorizingTextHandler

        stream = sys.stdout if self.common_settings.stdout else sys.stderr
        self._usual = ColorizingTextHandler(nocolor=self.common_settings.nocolor, stream=stream)
        self._every = _EVERY[self._usual.is_tty]
        self._jobs: dict[int, dict[str, Any]] = {}  # of tiles, by Snakemake's number
        self._running: set[int] = set()
        self._submitted: dict[int, float] = {}
        self._failed: set[int] = set()
        self._done: set[int] = set()
        self._total = 0
        self._began = self._told = self._spoke = time.monotonic()
        self._steps: dict[int, tuple[str, float]] = {}  # under way, that are no tiles: their message and start
        self._said: set[str] = set()
        self._silent = 0  # times in a row that nothing but silence was reported
        if not (self.common_settings.dryrun or self.common_settings.verbose):
            threading.Thread(target=self._watch, daemon=True).start()

    writes_to_stream = True
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def emit(self, record: LogRecord) -> None:
        """Say what a record means for the run; after a bug in this plugin, as Snakemake would."""
        self._usual.setFormatter(self.formatter)
        if self.common_settings.dryrun or self.common_settings.verbose:
            self._usual.emit(record)
            return
        ours: dict[Any, Callable[[LogRecord], object]] = {
            None: self._plain,
            LogEvent.RUN_INFO: self._run_info,
            LogEvent.JOB_INFO: self._job_info,
            LogEvent.JOB_STARTED: self._job_started,
            LogEvent.JOB_FINISHED: self._job_finished,
            LogEvent.JOB_ERROR: self._job_error,
            LogEvent.ERROR: self._error,
            LogEvent.PROGRESS: lambda _: None,
            LogEvent.RESOURCES_INFO: lambda _: None,
            LogEvent.WORKFLOW_STARTED: lambda _: None,  # fifteen lines of versions and paths
        }
        try:
            ours.get(getattr(record, "event", None), self._as_usual)(record)
        except (AttributeError, KeyError, TypeError, ValueError):  # another version of Snakemake
            self._usual.emit(record)

    def _say(self, line: str) -> None:
        self._spoke, self._silent = time.monotonic(), 0
        self._usual.stream.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        self._usual.stream.flush()

    def _as_usual(self, record: LogRecord) -> None:
        self._spoke, self._silent = time.monotonic(), 0
        self._usual.emit(record)

    def _watch(self) -> None:
        while True:
            time.sleep(1)
            with suppress(ValueError, OSError):  # the terminal is gone
                self._break_silence(time.monotonic())

    def _break_silence(self, now: float) -> None:
        """Say what the run is at, if nothing was said for long."""
        if now - self._spoke < _SILENCE[min(self._silent, len(_SILENCE) - 1)]:
            return
        self.acquire()
        try:
            left = self._total - len(self._done) - len(self._failed)
            at = [f"{message}: for {duration(now - began)} now" for message, began in self._steps.values()]
            if left > 0 and self._running:
                at.insert(0, self._count())
            if at:
                silent = self._silent + 1
                self._say("; ".join(at))
                self._silent = silent
        finally:
            self.release()

    def _plain(self, record: LogRecord) -> None:
        text = record.getMessage()
        again = text.startswith(_ONCE) and text in self._said
        if not text.strip() or text.startswith(_NOISE) or again or _SUBMITTED.match(text):
            return
        self._said.add(text)
        self._as_usual(record)

    def _run_info(self, record: LogRecord) -> None:
        stats: dict[str, int] = record.stats  # type: ignore[attr-defined]
        rules = _tile_rules() or {rule for rule in stats if rule == "tile" or rule.startswith("tiles_")}
        numbers = {rule: number for rule, number in stats.items() if rule in rules}
        self._total = sum(numbers.values())
        # Not the table, which has a line for each rule, and so for each job of several tiles.
        others = stats["total"] - self._total
        what = "job of tiles" if numbers and all(_CHUNK.search(rule) for rule in numbers) else "tile"
        self._what = what if self._total == 1 else f"{what}s" if what == "tile" else "jobs of tiles"
        self._say(f"{self._total} {self._what} to run, and {others} steps to gather and describe them")
        self._began = self._told = time.monotonic()

    def _job_info(self, record: LogRecord) -> None:
        job = record.__dict__
        if _tiles_of(job):
            self._jobs[job["jobid"]] = job
        elif job["rule_name"] != "all":
            self._steps[job["jobid"]] = job["rule_msg"] or job["rule_name"], time.monotonic()
            self._say(job["rule_msg"] or job["rule_name"])

    def _job_started(self, record: LogRecord) -> None:
        numbers = set(record.jobs)  # type: ignore[attr-defined]
        self._running |= numbers
        self._submitted |= dict.fromkeys(numbers, time.time())
        self._failed -= numbers  # retried

    def _job_finished(self, record: LogRecord) -> None:
        number = record.job_id  # type: ignore[attr-defined]
        self._steps.pop(number, None)
        if number in self._jobs:
            self._running.discard(number)
            self._done.add(number)
            self._progress()

    def _job_error(self, record: LogRecord) -> None:
        job = record.__dict__
        tiles = _tiles_of(job)
        if not tiles:
            self._steps.pop(job["jobid"], None)
            self._as_usual(record)
            return
        self._running.discard(job["jobid"])
        if _interrupted():  # it did not fail
            return
        self._failed.add(job["jobid"])
        if not self._jobs.get(job["jobid"], {}).get("local"):
            self._say_reasons(tiles, job)
        self._progress()

    def _say_reasons(self, tiles: list[Path], job: dict[str, Any]) -> None:
        """Say why a job failed that ran elsewhere, and whose own words nobody sees here."""
        since = self._submitted.get(job["jobid"], 0.0)
        reasons = {item: _reason(item, since) for item in tiles}
        for item, reason in reasons.items():
            if reason:
                self._say(f"error: tile {item.parent.name}: {reason}")
        if not any(reasons.values()):
            # It did not come to its tiles.
            what = f"tile {tiles[0].parent.name}" + (f" and {len(tiles) - 1} more" if len(tiles) > 1 else "")
            words, log = _last_words([Path(path) for path in job.get("log") or () if path])
            named = f" (log: {log})" if log else ""
            self._say(f"error: {what}: the job failed before it began them: {words or 'its log says nothing'}{named}")

    def _error(self, record: LogRecord) -> None:
        # A step that failed has said why itself, and so has a run that ends Snakemake.
        if "CalledProcessError" not in record.getMessage():
            self._as_usual(record)

    def _progress(self) -> None:
        now = time.monotonic()
        if len(self._done) + len(self._failed) < self._total and now - self._told < self._every:
            return
        self._told = now
        self._say(self._count())

    def _count(self) -> str:
        done, failed = len(self._done), len(self._failed)
        left = self._total - done - failed
        line = f"{done} of {self._total} {self._what} done"
        line += f", {failed} failed" if failed else ""
        if left > 0:
            rate = (done + failed) / max(time.monotonic() - self._began, 1e-3)  # per second
            line += f", {self._number_running()} running"
            line += f"; {_per(rate)}, {duration(left / rate)} left" if rate else ""
        return line

    def _number_running(self) -> int:
        """Return how many tiles run; those that a process runs for all were handed over long before."""
        runs = _runs()
        return (runs and runs.running()) or len(self._running & set(self._jobs))


def _runs() -> Any:
    """Return what the executor plugin knows of the runs of this Snakemake; None before it begins."""
    from upscaling.workflow.runs import current_runs

    return current_runs()


def _interrupted() -> bool:
    """Return whether this Snakemake was told to end: its jobs end, and none of that is a failure."""
    runs = _runs()
    return runs is not None and runs.interrupted


def _tile_rules() -> set[str]:
    """Return the names of the rules that make tiles, also where an importing workflow gave them others."""
    runs = _runs()
    return runs.tile_rules() if runs else set()


def _tiles_of(job: dict[str, Any]) -> list[Path]:
    """Return the items that a job makes; none for any other step."""
    paths = [Path(path) for path in job.get("output") or ()]
    return [path for path in paths if path.name == "item.json" and path.parent.parent.name == "tiles"]


def _reason(item: Path, since: float) -> str | None:
    """Return why a tile failed, if its receipt was written after ``since``."""
    receipt = item.parents[2] / "receipts" / f"{item.parent.name}.json"
    try:
        if receipt.stat().st_mtime < since - _CLOCKS:
            return None
        error = json.loads(receipt.read_text())["error"]
        return str(error["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _last_words(logs: list[Path]) -> tuple[str | None, Path | None]:
    """Return the line that says why a job failed, and the log that it stands in."""
    for log in reversed(logs):  # the batch system's own is the last
        lines: list[str] = []
        with suppress(OSError):
            lines = [line.strip() for line in end_of(log, _TAIL).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        if lines:
            return (errors or lines)[-1][:500].removeprefix("error: "), log
    return None, None


def _per(rate: float) -> str:
    for unit, seconds in (("s", 1), ("min", 60)):
        if rate * seconds >= 1:
            return f"{rate * seconds:.2g} per {unit}"
    return f"{rate * 3600:.2g} per h"
