"""To which class a platform's words belong."""

from __future__ import annotations

import pytest

from upscaling.errors import ErrorClass
from upscaling.jobs.failures import classify_http, classify_log, is_no_data, without_particulars


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
        ("The node was low on resource: ephemeral-storage.", ErrorClass.LOST),
        ("slurm: BOOT_FAIL", ErrorClass.LOST),
        ("Lost executor 3 on 10.0.0.1: Executor decommission", ErrorClass.LOST),
        ("the spot instance was reclaimed", ErrorClass.LOST),
    ],
)
def test_what_a_log_says(words: str, expected: ErrorClass) -> None:
    assert classify_log(words) is expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Driver used too much java memory", ErrorClass.MEMORY),
        ("Your job used too much executor or driver memory. Consider increasing it", ErrorClass.MEMORY),
        ("std::bad_alloc", ErrorClass.MEMORY),
        ("GC overhead limit exceeded", ErrorClass.MEMORY),
        ("Unable to allocate 12.3 GiB for an array", ErrorClass.MEMORY),
        ("Container killed: 8.2 GB of 8 GB physical memory used, exceeding its memory", ErrorClass.MEMORY),
        ("not enough memory on the node", ErrorClass.MEMORY),
        ("exited with code 137", ErrorClass.MEMORY),
        ("Requested too much executor memory: 40g, the limit is 20g", ErrorClass.PERMANENT),
        ("Memory cgroup out of memory: Killed process 123 (python) total-vm:8 kB", ErrorClass.MEMORY),
        ("slurmstepd: error: oom_kill event in StepId=7.0", ErrorClass.MEMORY),
        ("Command died with <Signals.SIGKILL: 9>", ErrorClass.MEMORY),
        ("memory allocation of 8589934592 bytes failed", ErrorClass.MEMORY),
        ("Consider increasing the job option executor-memory", ErrorClass.MEMORY),
        ("UDF exception while evaluating: RuntimeError: CUDA out of memory", ErrorClass.MEMORY),
        ("UDF exception: ValueError: no patch | numpy._ArrayMemoryError: Unable to allocate 3 GiB", ErrorClass.MEMORY),
        ("UDF exception: ValueError: not enough memory of past scenes", ErrorClass.PERMANENT),
        ("UdfFailed node 'a': line 1 of the UDF: RuntimeError: out of memory, I say", ErrorClass.PERMANENT),
        ("job option executor-memory must be like 2g, not '40x'", ErrorClass.PERMANENT),
        ("cannot allocate tile 3 to a zone", ErrorClass.PERMANENT),
        ("process returned exit code -9", ErrorClass.MEMORY),
        ("TERM_MEMLIMIT: job killed after reaching LSF memory usage limit.", ErrorClass.MEMORY),
        ("=>> PBS: job killed: mem 4200000kb exceeded limit 4194304kb", ErrorClass.MEMORY),
        ("Job terminated: memory usage 9.2Gi is above limit 8Gi", ErrorClass.MEMORY),
        ("KilledWorker: Attempted to run task x on 4 different workers", ErrorClass.MEMORY),
        ("The job ran out of RAM", ErrorClass.MEMORY),
        ("no data available for B05, band skipped | OutOfMemoryError: Java heap space", ErrorClass.MEMORY),
    ],
)
def test_memory_is_known_by_what_platforms_write(words: str, expected: ErrorClass) -> None:
    assert classify_log(words) is expected
    assert not is_no_data(words)


