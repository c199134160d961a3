"""The few calls that Snakefile and rule scripts make; everything they do is elsewhere and needs no Snakemake."""

from __future__ import annotations

import gc
import logging
import math
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from upscaling.config import Config
from upscaling.errors import ConfigError, UpscalingError, in_a_line, refused_by_machine
from upscaling.planning.ensure import ensure_plan
from upscaling.planning.plan import Plan, keep_config, kept_config, load_plan
from upscaling.util.files import digest
from upscaling.util.locks import run_lock
from upscaling.util.process import give_back_memory
from upscaling.util.text import redact
from upscaling.workflow.configuration import hand_on, hand_on_replacement, merged_config
from upscaling.workflow.executor import SNAKEMAKE, extend_executors
from upscaling.workflow.runs import runs_of

__all__ = [
    "default_config",
    "logged",
    "names_nothing",
    "plan",
    "protect",
    "read_config",
    "said_of_collection",
    "signed",
    "slot_of",
    "slots",
    "tiles_of_part",
]


_SPARE_THREADS = 5
_F = TypeVar("_F", bound=Callable[..., Any])


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _stop(error: UpscalingError, config: Config | None = None) -> NoReturn:
    # SystemExit, as Snakemake would show any other exception with a line of our Snakefile, which is not at fault.
    named = config.sources.named(error) if config and isinstance(error, ConfigError) else error
    _say(f"error: {redact(str(named))}")
    raise SystemExit(1)


def read_config(config: Any, workflow: Any) -> Config:
    """Return the checked configuration; what is wrong with it ends the run with one line that names file and key."""
    hand_on_replacement()
    try:
        read = merged_config(config, workflow)
    except UpscalingError as error:
        _stop(error)
    for notice in read.notices if workflow.is_main_process else ():
        _say(f"note: {notice}")
    return read


def names_nothing(config: Any, workflow: Any) -> bool:
    """Return whether the user named no configuration at all; ``--config`` alone may change a key of the default.

    The Snakefile asks this before all else: a Snakemake that this workflow cannot run with is refused here.
    """
    try:
        SNAKEMAKE.insist()
    except UpscalingError as error:
        _stop(error)
    imported = workflow.modifier.skip_configfile  # with a configuration of the importing workflow
    return not (imported or workflow.config_settings.configfiles or "algorithm" in config)


def default_config(file: str) -> str:
    """Return the path of the default configuration and say that it is used; end the run if there is none."""
    if not Path(file).is_file():
        _stop(ConfigError(f"no configuration: name one with --configfile FILE ({file} is not here either)"))
    _say(f"configuration: {file}, as none is named with --configfile")
    return file


def plan(config: Config, run_folder: str, workflow: Any) -> tuple[Config, Plan]:
    """Return the run's configuration and plan, made if need be; a dry run changes nothing.

    In a job elsewhere both are those that the run was started with, whatever became of the user's file since.
    """
    folder = Path(run_folder)
    try:
        if not workflow.is_main_process:
            config, made = kept_config(folder), load_plan(folder)
        else:
            preview = bool(workflow.output_settings.dryrun)
            made = ensure_plan(config, folder, say=_say, preview=preview)
            _forget_planning()
            if not preview:
                hand_on(workflow, keep_config(config, folder))
                _look_after(folder, made, config)
    except UpscalingError as error:
        _stop(error, config)
    except Exception as error:
        refused = refused_by_machine(error)
        if refused is None:
            raise
        _stop(refused)
    # A DAG is all live objects, in which the search for cycles finds nothing: a sixth of the time at 10,000 tiles.
    gc.set_threshold(100_000, 20, 100)
    return config, made


def _forget_planning() -> None:
    """Give back what was kept for another plan, 30 MB and more: this process lives as long as the run."""
    if "upscaling.planning.make" in sys.modules:
        from upscaling.grids import forget_cells

        forget_cells()
    give_back_memory()


