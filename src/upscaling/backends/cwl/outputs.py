"""What a CWL run gave: from the output object of the runner to files with their STAC facts."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from upscaling.backends.cwl.log import ONE_NAME
from upscaling.errors import ErrorClass, TileFailedError
from upscaling.model import FetchedAsset, Outcome
from upscaling.results.cubes import is_zarr
from upscaling.stage_in.stage import stage_of
from upscaling.stage_in.web import is_remote

if TYPE_CHECKING:
    from upscaling.model import TileJob

__all__ = ["outcome_of", "read_outputs"]

CATALOGUES = ("catalog.json", "collection.json")
SKIPPED_ROLES = {"metadata", "thumbnail", "overview"}


@dataclass(frozen=True)
class _Found:
    output: str
    item: str
    asset: FetchedAsset
    within: str = ""  # path in an output folder


def read_outputs(outputs: Mapping[str, Any], folder: Path) -> tuple[tuple[FetchedAsset, ...], tuple[str, ...]]:
    """Return the result files of a run, and the hrefs of the items that they were derived from.

    A Directory with a STAC catalogue gives the assets of its items: none, if it has no item. A Zarr store is one
    result; another Directory gives its files, a File itself. Outputs that are null give nothing: a step that was left
    out, as where there is no data.

    Parameters
    ----------
    outputs
        The output object that the runner printed.
    folder
        Its output folder. Nothing outside it is accepted, whatever a location, a link or an href says.

    Raises
    ------
    TileFailedError
        ``bad-output``.
    """
    if not outputs:
        raise _bad("the package has no output")
    found: list[_Found] = []
    derived: list[str] = []
    folders: set[Path] = set()
    for name, value in outputs.items():
        for index, entry in enumerate(_objects(value)):
            path = _inside(_local(entry.get("location") or entry.get("path"), name), folder, f"output {name}")
            label = f"{name}_{index}" if isinstance(value, list) else name
            if entry["class"] == "File" or is_zarr(path):
                found.append(_Found(name, "", FetchedAsset(path=path, key=label)))
                found += [_Found(name, "", asset) for asset in _secondary(entry, label, folder)]
            else:
                if path in folders:
                    raise _bad(ONE_NAME)
                folders.add(path)
                assets, sources = _directory(path, name)
                found += assets
                derived += sources
    return tuple(_apart(_with_unique_keys(found), folder)), tuple(dict.fromkeys(derived))


def outcome_of(
    job: TileJob,
    outputs: Mapping[str, Any],
    folder: Path,
    *,
    facts: Mapping[str, Any],
    software: Mapping[str, str] | None = None,
) -> Outcome:
    """Return what a package gave for a tile: see ``read_outputs``.

    Where its results name no item of the web that they were made from, those that were staged for the tile count.

    Parameters
    ----------
    facts
        Of the run.
    software
        Name → version of what ran, beside the package itself.
    """
    assets, derived = read_outputs(outputs, folder)
    if not any(map(is_remote, derived)):
        derived = stage_of(job).sources(job.parameters)
    own = {job.algorithm.id: job.algorithm.version} if job.algorithm.version else {}
    return Outcome(assets=assets, job=dict(facts), derived_from=derived, software={**(software or {}), **own})


def _apart(assets: tuple[FetchedAsset, ...], folder: Path) -> Iterator[FetchedAsset]:
    """Yield the results with a file for each: one output may lie in another (``glob: .``), and each is taken away."""
    taken: set[Path] = set()
    for number, asset in enumerate(assets):
        if asset.path in taken:
            place = folder.parent / "again" / str(number)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            copied = shutil.copytree if asset.path.is_dir() else shutil.copyfile
            yield replace(asset, path=copied(asset.path, place / asset.path.name))
        else:
            taken.add(asset.path)
            yield asset


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the File and Directory objects of an output's value, however nested."""
    if isinstance(value, list):
        for entry in value:
            yield from _objects(entry)
    elif isinstance(value, dict):
        if value.get("class") in ("File", "Directory"):
            yield value
        else:
            for entry in value.values():
                yield from _objects(entry)


def _local(location: Any, name: str) -> Path:
    parts = urlsplit(str(location or ""))
    if parts.scheme not in ("", "file") or not parts.path:
        raise _bad(f"output {name} is not a local file: {location}")
    return Path(unquote(parts.path) if parts.scheme else str(location))


def _inside(path: Path, folder: Path, what: str) -> Path:
    resolved = path.resolve()
    if not resolved.is_relative_to(folder.resolve()):
        raise _bad(f"{what} points outside the output folder: {path}")
    if not resolved.exists():
        raise _bad(f"{what} is not there: {path.name}")
    return resolved


def _secondary(entry: Mapping[str, Any], label: str, folder: Path) -> Iterator[FetchedAsset]:
    for index, other in enumerate(_objects(entry.get("secondaryFiles", []))):
        if other["class"] == "File":
            path = _inside(_local(other.get("location"), label), folder, f"output {label}")
            yield FetchedAsset(path=path, key=f"{label}_secondary_{index}", roles=("metadata",))


