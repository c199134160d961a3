"""The error that a process graph can end with."""

from __future__ import annotations

import errno
import re

__all__ = ["ProcessError", "is_out_of_memory"]


class ProcessError(Exception):
    """A process cannot go on; ``code`` is the openEO error code that the job's log carries."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


_NO_MEMORY = re.compile(r"(not enough|out of|insufficient|cannot allocate) memory|OutOfMemory", re.IGNORECASE)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one that led to it, is a want of memory: GDAL and others have words of their own."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        native = type(error).__module__.partition(".")[0] in {"rasterio", "pyarrow", "netCDF4", "h5py", "builtins"}
        if native and _NO_MEMORY.search(f"{type(error).__name__} {error}"):
            return True
        error = error.__cause__ or error.__context__
    return False