NO_DATA = (
    "NoDataAvailable There is no data available for the given extents.",
    "DataCubeEmpty The data cube is empty",
    "OpenEO batch job failed: NoDataAvailable: There is no data available for the given extents. Could not find data",
    "The spatial and temporal extents resulted in an empty image collection",
    "load_collection: no features found for catalog SENTINEL2",
    "No products found for the given filters",
    "No Sentinel-1 scenes available in this area",
    "The query returned 0 items",
    "Catalog returned no items",
    "Input data cube is empty after filter_temporal",
    "Collection is empty",
    'Traceback (most recent call last): File "x.py", line 3 openeo_driver.errors.NoDataAvailable: nothing',
    "There is no data available for the given extents. | Batch job failed with exit code 1",
    "no tiles intersect the area",
    "NoFeaturesFound in this place",
    "Could not find data for your load_collection request with catalog ID 'S1'. The query returned 0 results.",
    "Could not find any products for the given area and period",
    "0 products found",
    "No matching items",
    "no valid acquisitions in the period",
    "Query returned no results",
    "FeatureCollection is empty",
    "NO_DATA_FOUND",
    "No data available for the extent with 500 m pixels",
    "Spatial extent does not intersect with any products",
    "The area of interest did not overlap any Sentinel-1 scenes",
    "All pixels are nodata",
    "all input pixels were no-data",
)
A_FAULT = (
    "no data available for S2A_20230101 … skipped",
    "No data available for 2023-01-03, continuing | ProcessFailed: no such band",
    "UDF error: ValueError: got an empty cube",
    "UDF exception while evaluating processing graph: there is no data available",
    "NoDataAvailable in one of the inputs, skipping it",
    "NoDataAvailable: so says the user-defined function",
    "no data value is set for band B05",
    "all pixels are no data values: the band has none",
    "the given geometry does not intersect with any features",
    "not all pixels have the type that nodata has",
    'Traceback (most recent call last): File "model.py", line 3 ValueError: no features found',
    "found no training data; expected 100 samples",
    "no data available: permission denied",
    "There is no data available for the given extents. | KeyError: 'B99'",
    "the platform ended the job in error and gave no reason",
    "No such collection: SENTINEL",
    "Batch job failed",
    "FileNotFoundError: no data file found at /data/x",
    "no items found in the catalogue: 401 Unauthorized",
    "no products found: connection to the catalogue timed out",
    "No data available for the given extents because the catalogue could not be reached",
    "no data available: quota exceeded",
    "there is no data type 'int24'",
    "no collection with that id exists",
    "items have no item 'SCL'",
    "NoData value must be a number",
    "No items returned because the catalogue answered 502 Bad Gateway",
    "no data returned by server: connection reset",
    "could not connect to the catalogue: no items available",
    "no products available due to maintenance",
    "OpenSearch is down: no products found",
    "product is offline, no data available",
    "rate limit exceeded, no items returned",
    "internal error: no items returned",
    "no items found because the token expired",
    "No data space left on device",
    "Invalid query: no items match property filter 'eo:cloud_cov'",
    "no items found; did you mean collection 'sentinel-2-l2a'?",
    "No features found in uploaded geometry",
    "",
)


@pytest.mark.parametrize("words", NO_DATA + A_FAULT)
def test_no_data_is_what_the_platform_says_last(words: str) -> None:
    assert is_no_data(words) is (words in NO_DATA)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "Internal", ErrorClass.PERMANENT),
        (422, "Timeout", ErrorClass.PERMANENT),
        (400, "ConcurrentJobLimit", ErrorClass.TRANSIENT),
        (403, "TooManyRequests", ErrorClass.TRANSIENT),
        (500, "Internal", ErrorClass.TRANSIENT),
        (500, None, ErrorClass.TRANSIENT),
        (524, None, ErrorClass.TRANSIENT),
        (501, "FeatureUnsupported", ErrorClass.PERMANENT),
        (404, None, ErrorClass.TRANSIENT),
        (404, "JobNotFound", ErrorClass.PERMANENT),
        (402, None, ErrorClass.QUOTA),
        (400, "PaymentRequired", ErrorClass.QUOTA),
        (403, None, ErrorClass.AUTH),
        (None, "Timeout", ErrorClass.TRANSIENT),
        (None, "JobNotFound", ErrorClass.PERMANENT),
        (501, "Internal", ErrorClass.TRANSIENT),
    ],
)
def test_a_refusal_is_permanent_whatever_its_code(status: int | None, code: str | None, expected: ErrorClass) -> None:
    assert classify_http(status, code) is expected


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("job j-abc failed after 3 s", "job j-xyz9 failed after 12.5 s", True),
        ("no file /a/b.tif", "no file /c/d/e.tif", True),
        ("asset 0123abcd is missing", "asset 89ef0123 is missing", True),
        ("no such band", "no such collection", False),
    ],
)
def test_reasons_are_the_same_without_ids_numbers_and_paths(one: str, other: str, same: bool) -> None:
    assert (without_particulars(one) == without_particulars(other)) is same
    assert without_particulars("12 tiles") == "… tiles"


def test_long_texts_of_others_are_read_in_one_go() -> None:
    """Each of these took minutes, as each word was a place to begin at; nothing is measured but that it ends."""
    assert classify_log("UDF memory " * 50_000) is ErrorClass.PERMANENT
    assert not is_no_data(" \n" * 100_000 + "x")
    assert without_particulars("a." * 100_000).startswith("a.")
