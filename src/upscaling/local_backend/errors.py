"""The error that a process graph can end with."""

from __future__ import annotations

import dis
import errno
import re

__all__ = ["UDF_FILE", "ProcessError", "is_out_of_memory"]

UDF_FILE = "<string>"
"""What the openEO client calls the file that a UDF's code would have."""


class ProcessError(Exception):
    """A process cannot go on; ``code`` is the openEO error code that the job's log carries."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


_NO_MEMORY = re.compile(r"(not enough|out of|insufficient|cannot allocate) memory|OutOfMemory", re.IGNORECASE)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one that led to it, is a want of memory: GDAL and others have words of their own.

    What a UDF raises in such words is its own affair; what it runs into is not.
    """
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        native = type(error).__module__.partition(".")[0] in {"rasterio", "pyarrow", "netCDF4", "h5py", "builtins"}
        if native and not _of_udf(error) and _NO_MEMORY.search(f"{type(error).__name__} {error}"):
            return True
        error = error.__cause__ or error.__context__
    return False


def _of_udf(error: BaseException) -> bool:
    """Return whether a UDF's own ``raise`` made an error; its code has no file."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_code.co_filename != UDF_FILE:
        return False
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
