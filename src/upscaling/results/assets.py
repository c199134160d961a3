"""Put the files of a tile into its folder under names of our own, and describe each as a STAC asset."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upscaling.errors import bad_output
from upscaling.model import Bounds, FetchedAsset, Tile, TileJob
from upscaling.results.bundle import fold, foldable, laid_out, pack, pack_folder
from upscaling.results.cog import CogInfo, ensure_cog, is_tiff
from upscaling.results.cubes import is_zarr
from upscaling.results.formats import FileFacts, read_file
from upscaling.results.media_types import COG_MEDIA_TYPE, GEOTIFF_MEDIA_TYPE, MEDIA_TYPES
from upscaling.results.multifile import Group, files_together
from upscaling.results.projection import metres_per_unit
from upscaling.results.remote_assets import UNREAD, stated_fields, stated_place, stated_raster
from upscaling.util.files import SHA256_MULTIHASH, move, sha256_bytes, sha256_file, size_of
from upscaling.util.text import plain_text

__all__ = ["PlacedAsset", "asset_names", "place_assets"]

# Names that say nothing: what platforms call the one result of a job.
ANONYMOUS = {"", "openeo", "result", "results", "output", "out", "data", "asset", "file", "image", "default"}
# Random parts of a name would make the asset's key another one in every tile.
RANDOM = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|[0-9a-f]{24,}")
DATE = re.compile(r"(?<!\d)(?:19|20)\d\d-?[01]\d-?[0-3]\d(?:t[\d:.-]{2,12})?z?(?![a-z0-9])")
LONGEST_NAME = 64
_SHORT, _SHORT_NUMBER = 5, 6  # characters; fewer are found in names by chance: the 2 in B02
_LARGEST_DEGREE = 360


@dataclass(frozen=True, slots=True)
class PlacedAsset:
    """A file in the tile's folder: the key, its STAC 1.1 asset object, and the raster's facts or the other file's.

    ``unchecked`` says, a line each, what could not be checked of a file that stays where it is; ``left_out``, which of
    the files that came with it are not kept, and why.
    """

    key: str
    asset: dict[str, Any]
    cog: CogInfo | None
    fetched: FetchedAsset
    facts: FileFacts = field(default_factory=FileFacts)
    unchecked: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def asset_names(hints: Iterable[str], *, noise: Iterable[str] = ()) -> list[str]:
    """Turn the names a platform gave into asset keys, one per hint in the same order.

    Keys match ``[a-z0-9][a-z0-9_.-]*``, are unique, do not depend on the order of the hints, and are the same for
    every tile: the file's extension, ``noise`` (tile id, job id) and random identifiers are taken out, and dates where
    names can be told apart without them. A name that says nothing (``openEO.tif``) becomes ``data``.

    Noise that may stand in a name by chance, a number or a word, is taken out only where it is a word of every name.
    """
    hints = list(hints)
    stems = [_stem(hint) for hint in hints]
    parts = sorted({part.lower() for part in noise if part}, key=len, reverse=True)
    found = [pattern for pattern, by_chance in map(_pattern, parts) if not by_chance or all(map(pattern.search, stems))]
    undated = [_plain(hint, found, dated=False) for hint in hints]
    bases = [
        plain if undated.count(plain) == 1 else _plain(hint, found) for hint, plain in zip(hints, undated, strict=True)
    ]
    names: dict[int, str] = {}
    taken: set[str] = set()
    for index in sorted(range(len(hints)), key=lambda position: (hints[position], position)):
        base = bases[index]
        name, number = base, 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        names[index] = name
    return [names[index] for index in range(len(hints))]


def _pattern(part: str) -> tuple[re.Pattern[str], bool]:
    """Return what finds a part in a name, and whether it might stand there by chance: then as a word of its own."""
    shortest = _SHORT_NUMBER if part.isdigit() else _SHORT
    by_chance = part.isalpha() or (part.isalnum() and len(part) < shortest)
    text = re.escape(part)
    return re.compile(rf"(?<![a-z0-9]){text}(?![a-z0-9])" if by_chance else text), by_chance


def _stem(hint: str) -> str:
    name = re.split(r"[/\\]", hint.split("?", maxsplit=1)[0].split("#", maxsplit=1)[0])[-1].lower()
    stem, _, extension = name.rpartition(".")
    return stem if f".{extension}" in MEDIA_TYPES or extension in {"tif", "tiff"} else name


def _plain(hint: str, noise: list[re.Pattern[str]], *, dated: bool = True) -> str:
    name = _stem(hint)
    for pattern in noise:
        name = pattern.sub("", name)
    name = unicodedata.normalize("NFKD", name if dated else DATE.sub("", name))
    foreign = "".join(letter for letter in name if letter.isalpha() and not letter.isascii())
    name = re.sub(r"[\u0300-\u036f]", "", name)  # accents
    name = re.sub(r"[^a-z0-9.]+", lambda match: "-" if match[0] == "-" else "_", RANDOM.sub("", name))
    name = re.sub(r"\.{2,}", ".", name)[:LONGEST_NAME].strip("_.-")
    name = "data" if name in ANONYMOUS else name
    return f"{name}_{sha256_bytes(foreign.encode('utf-8', 'replace'))[:6]}" if foreign else name


def place_assets(job: TileJob, assets: tuple[FetchedAsset, ...], *, job_id: str, exact: bool) -> list[PlacedAsset]:
    """Check every file and move it to ``job.folder/<job id>_<key><extension>``.

    Files that are one result (a shapefile's parts, say) become one asset, a zip archive. What lies beside a GeoTIFF
    (mask, world file, metadata) is written into it.

    Parameters
    ----------
    job_id
        The platform's id of the job, taken out of the names.
    exact
        True if every raster must cover exactly the tile; else it is taken where it lies, if it touches the tile.

    Raises
    ------
    TileFailedError
        ``bad-output``: a file that is not there or lies outside ``job.scratch``, or a raster that is not usable.
    """
    home = job.scratch.resolve()
    job.folder.mkdir(parents=True, exist_ok=True)
    for fetched in assets:
        source = fetched.path.resolve()
        inside = source.is_relative_to(home) and source != home and (source.is_file() or source.is_dir())
        if not fetched.href and not inside:
            raise bad_output(
                f"result file {fetched.path.name} is not a file (or folder) below the tile's scratch folder"
            )
    noise = (job.id, job.tile.id, job_id, job.key)
    groups = [part for group in files_together(assets) for part in _kept_apart(group)]
    names = asset_names((group.folder or group.main.key or group.main.path.name for group in groups), noise=noise)
    placed = []
    # archives first: what a VRT reads may be a result of its own, which is moved away
    for name, group in sorted(zip(names, groups, strict=True), key=lambda pair: not pair[1].parts):
        if group.main.href:
            placed.append(_staying(job, name, group.main, exact=exact))
        else:
            placed.append(_place(job, name, group, exact=exact))
    return sorted(placed, key=lambda asset: asset.key)


def _kept_apart(group: Group) -> Iterator[Group]:
    """Yield a GeoTIFF with what is written into it, and each other file beside it as a result of its own."""
    if not group.parts or group.folder or not is_tiff(group.main.path):
        yield group
        return
    folded = tuple(part for part in group.parts if foldable(part.origin) or part.origin.lower().endswith(".ovr"))
    yield Group(group.main, folded, group.root)
    yield from (Group(part) for part in group.parts if part not in folded)


def _place(job: TileJob, name: str, group: Group, *, exact: bool) -> PlacedAsset:
    fetched, source = group.main, group.main.path.resolve()
    asset: dict[str, Any] = {
        "href": "",
        "type": "",
        "title": _title(fetched, name),
        "roles": [plain_text(role) for role in fetched.roles] or ["data"],
    }
    extension = ".zarr" if source.is_dir() else source.suffix.lower()
    cog, facts = None, FileFacts()
    left_out: tuple[str, ...] = ()
    notes: list[str] = []
    if not group.folder and (is_tiff(source) or extension in {".tif", ".tiff"}):
        target = job.folder / f"{job.id}_{name}.tif"
        source, left_out = _folded(job, name, group)
        cog = ensure_cog(source, target, expect=job.tile if exact else None)
        left_out += tuple(f"{name}: {line}" for line in cog.left_out)
        if not exact:
            _see_that_it_touches(job.tile, fetched.path.name, cog.bounds, cog.crs)
        fields, notes = _raster_fields(cog, fetched)
        asset |= {"type": COG_MEDIA_TYPE, **fields}
        if not fetched.title:
            asset["title"] = plain_text(", ".join(band["name"] for band in asset["bands"]), 80)
        size, checksum = cog.size, cog.sha256
    elif group.parts or group.folder or (source.is_dir() and not is_zarr(source)):
        target, facts = _packed(job, name, group)
        size, checksum = size_of(target), sha256_file(target)
        asset |= {"type": MEDIA_TYPES[".zip"], **facts.asset}
    else:
        target = job.folder / f"{job.id}_{name}{extension if extension in MEDIA_TYPES else '.bin'}"
        facts = read_file(source)
        size = size_of(source)
        checksum = "" if source.is_dir() else sha256_file(source)
        move(source, target)
        asset |= {"type": _media_type(extension, fetched.media_type), **facts.asset}
    notes += [*facts.notes, *_see_where_it_lies(job.tile, fetched, facts)]
    asset["href"] = f"./{target.name}"
    asset["file:size"] = size
    if checksum:  # a folder has none
        asset["file:checksum"] = f"{SHA256_MULTIHASH}{checksum}"
    unchecked = tuple(f"{name}: {note}" for note in notes)
    return PlacedAsset(name, asset, cog, fetched, facts, unchecked, left_out)


def _folded(job: TileJob, name: str, group: Group) -> tuple[Path, tuple[str, ...]]:
    """Return a GeoTIFF with what lay beside it in it, and a line for each file that is not needed any more."""
    overviews = [part for part in group.parts if part.origin.lower().endswith(".ovr")]
    left_out = tuple(f"{Path(part.origin).name}: overviews are made anew" for part in overviews)
    beside = tuple(part for part in group.parts if part not in overviews)
    if not beside:
        return group.main.path.resolve(), left_out
    kept = Group(group.main, beside, group.root)
    main = laid_out(kept, job.scratch / "together" / name)
    return fold(main, [main.parent / Path(kept.name_of(part)).name for part in beside]), left_out


def _packed(job: TileJob, name: str, group: Group) -> tuple[Path, FileFacts]:
    """Put files that are one result, or a folder, into a zip archive; return it with what the files say."""
    facts, ending = FileFacts(), ".zip"
    source = group.main.path.resolve()
    if source.is_dir():
        target = job.folder / f"{job.id}_{name}{ending}"
        pack_folder(source, target)
        return target, facts
    place = job.scratch / "together" / name
    main = laid_out(group, place)
    if main.suffix.lower() == ".shp":
        facts, ending = read_file(main), ".shp.zip"  # by which GDAL opens it as it is
    target = job.folder / f"{job.id}_{name}{ending}"
    pack(place, target)
    return target, facts


def _staying(job: TileJob, name: str, fetched: FetchedAsset, *, exact: bool) -> PlacedAsset:
    """Describe a file that stays on the platform by what that says of it, and check as much as that allows."""
    extension = fetched.path.suffix.lower()
    is_raster = extension in {".tif", ".tiff"} or fetched.media_type.startswith("image/tiff")
    kind = fetched.media_type or (GEOTIFF_MEDIA_TYPE if is_raster else "")
    asset = {
        "type": _media_type("" if fetched.media_type else extension, kind),
        "title": _title(fetched, name),
        "roles": [plain_text(role) for role in fetched.roles] or ["data"],
        **stated_fields(fetched),
    }
    notes = [fetched.unchecked] if fetched.unchecked else []
    raster = None
    if is_raster:
        raster, missed = stated_raster(fetched, job.tile if exact and not job.tile.placeless else None)
        notes += missed
        if raster is not None:
            if not exact:
                _see_that_it_touches(job.tile, fetched.path.name, raster.bounds, raster.crs)
            asset |= {key: value for key, value in _raster_fields(raster, fetched)[0].items() if value}
    return PlacedAsset(name, asset, raster, fetched, unchecked=tuple(f"{name}: {note}" for note in (UNREAD, *notes)))


def _see_where_it_lies(tile: Tile, fetched: FetchedAsset, facts: FileFacts) -> Iterator[str]:
    """Raise if a file lies elsewhere than the tile, by its own word or by the platform's; yield what is not known."""
    name = Path(fetched.origin or fetched.path.name).name
    if facts.bounds and facts.crs:
        _see_that_it_touches(tile, name, facts.bounds, facts.crs)
        return
    said = stated_place(fetched) if facts.extension else None
    if said is not None:
        _see_that_it_touches(tile, name, *said)
    if facts.bounds is None:
        return
    if said is None:
        yield "does not say its CRS, so its place was not checked"
    elif said[1] != "EPSG:4326" or max(map(abs, facts.bounds)) <= _LARGEST_DEGREE:
        # its axes are in some CRS: it is the platform's, or the file is another one
        _see_that_it_touches(tile, name, facts.bounds, said[1])


def _see_that_it_touches(tile: Tile, name: str, bounds: Bounds, crs: str) -> None:
    """Raise if a file lies wholly elsewhere than the tile that was asked for."""
    import pyproj

    if tile.placeless:
        return
    wanted = tile.bounds
    try:
        west, south, east, north = bounds if crs == tile.crs else _moved(bounds, crs, tile.crs)
    except pyproj.exceptions.ProjError as error:  # of another planet, or of none
        raise bad_output(f"{name} is in a CRS that has no place on Earth: {' '.join(crs.split())[:200]}") from error
    if west > wanted.east or east < wanted.west or south > wanted.north or north < wanted.south:
        found = ", ".join(f"{edge:.10g}" for edge in bounds)
        raise bad_output(f"{name} lies elsewhere than tile {tile.id}: bounds ({found}) in {crs}")


def _moved(bounds: Bounds, crs: str, to: str) -> tuple[float, float, float, float]:
    """Return bounds in another CRS; raise ProjError if no way leads there."""
    import pyproj
    from rasterio.warp import transform_bounds

    pyproj.Transformer.from_crs(crs, to, always_xy=True)  # of rasterio's errors some have no public name
    moved: tuple[float, float, float, float] = transform_bounds(crs, to, *bounds)
    return moved


def _title(fetched: FetchedAsset, name: str) -> str:
    title = plain_text(fetched.title or name)
    return title if title and "://" not in title else name


def _media_type(extension: str, said: str) -> str:
    if extension in MEDIA_TYPES:
        return MEDIA_TYPES[extension]
    return said if re.fullmatch(r"[\w.+-]+/[\w.+-]+(\s*;[\w\s.+=-]*)*", said) else "application/octet-stream"


def _raster_fields(cog: CogInfo, fetched: FetchedAsset) -> tuple[dict[str, Any], list[str]]:
    """Return ``bands`` and the pixel size in metres; and in what the platform's word and the file's differ.

    A band's name is the platform's, else the file's own, else b1…; where both name the same bands in another order, the
    file's order counts, as the pixels are in it.
    """
    given = list(fetched.bands) if len(fetched.bands) == len(cog.bands) else [{}] * len(cog.bands)
    theirs, ours = [plain_text(band.get("name") or "") for band in given], [str(band["name"]) for band in cog.bands]
    notes = []
    if theirs != ours and all(ours) and sorted(theirs) == sorted(ours) and len(set(ours)) == len(ours):
        notes.append(
            f"the platform lists the bands {', '.join(theirs)}, the file has {', '.join(ours)}: the file counts"
        )
        given = [given[theirs.index(name)] for name in ours]
    elif set(theirs) & set(ours) - {""} and theirs != ours and all(ours) and all(theirs):
        notes.append(f"the platform lists the bands {', '.join(theirs)}, the file has {', '.join(ours)}")
    bands = []
    for number, (own, said) in enumerate(zip(cog.bands, given, strict=True), start=1):
        name = plain_text(said.get("name") or own["name"]) or f"b{number}"
        text = {key: plain_text(said[key]) for key in ("description", "unit") if isinstance(said.get(key), str)}
        # a scale of NaN is no number in JSON, and scales nothing
        odd = {key for key, value in own.items() if isinstance(value, float) and not math.isfinite(value)}
        notes += [f"band {name} has the {key} {own[key]}, which is left out" for key in sorted(odd)]
        bands.append({**text, **{key: value for key, value in own.items() if key not in odd}, "name": name})
    resolution = round(float(cog.transform[0] * metres_per_unit(cog.crs)), 4)
    return {"bands": bands, "raster:spatial_resolution": resolution}, notes
