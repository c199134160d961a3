"""Read an openEO job's result document (STAC 1.0 or 1.1, Item or Collection) and download what it lists.

Nothing that a platform writes chooses a place on this disk, or has the platform's token sent to another host.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from upscaling.backends.openeo.session import Session
from upscaling.backends.openeo.workspace import NOT_SAID, workspace_href
from upscaling.errors import ErrorClass, PlatformError, TileFailedError, bad_output
from upscaling.http.download import LOCAL_DISK, TOO_LARGE, download
from upscaling.http.transport import TRANSIENT_STATUS
from upscaling.jobs.results_wait import RESULTS_GONE
from upscaling.model import FetchedAsset, Outcome
from upscaling.util.files import digest, is_as_declared
from upscaling.util.stac_assets import StacAsset, described, file_name, select, unsigned
from upscaling.util.stac_walk import StacWalk

__all__ = ["fetch_results"]

_MOST_ASSETS = 1000
_LONGEST_TEXT = 500  # characters of a title or name


class _LinkRefusedError(Exception):
    """A link is not honoured: expired, or what it led to is gone."""

    def __init__(self, error: PlatformError) -> None:
        self.error = error
        super().__init__(str(error))


@dataclass
class _Budget:
    """Bytes that may still be fetched for a tile."""

    left: int
    most: int
    job_id: str

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise self.exceeded()

    def exceeded(self) -> TileFailedError:
        return bad_output(
            f"the results of job {self.job_id} are more than {self.most / 1e9:g} GB, and are not fetched"
            " (backend.tile_gb)"
        )


def fetch_results(
    session: Session, job_id: str, folder: Path, *, most_bytes: int, workspace: str | None = None
) -> Outcome:
    """Download a finished job's result files into ``folder``.

    The links are asked for anew at every call, and when they are refused, as signed links expire. A file that is there
    already with the size (and checksum) that the platform declares is kept; a partial one is continued.

    Parameters
    ----------
    workspace
        Where the results were exported to, if they are to stay on the platform: nothing is downloaded then.

    Returns
    -------
    Assets, what they were derived from, and what was left out.

    Raises
    ------
    PlatformError
        If the platform does not answer as it should; transient faults can be retried by calling again. With the code
        ``RESULTS_GONE`` if fresh links lead nowhere (yet).
    TileFailedError
        If what it lists is not acceptable, or this disk is full.
    """
    try:
        return _fetch(session, job_id, folder, most_bytes, workspace)
    except _LinkRefusedError as refused:
        raise PlatformError(
            str(refused.error), error_class=refused.error.error_class, code=RESULTS_GONE, status=refused.error.status
        ) from None
    except OSError as error:
        raise TileFailedError(
            f"results cannot be written to {folder}: {error.strerror}", error_class=ErrorClass.TRANSIENT
        ) from None


def _fetch(session: Session, job_id: str, folder: Path, most_bytes: int, workspace: str | None) -> Outcome:
    try:
        document = session.get(f"/jobs/{job_id}/results")
    except PlatformError as error:
        if error.status in {404, 410, 424} and error.code is not None:
            raise _LinkRefusedError(error) from None
        raise
    if document.get("openeo:status") == "error":
        raise bad_output(f"the results of job {job_id} are an error")
    listed, walk = _listed(session, job_id, document, workspace)
    facts: dict[str, Any] = {
        "derived_from": tuple(dict.fromkeys(walk.derived_from)),
        "left_out": tuple(walk.left_out),
    }
    if workspace is not None:
        return Outcome(tuple(_staying(session, asset, workspace) for asset in listed), **facts)
    folder.mkdir(parents=True, exist_ok=True)
    budget = _Budget(most_bytes, most_bytes, job_id)
    sizes = [_size(asset.fields) or 0 for asset in listed]
    _Budget(most_bytes, most_bytes, job_id).take(sum(sizes))
    if sum(sizes) > shutil.disk_usage(folder).free:
        raise TileFailedError(
            f"the results of job {job_id} need {sum(sizes) / 1e9:.1f} GB, and {folder} has less",
            error_class=ErrorClass.TRANSIENT,
        )
    names = _names(job_id, listed)
    assets = [_fetched(session, folder / name, budget, asset) for name, asset in zip(names, listed, strict=True)]
    return Outcome(tuple(assets), **facts)


def _not_too_many(number: int, job_id: str) -> None:
    if number > _MOST_ASSETS:
        raise bad_output(f"job {job_id} lists more than {_MOST_ASSETS} files for one tile; they are not fetched")


def _names(job_id: str, listed: Sequence[StacAsset]) -> list[str]:
    """Return a name for each file in the tile's folder.

    The platform's name is only a hint: it repeats between tiles and items, and must not choose a place on this disk.
    With the job's id in it, a file of an earlier attempt is never taken for one of this. Signatures change.
    """
    names: list[str] = []
    for asset in listed:
        suffix = re.sub(r"[^a-z0-9.]", "", Path(file_name(asset.href)[1]).suffix.lower())[:12]
        facts = [ascii(fact) for fact in (job_id, asset.item, asset.key, *unsigned(asset.href, asset.key))]
        name = f"{digest(facts)[:16]}{suffix}"
        names.append(name if name not in names else f"{digest([*facts, len(names)])[:16]}{suffix}")
    return names


def _fetched(session: Session, target: Path, budget: _Budget, asset: StacAsset) -> FetchedAsset:
    _download(session, {**asset.fields, "href": asset.href}, target, budget)
    return FetchedAsset(path=target, **described(asset))


def _staying(session: Session, asset: StacAsset, workspace: str) -> FetchedAsset:
    name = Path(urlsplit(asset.href).path.rpartition("/")[2] or "file")
    stated = {**{word: value for word, value in asset.properties.items() if word.startswith("proj:")}, **asset.fields}
    there = workspace_href(session, asset.fields, workspace, asset.base)[1]
    where: dict[str, Any] = {"href": asset.href, "stated": stated, "unchecked": "" if there else NOT_SAID}
    return FetchedAsset(path=name, **{**described(asset), **where})


def _listed(
    session: Session, job_id: str, document: Mapping[str, Any], workspace: str | None
) -> tuple[list[StacAsset], StacWalk]:
    """Return the files that a result document and its items name, and the walk with all that was left out.

    API 1.0 answers with one Item; 1.1 and later with a Collection whose assets stand in the collection, in its items,
    or in both.

    Raises
    ------
    TileFailedError
        The document lists neither assets nor items, so it is no result document.
    """
    if not isinstance(document.get("assets"), Mapping | list) and not any(
        link.get("rel") in ("item", "child", "items") for link in _links(document)
    ):
        raise bad_output(f"the result document of job {job_id} lists neither assets nor items")

    def read(href: str) -> Any:
        try:
            return session.get(href)
        except PlatformError as error:
            _refused(error)
            raise

    def refuse(message: str) -> None:
        raise bad_output(f"the results of job {job_id}: {message}")

    def located(base: str, asset: Mapping[str, Any]) -> str:
        return workspace_href(session, asset, workspace or "", base)[0]

    walk = StacWalk(
        read,
        lambda base, link: session.resolve(link, base),
        refuse,
        _MOST_ASSETS,
        lambda number: _not_too_many(number, job_id),
        None if workspace is None else located,
    )
    documents = walk.documents(session.resolve(f"/jobs/{job_id}/results"), document)
    chosen, left = select(walk.assets(documents, most=_MOST_ASSETS))
    walk.left_out += left
    return chosen, walk


def _refused(error: PlatformError) -> None:
    """Raise _LinkRefusedError if an answer to a signed link says that it leads nowhere (any more): storage has many."""
    if error.status is not None and 400 <= error.status < 500 and error.status not in TRANSIENT_STATUS:
        raise _LinkRefusedError(error) from None


def _text(value: Any) -> str:
    return value[:_LONGEST_TEXT] if isinstance(value, str) else ""


def _links(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    links = document.get("links")
    listed = [link for link in links if isinstance(link, Mapping)] if isinstance(links, list) else []
    return [link for link in listed if isinstance(link.get("href"), str)]


def _size(asset: Mapping[str, Any]) -> int | None:
    size = asset.get("file:size")
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None


def _download(session: Session, asset: Mapping[str, Any], target: Path, budget: _Budget) -> None:
    """Fetch one file, within what is left for the tile."""
    size, checksum = _size(asset), _text(asset.get("file:checksum"))
    if not (target.is_file() and is_as_declared(target, size, checksum)):
        try:
            download(
                session.transport,
                asset["href"],
                target,
                largest=budget.left,
                size=size,
                checksum=checksum,
                media_type=_text(asset.get("type")),
            )
        except PlatformError as error:
            _refused(error)
            if error.code == TOO_LARGE:
                raise budget.exceeded() from None
            if error.code == LOCAL_DISK:
                raise TileFailedError(str(error), error_class=ErrorClass.TRANSIENT) from None
            raise
    budget.take(target.stat().st_size)
