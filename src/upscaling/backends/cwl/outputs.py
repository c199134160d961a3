"""What a CWL run gave: from the output object of the runner to files with their STAC facts, and values."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from upscaling.backends.cwl.log import ONE_NAME
from upscaling.backends.cwl.values import file_objects, without_files
from upscaling.errors import TileFailedError, bad_output
from upscaling.model import FetchedAsset, Outcome
from upscaling.results.cubes import is_zarr
from upscaling.stage_in.stage import stage_of
from upscaling.stage_in.web import is_remote
from upscaling.util.file_families import families
from upscaling.util.stac_assets import described, select
from upscaling.util.stac_walk import StacDocument, StacWalk, kind_of, local_target, parse_json, places_of
from upscaling.util.text import numbered, plain_text

if TYPE_CHECKING:
    from upscaling.model import TileJob

__all__ = ["outcome_of", "read_outputs"]

_MOST_FILES, _MOST_DOCUMENTS = 10_000, 2_000
_LARGEST_DOCUMENT = 64 << 20  # bytes; a larger JSON file is a result
_CATALOGUE_NAMES = {"catalog.json": 0, "collection.json": 1}  # in the order in which they are looked into
_DOCUMENTS = {".json", ".geojson", ".ndjson", ".jsonl", ".geojsonl"}
_NO_RESULTS = {".py", ".sh", ".r", ".jl", ".js", ".ipynb", ".cwl", ".log", ".err", ".out"}
_ON_THE_WEB = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+://")
_KINDS = ("Catalog", "Collection", "ItemCollection", "Item")  # in the order in which they are looked into


@dataclass(frozen=True)
class _Found:
    output: str
    item: str
    asset: FetchedAsset
    within: str = ""  # path in an output folder


def read_outputs(outputs: Mapping[str, Any], folder: Path) -> Outcome:
    """Return the result files and values of a run, and the hrefs of the items that they were derived from.

    A Directory with STAC documents gives the assets of its items: of all catalogues in it, however deep, and also of
    items that no catalogue links. A Zarr store is one result; another Directory gives its files, a File itself. Other
    outputs are values. Outputs that are null give nothing: a step that was left out, as where there is no data.

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
        raise bad_output("the package has no output")
    found: list[_Found] = []
    derived: list[str] = []
    left_out: list[str] = []
    values: dict[str, Any] = {}
    folders: set[Path] = set()
    for name, value in outputs.items():
        try:
            plain = without_files(value)
        except RecursionError:
            raise bad_output(f"output {name} is nested too deeply") from None
        if plain is not None:
            values[name] = plain
        for index, entry in enumerate(file_objects(value)):
            path = _inside(_local(entry.get("location") or entry.get("path"), name), folder, f"output {name}")
            label = f"{name}_{index}" if isinstance(value, list) else name
            if is_zarr(path) or not path.is_dir():
                found.append(_Found(name, "", _file(path, label)))
                found += [_Found(name, "", asset) for asset in _secondary(entry, label, folder)]
            else:
                if path in folders:
                    raise bad_output(ONE_NAME)
                folders.add(path)
                reader = _Folder(path, folder, name)
                found += reader.read()
                derived += reader.derived
                left_out += reader.left_out
    return Outcome(
        assets=tuple(_apart(_with_unique_keys(found), folder)),
        derived_from=tuple(dict.fromkeys(derived)),
        values=values,
        left_out=tuple(left_out),
    )


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
    outcome = read_outputs(outputs, folder)
    derived = outcome.derived_from
    if not any(map(is_remote, derived)):
        derived = stage_of(job).sources(job.parameters)
    own = {job.algorithm.id: job.algorithm.version} if job.algorithm.version else {}
    return replace(outcome, job=dict(facts), derived_from=derived, software={**(software or {}), **own})


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


def _local(location: Any, name: str) -> Path:
    try:
        parts = urlsplit(str(location or ""))
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("", "file") or not parts.path:
        raise bad_output(f"output {name} is not a local file: {plain_text(location)}")
    return Path(unquote(str(location).removeprefix("file://")) if parts.scheme else str(location))


def _inside(path: Path, folder: Path, what: str) -> Path:
    shown = plain_text(path)
    try:
        resolved = path.resolve()
        is_there = resolved.exists()
    except (OSError, RuntimeError, ValueError):  # too long, a link to itself, a character that no name has
        raise bad_output(f"{what} has a location that cannot be read: {shown}") from None
    if not resolved.is_relative_to(folder.resolve()):
        raise bad_output(f"{what} points outside the output folder: {shown}")
    if not is_there:
        raise bad_output(f"{what} is not there: {plain_text(path.name)}")
    if not resolved.is_file() and not resolved.is_dir():
        raise bad_output(f"{what} is neither a file nor a folder: {plain_text(path.name)}")
    return resolved


