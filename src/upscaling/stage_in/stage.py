"""Bring the items of a tile here: a local catalogue per input, of assets that the whole run downloads once.

An asset lies in the cache under a name made of its address, size and checksum, and is linked (not copied) from there
into the catalogues of the tiles that use it. Whoever comes first downloads it; others wait, on this and other nodes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import orjson

from upscaling.errors import ErrorClass, TileFailedError
from upscaling.stage_in.choose import SOURCE
from upscaling.stage_in.inputs import ITEMS
from upscaling.stage_in.web import TOKEN, FetchError, Web, is_remote, token_names
from upscaling.util.files import digest, read_json, write_json, written_whole
from upscaling.util.locks import exclusive
from upscaling.util.stac_assets import unsigned

if TYPE_CHECKING:
    from upscaling.model import TileJob

__all__ = ["Stage", "download_all", "items_in", "stage_in", "stage_of"]

_AT_ONCE = 4  # downloads of one tile
_AWAY = 8  # files in a row that could not be had for the moment: nor can the next
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a run's items come from and go to.

    Attributes
    ----------
    plan
        Folder with ``items.ndjson``.
    cache
        Folder of downloaded assets.
    largest
        Bytes of an asset at the most.
    home
        Address of the catalogue, whose host may see our token.
    token
        Name of the variable that holds it.
    others
        Input -> its stage, where that is not this one.
    """

    plan: Path
    cache: Path
    largest: int
    home: str = ""
    token: str = TOKEN
    others: Mapping[str, Stage] = field(default_factory=dict)

    def of(self, name: str) -> Stage:
        """Return the stage of an input's items."""
        return self.others.get(name, self)

    def inputs(self, parameters: Mapping[str, Any], into: Path) -> dict[str, Any]:
        """Return the parameters with every local catalogue made, below ``into``.

        What is there from an earlier call stays.

        Raises
        ------
        TileFailedError
            ``transient`` if it may succeed later; ``permanent`` if an asset is not what the catalogue declares.
        """
        wanted = items_in(parameters)
        if not wanted:
            return dict(parameters)
        documents = self.documents(wanted)
        try:
            return {
                name: self.of(name)._filled(value, documents, into / _safe(name, "input"))
                for name, value in parameters.items()
            }
        except FetchError as error:
            error_class = ErrorClass.TRANSIENT if error.passing else ErrorClass.PERMANENT
            raise TileFailedError(f"stage-in: {error}", error_class=error_class) from None

    def sources(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the addresses of the items that parameters ask to be staged, as far as they have some."""
        wanted = items_in(parameters)
        documents = self.documents(wanted) if wanted else {}
        return tuple(sorted(str(item[SOURCE]) for item in documents.values() if item.get(SOURCE)))

    def documents(self, digests: set[str]) -> dict[str, dict[str, Any]]:
        """Return pinned items by digest.

        Raises
        ------
        TileFailedError
            If the plan lost them.
        """
        try:
            lines = (self.plan / "items.csv").read_text().splitlines()
            offsets = dict(line.split(",") for line in lines)
            found = {}
            with (self.plan / "items.ndjson").open("rb") as stream:
                for wanted in digests:
                    stream.seek(int(offsets[wanted]))
                    found[wanted] = orjson.loads(stream.readline())
        except (OSError, KeyError, ValueError):
            raise TileFailedError(
                f"the items in {self.plan} are damaged; delete the folder, nothing else is lost"
            ) from None
        return found

    def _filled(self, value: Any, documents: Mapping[str, Any], folder: Path) -> Any:
        if isinstance(value, list):
            return [self._filled(one, documents, folder) for one in value]
        if not (isinstance(value, Mapping) and ITEMS in value):
            return value
        place = folder / str(value["basename"])
        items = [documents[one] for one in value[ITEMS]]
        self._catalogue(items, place)
        return {"class": "Directory", "path": str(place.absolute())}

    def _catalogue(self, items: list[dict[str, Any]], folder: Path) -> None:
        """Make a self-contained catalogue: ``catalog.json``, and a folder per item with its assets."""
        if (folder / "catalog.json").is_file():
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        links = []
        for number, item in enumerate(items):
            name = _safe(str(item.get("id")), f"item-{number}")
            if (folder / name).exists() or name.lower() == "catalog.json":
                name = f"item-{number}-{name}"
            (folder / name).mkdir()
            assets = self._assets(item, folder / name)
            up = {"href": "../catalog.json", "type": "application/json"}
            own = [{"rel": "root", **up}, {"rel": "parent", **up}, *item.get("links", [])]
            plain = {field: value for field, value in item.items() if field != SOURCE}
            write_json(folder / name / f"{name}.json", {**plain, "links": own, "assets": assets})
            links.append({"rel": "item", "href": f"./{name}/{name}.json", "type": "application/geo+json"})
        root = {"rel": "root", "href": "./catalog.json", "type": "application/json"}
        head = {"type": "Catalog", "stac_version": "1.0.0", "id": "items", "description": "Items of one tile"}
        if items:
            head["stac_version"] = str(items[0].get("stac_version", "1.0.0"))
        write_json(folder / "catalog.json", {**head, "links": [root, *links]})

    def _assets(self, item: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Link an item's assets into a folder; return them with their new places."""
        names: dict[str, str] = {}
        for key, asset in item["assets"].items():
            href = asset["href"]
            plain = Path(unquote(urlsplit(href).path) if is_remote(href) else href).name
            name = _safe(plain, "asset")
            if name in {f"{folder.name}.json", *names.values()}:
                name = f"{len(names)}-{name}"
            names[key] = name
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            places = list(pool.map(self.asset, item["assets"].values()))
        for key, place in zip(names, places, strict=True):
            self._link(place, folder / names[key])
        return {key: {**asset, "href": f"./{names[key]}"} for key, asset in item["assets"].items()}

    def asset(self, asset: Mapping[str, Any]) -> Path:
        """Return where an asset lies, downloaded if nobody has done so.

        Raises
        ------
        FetchError
            If it cannot be had, or is not what the catalogue declares.
        """
        href = str(asset["href"])
        size, checksum = asset.get("file:size"), str(asset.get("file:checksum") or "").lower()
        size = size if isinstance(size, int) and not isinstance(size, bool) else None
        if not is_remote(href):
            path = Path(href)
            if not path.is_file():
                raise FetchError(f"no such file: {href}")
            # Its checksum is not compared: nothing was downloaded, and each tile would read it all.
            if size is not None and path.stat().st_size != size:
                raise FetchError(f"{href} has {path.stat().st_size} bytes, and the catalogue declares {size}")
            return path
        name = digest([unsigned(href, "")[0], size, checksum])[:32]
        place = self.cache / name[:2] / name
        if place.is_file():
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(place.with_suffix(".lock")):
            if not place.is_file():
                self._download(href, place, asset, size)
        place.with_suffix(".lock").unlink(missing_ok=True)
        return place

    def _download(self, href: str, place: Path, asset: Mapping[str, Any], size: int | None) -> None:
        new = place.with_suffix(".new")
        declared = {"checksum": str(asset.get("file:checksum") or ""), "media_type": str(asset.get("type") or "")}
        Web(self.home, self.token).file(href, new, largest=self.largest, size=size, **declared)
        new.chmod(0o444)  # tools get a link to this very file
        new.replace(place)

    def _link(self, place: Path, target: Path) -> None:
        """Put a file at ``target`` without copying it where that is possible; containers could not follow a symlink."""
        try:
            target.hardlink_to(place.resolve())
        except OSError:  # another file system, or another's file
            copy = self.cache / "copies" / digest([str(place), place.stat().st_size, place.stat().st_mtime_ns])[:32]
            with suppress(OSError):
                if not copy.is_file():
                    with written_whole(copy) as temporary:
                        shutil.copyfile(place, temporary)
                target.hardlink_to(copy)
                return
            shutil.copyfile(place, target)


def items_in(value: Any) -> set[str]:
    """Return the digests of the items that parameters ask to be staged."""
    if isinstance(value, Mapping):
        return set(value.get(ITEMS, ())).union(*map(items_in, value.values()))
    return set().union(*map(items_in, value)) if isinstance(value, list) else set()


def stage_of(job: TileJob) -> Stage:
    """Return the stage of a job's run, as the configuration kept beside the plan says."""
    return stage_in(job.algorithm.path.absolute().parent)


def stage_in(plan: Path) -> Stage:
    """Return the stage of the run whose plan lies in a folder."""
    config = _kept(plan / "config.json")
    staged = [str(name) for name in _kept(plan / "plan.json").get("staged", [])]  # inputs, one for each block
    given = config.get("stage_in") or []
    blocks = given if isinstance(given, list) else [given]
    tokens = token_names([str(block.get("catalogue", "")) for block in blocks])
    stages = [_stage(plan, block, token) for block, token in zip(blocks, tokens, strict=True)]
    search = (config.get("for_each") or {}).get("search")
    own = _stage(plan, search, TOKEN) if search else stages[0] if stages else _stage(plan, {}, TOKEN)
    return replace(own, others=dict(zip(staged, stages, strict=False)))


def _kept(path: Path) -> dict[str, Any]:
    """Return what was kept with the plan; nothing where it cannot be read."""
    try:
        content: dict[str, Any] = read_json(path)
    except (OSError, ValueError):
        return {}
    return content


def _stage(plan: Path, block: Mapping[str, Any], token: str) -> Stage:
    cache = Path(block["cache"]).expanduser().absolute() if block.get("cache") else plan.absolute().parent / "stage"
    return Stage(plan, cache, int(block.get("largest_gb", 20.0) * 1e9), str(block.get("catalogue", "")), token)


def download_all(plan: Path, *, say: Callable[[str], None]) -> int:
    """Download every asset that a run's tiles stage, so that its nodes need no network; return how many there are.

    Raises
    ------
    TileFailedError
        For the first that cannot be had, after the others; and once the catalogue is out of reach, without them.
    """
    stage = stage_in(plan)
    with (plan / "jobs.ndjson").open("rb") as stream:
        every = [(name, items_in(value)) for line in stream for name, value in json.loads(line)["parameters"].items()]
    wanted = set[str]().union(*(digests for _, digests in every))
    documents = stage.documents(wanted) if wanted else {}
    assets = {
        (name, asset["href"]): (stage.of(name), asset)
        for name, digests in every
        for one in digests
        for asset in documents[one]["assets"].values()
    }
    failed, unasked, in_a_row = list[FetchError](), list[str](), 0

    def bring(one: tuple[Stage, Mapping[str, Any]]) -> None:
        nonlocal in_a_row
        if in_a_row >= _AWAY:
            unasked.append(str(one[1]["href"]))
            return
        try:
            one[0].asset(one[1])
            in_a_row = 0
        except FetchError as error:
            failed.append(error)
            in_a_row += error.passing

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for number, _ in enumerate(pool.map(bring, assets.values()), 1):
            if not unasked and (number % 10 == 0 or number == len(assets)):
                say(f"stage_in: {number} of {len(assets)} files")
    if failed:
        others = f", and {len(unasked)} were not asked for" if unasked else ""
        raise TileFailedError(f"stage-in: {failed[0]} ({len(failed)} of {len(assets)} files are missing{others})")
    return len(assets)


def _safe(name: str, otherwise: str) -> str:
    """Return a name that chooses no place: letters, digits, ``._-``, not hidden, not too long."""
    return _NAME.sub("_", name).strip("._")[-120:].lstrip("._-") or otherwise