def _look_after(run_folder: Path, plan: Plan, config: Config) -> None:
    """Let tiles run again that are done and whose files are not there, or not as they were; ask what nobody can know.

    Here a person may be at the terminal; the process that runs the tiles has none.
    """
    from upscaling.results.kept import drop_damaged

    with suppress(UpscalingError), run_lock(run_folder):  # not under a live run
        if getattr(config.backend, "on_unknown", "fail") == "ask":
            from upscaling.backends.ogcapi.jobs import decide_unknown

            decide_unknown("ask", run_folder)
        damaged = drop_damaged(run_folder, plan.tiles)
        if damaged:
            names = f"{', '.join(damaged[:3])}{' …' if len(damaged) > 3 else ''}"
            _say(f"note: files of {len(damaged)} finished tiles are missing or damaged, and are fetched again: {names}")


def tiles_of_part(plan: Plan, part: str) -> list[str]:
    """Return the targets of a part of the run; without such a part the run ends with one line."""
    if part not in plan.parts:
        known = f"its parts are {', '.join(list(plan.parts)[:5])} …" if plan.parts else "it is too small to have parts"
        _stop(UpscalingError(f"run {plan.facts['run']} has no part {part!r}: {known}"))
    return plan.parts[part]


def said_of_collection(config: Config) -> str:
    """Return a hash of what the configuration says of the result: when it changes, Snakemake gathers again."""
    return digest(config.collection.model_dump(exclude={"exact", "parts_from"}))


def protect(config: Config, run_folder: str, workflow: Any) -> None:
    """Lock and check the run before its first tile, and end it in order, with whatever executor there is.

    Only in the process that a person started: what it starts belongs to it.
    """
    if workflow.is_main_process:
        runs_of(workflow).register(config, run_folder)
        extend_executors()


def slots(config: Config, cores: int | None) -> dict[str, int]:
    """Return the Snakemake resource that bounds how many tiles run at once as processes of their own.

    Parameters
    ----------
    cores
        What Snakemake was given; it has a thread for each and five more (``snakemake.executors.local``).
    """
    backend, wanted = config.backend, config.backend.slots
    threads = None if cores is None else cores + _SPARE_THREADS
    if backend.kind != "cwl":
        return {f"{backend.kind}_slots": wanted if threads is None else min(wanted, threads)}
    jobs = math.ceil(wanted / backend.together)
    if threads is not None and jobs > threads:
        _say(f"note: Snakemake runs {threads} tiles at once; for {wanted} slots add --cores {jobs}")
    return {"toil_leaders": wanted}


def slot_of(workflow: Any) -> Callable[[Any], int]:
    """Return a function that says how much of that resource a tile takes: nothing where one process runs them all.

    Snakemake then hands over every tile that is ready, and the process knows its slots itself.
    """

    @signed
    def taken(wildcards: Any) -> int:
        del wildcards
        return 0 if runs_of(workflow).takes_tiles() else 1

    return taken


def signed(function: _F) -> _F:
    """Return a function of a rule, with what it takes noted on it.

    For each job Snakemake would have Python look at the function's signature again: a twentieth of a dry run.
    """
    from inspect import signature

    from snakemake.common import overwrite_function_params

    overwrite_function_params(function, signature(function).parameters)
    return function


@contextmanager
def logged(log: str | None, what: str) -> Iterator[None]:
    """Send logging to a rule's log file; end the script with one line for whatever goes wrong."""
    try:
        if log:
            Path(log).parent.mkdir(parents=True, exist_ok=True)
            Path(log).touch()
    except OSError as error:
        _say(f"error: {what}: the log {log} cannot be written: {error.strerror}")
        raise SystemExit(1) from None
    logging.raiseExceptions = False  # a log that cannot be written any more is told by what fails next
    logging.basicConfig(
        filename=log, filemode="w", level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        yield
    except UpscalingError as error:
        logging.getLogger(__name__).error("%s", error)  # noqa: TRY400 -- the line says all; a traceback hides it
        _say(f"error: {what}: {error}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        _say(f"{what}: interrupted; the next run goes on with it, and with its remote job if there is one")
        raise SystemExit(130) from None
    except Exception as error:
        with suppress(OSError):  # the log's disk may be the full one
            logging.getLogger(__name__).critical("%s", traceback.format_exc())
        _say(f"error: {what}: {in_a_line(error, log)}")
        raise SystemExit(1) from None