def _file(path: Path, key: str, origin: Path | None = None, **more: Any) -> FetchedAsset:
    return FetchedAsset(path=path, key=key, origin=str(origin or path), **more)


def _secondary(entry: Mapping[str, Any], label: str, folder: Path) -> Iterator[FetchedAsset]:
    for index, other in enumerate(file_objects(entry.get("secondaryFiles", []))):
        path = _inside(_local(other.get("location") or other.get("path"), label), folder, f"output {label}")
        paths = [path] if other["class"] == "File" or is_zarr(path) else sorted(_Scan(path).files)
        for number, part in enumerate(paths):
            key = f"{label}_secondary_{index}" + (f"_{number}" if len(paths) > 1 else "")
            yield _file(part, key, roles=("metadata",), loose=True)


class _Scan:
    """The files below a folder, a Zarr store as one, and what in it is no file."""

    def __init__(self, folder: Path) -> None:
        self.files: list[Path] = []
        self.odd: list[Path] = []
        self._into(folder)

    def _into(self, folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                self.odd.append(path)
            elif is_zarr(path) or path.is_file():
                self.files.append(path)
            elif path.is_dir() and not path.is_symlink():
                self._into(path)
            elif not path.is_dir():
                self.odd.append(path)
            if len(self.files) > _MOST_FILES:
                raise bad_output(f"an output folder has more than {_MOST_FILES} files")


class _Folder:
    """An output folder: through its STAC documents, if it has any, else file by file."""

    def __init__(self, place: Path, folder: Path, name: str) -> None:
        self._place, self._whole, self._name = place, folder, name
        self._read_before: dict[str, Any] = {}
        self._named: set[Path] = set()  # by STAC documents
        self.derived: list[str] = []
        self.left_out: list[str] = []

    def read(self) -> list[_Found]:
        scan = _Scan(self._place)
        if not scan.files:
            raise bad_output(f"output {self._name} is an empty folder: neither a STAC catalogue nor a file")
        inside = [path for path in scan.files if path.resolve().is_relative_to(self._whole.resolve())]
        outside = [path for path in scan.files if path not in inside]
        files = {path: path.resolve() for path in inside}
        starts = self._documents(list(files.values()))
        for path in () if starts else files.values():
            if path.name in _CATALOGUE_NAMES:  # its files would be taken without their dates
                self._refuse(f"{self._path_in(path)} is neither a Catalog nor a Collection nor an Item")
        found = self._of_documents(starts) if starts else []
        used = self._named | {Path(read) for read in self._read_before}
        loose = {path: real for path, real in files.items() if real not in used}
        if found:
            found += self._companions(found, loose)
            self.left_out += [f"{self._path_in(path)}: points outside the output folder" for path in outside]
        else:
            scripts = [path for path in loose if starts and path.suffix.lower() in _NO_RESULTS]
            if len(scripts) < len(loose):
                self.left_out += [self._unnamed(path) for path in scripts]
            loose = {path: real for path, real in loose.items() if path not in scripts}
            for path in outside:
                _inside(path, self._whole, f"output {self._name}")
            found = [
                _Found(self._name, "", _file(real, p.stem, p, loose=True), self._path_in(p))
                for p, real in loose.items()
            ]
        # a hidden file is a trace of the machine, and no result where it is all there is; so is a tool's own script
        odd = [path for path in scan.odd if found or not path.is_file()]
        self.left_out += [f"{self._path_in(path)}: hidden, or no regular file" for path in odd]
        return found

    def _unnamed(self, path: Path) -> str:
        return f"{self._path_in(path)}: no STAC item of output {self._name} names it"

    def _path_in(self, path: Path) -> str:
        return str(path.relative_to(self._place)).replace("/", "_")

    def _documents(self, files: list[Path]) -> list[str]:
        """Return the STAC documents among files, catalogues first and the upper before the lower."""
        kinds: dict[str, str] = {}
        for path in files:
            if path.suffix.lower() not in _DOCUMENTS or path.stat().st_size > _LARGEST_DOCUMENT:
                continue
            content = parse_json(path.read_bytes())
            kind = kind_of(content)
            if kind is not None:
                kinds[str(path)] = kind
                self._read_before[str(path)] = content
                if len(kinds) > _MOST_DOCUMENTS:
                    raise bad_output(f"output {self._name} has more than {_MOST_DOCUMENTS} STAC documents")
        return sorted(kinds, key=lambda path: _order(path, kinds[path]))

    def _of_documents(self, starts: list[str]) -> list[_Found]:
        """Return the assets of all items: those that the catalogues link, and those that none does."""
        walk = StacWalk(self._document, self._target, self._refuse, _MOST_DOCUMENTS, self._too_many)

        def documents() -> Iterator[StacDocument]:
            for start in starts:
                if start not in walk.seen:
                    yield from walk.documents(start)

        listed = walk.assets(documents(), most=_MOST_FILES)
        self._named = {Path(asset.href) for asset in listed}
        chosen, left = select(listed)
        for asset in chosen:
            if _ON_THE_WEB.match(asset.href):
                raise self._not_local(asset.base, asset.href)
        self.derived += walk.derived_from
        self.left_out += [*walk.left_out, *left]
        return [
            _Found(self._name, asset.item, FetchedAsset(path=Path(asset.href), **described(asset))) for asset in chosen
        ]

    def _companions(self, found: list[_Found], loose: Mapping[Path, Path]) -> list[_Found]:
        """Return the files that belong to an asset without being listed (a mask, say); name the others."""
        taken = []
        assets = {entry.asset.path: entry for entry in found}
        here: dict[Path, list[str]] = {}
        for real in (*assets, *loose.values()):
            here.setdefault(real.parent, []).append(real.name)
        mains = {folder: families(names) for folder, names in here.items()}
        for path, real in loose.items():
            main = mains[real.parent].get(real.name)
            if any(folder in assets for folder in real.parents):  # of a folder that is a result
                continue
            if main and real.parent / main in assets:
                taken.append(
                    _Found(
                        self._name,
                        assets[real.parent / main].item,
                        _file(real, real.name, roles=("metadata",), loose=True),
                    )
                )
            else:
                self.left_out.append(self._unnamed(path))
        return taken

    def _document(self, path: str) -> Any:
        if path not in self._read_before:
            if _ON_THE_WEB.match(path):
                raise self._not_local("a STAC document", path)
            place = Path(path)
            if not place.is_file() or place.stat().st_size > _LARGEST_DOCUMENT:
                return None
            self._read_before[path] = parse_json(place.read_bytes())
        return self._read_before[path]

    def _target(self, base: str, href: str) -> str:
        """Return the file or folder of a link: its name as it is written, decoded, or without query and fragment.

        An address on the web is returned as it is; it is refused where it is a result, and not where it is a preview.
        """
        for place in places_of(href, self._read_before):
            if place.is_file():
                return str(_inside(place, self._whole, f"output {self._name}"))
        if _ON_THE_WEB.match(href):
            return href
        what = f"{Path(base).name} of output {self._name}"
        for place in local_target(Path(base), href):
            try:
                if place.exists():
                    return str(_inside(place, self._whole, what))
                if not place.resolve().is_relative_to(self._whole.resolve()):
                    raise bad_output(f"{what} points outside the output folder: {plain_text(href)}")
            except (OSError, RuntimeError):  # a name that is too long, a link to itself
                continue
        raise bad_output(f"{what} names what is not there: {plain_text(href)}")

    def _not_local(self, base: str, href: str) -> TileFailedError:
        return bad_output(
            f"{Path(base).name} of output {self._name} names what is not a local file: {plain_text(href)}"
        )

    def _refuse(self, message: str) -> None:
        raise bad_output(f"output {self._name} is not a STAC catalogue that can be read: {message}")

    def _too_many(self, number: int) -> None:
        raise bad_output(f"output {self._name} names {number} files or STAC documents; more than are looked at")


def _order(path: str, kind: str) -> tuple[int, int, int, str]:
    return _KINDS.index(kind), path.count("/"), _CATALOGUE_NAMES.get(path.rpartition("/")[2], 2), path


def _with_unique_keys(found: list[_Found]) -> tuple[FetchedAsset, ...]:
    """Name each asset by its key; where that is not unique by item and key too, by output, by path, or by a number."""
    candidates = [
        [entry.asset.key for entry in found],
        ["_".join(filter(None, (entry.item, entry.asset.key))) for entry in found],
        ["_".join(filter(None, (entry.output, entry.item, entry.asset.key))) for entry in found],
        ["_".join(filter(None, (entry.output, entry.item, entry.within or entry.asset.key))) for entry in found],
    ]
    names = next((keys for keys in candidates if len(set(keys)) == len(keys)), None) or numbered(candidates[-1])
    return tuple(replace(entry.asset, key=key) for entry, key in zip(found, names, strict=True))
