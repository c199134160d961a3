"""What a CWL output object holds: files and folders, however nested, and plain values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["file_objects", "without_files"]


def _is_file_object(value: Any) -> bool:
    return isinstance(value, dict) and value.get("class") in ("File", "Directory")


def file_objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the File and Directory objects of an output's value, however nested."""
    if isinstance(value, list):
        for entry in value:
            yield from file_objects(entry)
    elif _is_file_object(value):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from file_objects(entry)


def without_files(value: Any) -> Any:
    """Return the values in an output, without its files; None where there is nothing else."""
    if isinstance(value, list):
        if value and all(without_files(entry) is None for entry in value):
            return None
        return [None if _is_file_object(entry) else without_files(entry) for entry in value] or None
    if isinstance(value, dict):
        if _is_file_object(value):
            return None
        kept = {str(name): without_files(entry) for name, entry in value.items()}
        return {name: entry for name, entry in kept.items() if entry is not None} or None
    return value
