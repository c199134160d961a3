"""What a platform must have before the first tile is submitted: batch jobs, processes, collections over the area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from upscaling.algorithms.udp import loaded_collections
from upscaling.backends.openeo.session import Session
from upscaling.errors import ConfigError, PlatformError

__all__ = ["box_words", "check_platform"]


def check_platform(
    session: Session, graph: Mapping[str, Any], bbox: Sequence[float], *, more: Mapping[str, str] | None = None
) -> None:
    """See that a platform can run a process graph.

    Parameters
    ----------
    bbox
        West, south, east, north of the run's area in degrees.
    more
        Further processes that are needed -> the configuration key that asks for them.

    Raises
    ------
    ConfigError
        If it cannot.
    PlatformError
        If it does not answer.
    """
    if not session.capabilities().supports_endpoint("/jobs", method="POST"):
        raise ConfigError(f"{session.url} offers no batch jobs", key="backend.url")
    needed = dict.fromkeys(sorted(_processes(graph)), "algorithm.source") | dict(more or {})
    known = {str(entry.get("id")) for page in session.pages("/processes", "processes") for entry in page}
    for name, key in needed.items():
        if known and name not in known and not _is_own_process(session, name):
            raise ConfigError(f"needs the process {name}, which {session.url} does not have", key=key)
    for collection in loaded_collections(graph):
        _check_collection(session, collection, bbox)


def _processes(value: Any) -> set[str]:
    """Return the names of all processes in a graph, child graphs included, but those of a namespace."""
    if isinstance(value, Mapping):
        own = (
            {value["process_id"]} if isinstance(value.get("process_id"), str) and not value.get("namespace") else set()
        )
        return own.union(*map(_processes, value.values()))
    return set().union(*map(_processes, value)) if isinstance(value, list) else set()


def _is_own_process(session: Session, name: str) -> bool:
    """Return whether a process is one that the user stored on the platform."""
    try:
        session.get(f"/process_graphs/{name}")
    except PlatformError as error:
        if error.status is None or error.status >= 500:
            raise
        return False
    return True


def _check_collection(session: Session, collection: str, bbox: Sequence[float]) -> None:
    """See that the platform has a collection, and that it reaches into the run's area."""
    try:
        found = session.get(f"/collections/{collection}")
    except PlatformError as error:
        if error.code == "CollectionNotFound":
            raise ConfigError(
                f"loads {collection}, which {session.url} does not have", key="algorithm.source"
            ) from None
        raise
    boxes = found.get("extent", {}).get("spatial", {}).get("bbox") or []
    if boxes and not any(_overlap(bbox, box) for box in boxes):
        raise ConfigError(f"lies outside {collection}, which covers {box_words(boxes[0])}", key="area.aoi")


def box_words(box: Sequence[float]) -> str:
    """Return a collection's box in the digits that somebody reads: providers write up to 15."""
    if len(box) == 6:
        box = [*box[:2], *box[3:5]]
    return f"[{', '.join(f'{float(edge):.6g}' for edge in box)}] (west, south, east, north)"


def _overlap(area: Sequence[float], box: Sequence[float]) -> bool:
    """Whether two boxes in degrees share more than an edge; a box may cross the antimeridian or have heights."""
    if len(box) == 6:
        box = [*box[:2], *box[3:5]]
    if not (area[1] < box[3] and box[1] < area[3]):
        return False

    def spans(west: float, east: float) -> list[tuple[float, float]]:
        return [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]

    return any(
        first[0] < second[1] and second[0] < first[1]
        for first in spans(area[0], area[2])
        for second in spans(box[0], box[2])
    )
