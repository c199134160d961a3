"""To which class a platform's words belong."""

from __future__ import annotations

import pytest

from upscaling.errors import ErrorClass
from upscaling.jobs.failures import classify_log


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("BackendDied the back-end died 3 times while this job ran", ErrorClass.LOST),
        ("Diagnostics: Container released on a *lost* node. Exit status: -100.", ErrorClass.LOST),
        ("Container preempted by scheduler (exit status -102)", ErrorClass.LOST),
        ("Pod was terminated in response to imminent node shutdown.", ErrorClass.LOST),
        ("pod job-6f5d-driver was evicted: The node was low on resource: ephemeral-storage", ErrorClass.LOST),
        ("ExecutorLostFailure (executor 5 exited unrelated to the running tasks)", ErrorClass.LOST),
        ("slurmstepd: error: JOB 7 CANCELLED DUE TO NODE FAILURE", ErrorClass.LOST),
        ("node ip-10-0-0-7 was drained", ErrorClass.LOST),
        # these are the job's own
        ("ExecutorLostFailure (executor 5 exited caused by one of the running tasks) Exit code 137", ErrorClass.MEMORY),
        ("Container killed by YARN for exceeding memory limits; lost node", ErrorClass.MEMORY),
        ("ProcessFailed node 'reduce1' (process reduce_dimension): no such band", ErrorClass.PERMANENT),
        ("the input was lost in node 3 of the process graph", ErrorClass.PERMANENT),
        ("a block was evicted from the cache", ErrorClass.PERMANENT),
    ],
)
def test_what_a_log_says(words: str, expected: ErrorClass) -> None:
    assert classify_log(words) is expected