def _directory(folder: Path, name: str) -> tuple[list[_Found], list[str]]:
    root = next((folder / file for file in CATALOGUES if (folder / file).is_file()), None)
    if root is None:
        below = [path for file in CATALOGUES for path in folder.glob(f"*/{file}")]
        root = below[0] if len(below) == 1 else None
    if root is not None:
        return _catalogue(root, folder, name)
    files = sorted(_files(folder))
    if not files:
        raise _bad(f"output {name} is an empty folder: neither a STAC catalogue nor a file")
    found = [(p, FetchedAsset(path=_inside(p, folder, f"output {name}"), key=p.stem)) for p in files]
    return [_Found(name, "", asset, str(p.relative_to(folder)).replace("/", "_")) for p, asset in found], []


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, and a Zarr store as one."""
    for path in folder.iterdir():
        if is_zarr(path):
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _files(path)
        elif path.is_file() and not path.name.startswith("."):
            yield path


def _catalogue(root: Path, folder: Path, name: str) -> tuple[list[_Found], list[str]]:
    import pystac

    class LocalIO(pystac.StacIO):
        """Reads nothing but what lies in the output folder."""

        def read_text(self, source: Any, *_args: Any, **_kwargs: Any) -> str:
            return _inside(_local(source, name), folder, f"a link of output {name}").read_text(encoding="utf-8")

        def write_text(self, dest: Any, txt: str, *_args: Any, **_kwargs: Any) -> None:
            raise NotImplementedError

    found, derived = [], []
    try:
        catalogue = pystac.Catalog.from_file(str(root), stac_io=LocalIO())
        holders: list[Any] = list(catalogue.get_items(recursive=True))
        if isinstance(catalogue, pystac.Collection) and not holders:
            holders = [catalogue]  # a collection may hold the assets itself
        for holder in holders:
            derived += [link.href for link in holder.get_links("derived_from") if isinstance(link.href, str)]
            found += [
                _Found(name, holder.id, _asset(key, asset, holder, folder, name))
                for key, asset in holder.assets.items()
                if not SKIPPED_ROLES & set(asset.roles or ())
            ]
    except TileFailedError:
        raise
    except RecursionError:
        raise _bad(f"the STAC catalogue of output {name} contains itself") from None
    except Exception as error:  # pystac raises KeyError, ValueError, STACError ... for what it cannot read
        if isinstance(error.__cause__, TileFailedError):
            raise error.__cause__ from None
        words = f"{type(error).__name__}: {error}"
        raise _bad(f"output {name} is not a STAC catalogue that can be read: {words}") from None
    return found, derived


def _asset(key: str, asset: Any, holder: Any, folder: Path, name: str) -> FetchedAsset:
    what = f"asset {key} of item {holder.id} in output {name}"
    href = asset.get_absolute_href() or asset.href
    path = _inside(_local(href, f"{name}, asset {key}"), folder, what)
    if not path.is_file() and not is_zarr(path):
        raise _bad(f"{what} is neither a file nor a Zarr store: {asset.href}")
    properties = {**getattr(holder, "properties", {}), **asset.extra_fields}
    return FetchedAsset(
        path=path,
        key=key,
        media_type=str(asset.media_type or ""),
        roles=tuple(map(str, asset.roles or ("data",))),
        title=str(asset.title or ""),
        bands=_bands(asset.extra_fields),
        datetime=properties.get("datetime"),
        start_datetime=properties.get("start_datetime"),
        end_datetime=properties.get("end_datetime"),
    )


def _bands(fields: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return STAC 1.1 bands, also from the eo:bands and raster:bands of STAC 1.0."""
    if isinstance(fields.get("bands"), list):
        return tuple(dict(band) for band in fields["bands"] if isinstance(band, Mapping))
    optical, raster = fields.get("eo:bands") or [], fields.get("raster:bands") or []
    bands: list[dict[str, Any]] = [{} for _ in range(max(len(optical), len(raster)))]
    for band, old in zip(bands, optical, strict=False):
        band.update({key if key in ("name", "description") else f"eo:{key}": value for key, value in old.items()})
    for band, old in zip(bands, raster, strict=False):
        common = {"nodata", "data_type", "statistics", "unit"}  # moved into the core by STAC 1.1
        band.update({key if key in common else f"raster:{key}": value for key, value in old.items()})
    return tuple(bands)


def _with_unique_keys(found: list[_Found]) -> tuple[FetchedAsset, ...]:
    """Name each asset by its key; where that is not unique by item and key too, by output, or by path in the output."""
    candidates = [
        [entry.asset.key for entry in found],
        ["_".join(filter(None, (entry.item, entry.asset.key))) for entry in found],
        ["_".join(filter(None, (entry.output, entry.item, entry.asset.key))) for entry in found],
        ["_".join(filter(None, (entry.output, entry.item, entry.within or entry.asset.key))) for entry in found],
    ]
    names = next((keys for keys in candidates if len(set(keys)) == len(keys)), None)
    if names is None:
        repeated = [key for key, count in Counter(candidates[-1]).items() if count > 1]
        raise _bad(f"two results have the same name: {repeated[0]}")
    return tuple(replace(entry.asset, key=key) for entry, key in zip(found, names, strict=True))


def _bad(message: str) -> TileFailedError:
    return TileFailedError(message, error_class=ErrorClass.OUTPUT)
