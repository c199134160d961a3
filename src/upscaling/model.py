"""What a tile is, and what one tile's work is: the value types that cross module borders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

__all__ = [
    "Algorithm",
    "Bounds",
    "Coordinates",
    "FetchedAsset",
    "Outcome",
    "Parameter",
    "Row",
    "Step",
    "Tile",
    "TileJob",
]


class Bounds(NamedTuple):
    """Edges of a rectangle, in the units of the CRS that goes with it."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True)
class Tile:
    """One cell of a grid.

    Attributes
    ----------
    id
        From grid and lattice index alone; ``[a-z0-9_-]+``, so it is also a folder name and a Snakemake wildcard.
    crs
        ``EPSG:<n>``, or WKT2 where the CRS has no code.
    bounds
        Edges in ``crs``, on the grid's pixel lattice.
    grid_code
        ``grid:code`` of the STAC grid extension, or empty for free grids.
    geometry
        GeoJSON outline in EPSG:4326 (densified), or None where only the bounds matter.
    """

    id: str
    crs: str
    bounds: Bounds
    grid_code: str = ""
    geometry: dict[str, Any] | None = None

    @property
    def placeless(self) -> bool:
        """True for the stand-in of a job without an area (a row of a ``for_each`` table)."""
        return not self.crs

    @property
    def epsg(self) -> int | None:
        """The EPSG code of ``crs``, or None where it has none."""
        authority, _, code = self.crs.partition(":")
        return int(code) if authority == "EPSG" and code.isdigit() else None


@dataclass(frozen=True, slots=True)
class Step:
    """A time step: half-open, as openEO's temporal intervals are (``end`` is the first day that is not in it)."""

    label: str
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Row:
    """One combination of parameter values, one row of a table, or a product.

    Attributes
    ----------
    fits
        Whether it goes with a place (shapely, EPSG:4326) and a half-open time, either None for any; with all if None.
    """

    label: str
    values: dict[str, Any]
    fits: Callable[[Any, Any], bool] | None = None


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where a job stands in each dimension of its run."""

    tile: Tile | None
    step: Step | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an algorithm.

    Attributes
    ----------
    schema
        Its JSON schema (openEO), or its CWL type.
    required
        True if it has neither a default nor is optional.
    """

    name: str
    schema: Any
    required: bool
    default: Any = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """An algorithm as it was pinned into the plan: a copy of its definition and the sha256 of that copy.

    Attributes
    ----------
    files
        Paths on this machine of what the copy was made of; known when it is made, and not kept.
    """

    kind: Literal["openeo", "cwl", "ogcapi"]
    id: str
    path: Path
    sha256: str
    source: str
    parameters: tuple[Parameter, ...] = ()
    title: str = ""
    description: str = ""
    version: str = ""
    record: dict[str, Any] | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TileJob:
    """Everything a backend needs to run one tile (at one time step, for one row of parameter values).

    Attributes
    ----------
    id
        The target's name: the tile's id and the labels of the other dimensions, joined by ``_``.
    time
        The job's time step, half-open, or None without a time dimension.
    part
        The sub-collection that the item belongs to, or empty where a run's collection has no parts.
    key
        sha256 over backend, pinned algorithm, tile and parameters: the identity of this work everywhere.
    parameters
        The bound parameters: JSON values, one per argument that is sent.
    folder
        The tile's own folder, ``results/<run>/tiles/<tile>``; nothing is written outside it, the receipt
        and the scratch folder.
    receipt
        ``results/<run>/receipts/<tile>.json``.
    scratch
        ``results/<run>/scratch/<tile>``: downloads in progress, Toil job stores; removed after success.
    nodata
        Whether it is known beforehand that there is nothing to process: no item of ``stage_in``. Nothing is run.
    """

    run: str
    tile: Tile
    key: str
    parameters: dict[str, Any]
    algorithm: Algorithm
    folder: Path
    receipt: Path
    scratch: Path
    id: str = ""
    time: tuple[str, str] | None = None
    part: str = ""
    nodata: bool = False

    def __post_init__(self) -> None:
        """Take the tile's id where there is no other dimension."""
        if not self.id:
            object.__setattr__(self, "id", self.tile.id)

    @property
    def title(self) -> str:
        """Title of the remote job; a restarted run finds its jobs by the key: first, as platforms cut long titles."""
        return f"{self.key[:16]} {self.run} {self.id}"


@dataclass(frozen=True, slots=True)
class FetchedAsset:
    """One result file, on disk below the tile's scratch folder, with what the platform said of it.

    Attributes
    ----------
    key
        The platform's own name for it: a hint for a title, never a path.
    bands
        STAC 1.1 ``bands`` objects, in file order, as far as the platform gave them.
    datetime, start_datetime, end_datetime
        RFC 3339 strings, as far as the platform gave them.
    href
        Where the file stays, if it was not fetched; ``path`` is then no more than its name.
    stated
        What the platform's STAC says of such a file.
    unchecked
        What could not be checked of it, beyond its pixels.
    origin
        Folder and name that it had where it comes from: files that belong together find each other by it.
    loose
        Whether nothing names it: it only lay in the folder of the others.
    """

    path: Path
    key: str
    media_type: str = ""
    roles: tuple[str, ...] = ("data",)
    title: str = ""
    bands: tuple[dict[str, Any], ...] = ()
    datetime: str | None = None
    start_datetime: str | None = None
    end_datetime: str | None = None
    href: str = ""
    stated: Mapping[str, Any] = field(default_factory=dict)
    unchecked: str = ""
    origin: str = ""
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What running a tile gave: files, and facts about the run.

    Attributes
    ----------
    assets
        Empty if the platform says that there was no data: a success, recorded as such.
    job
        Facts for people and for the item's properties: ``id``, ``backend``, ``costs``, ``usage`` …
    derived_from
        Hrefs of the STAC items that went in, where the platform lists them.
    software
        Name → version of what ran, for ``processing:software``.
    values
        Output → its value, where that is no file: a number, text, a list or an object of them.
    left_out
        A line for each thing that came back and is not among the assets, with the reason.
    """

    assets: tuple[FetchedAsset, ...]
    job: dict[str, Any] = field(default_factory=dict)
    derived_from: tuple[str, ...] = ()
    software: dict[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
