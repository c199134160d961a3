"""Index, COG and picture of any tiles hold what numpy puts together of them."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.enums import ColorInterp

from tests.unit.results.results_helpers import declare
from tests.unit.results.test_results_products import config
from upscaling.model import Bounds, Tile
from upscaling.results import mosaic_cog
from upscaling.results.bands import exact_nodata, stac_number
from upscaling.results.cog import ensure_cog, is_cog
from upscaling.results.products import make_mosaics

# a quicklook is a picture: it has no place
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
# A few at every run; `UPSCALING_EXAMPLES=500 pytest …` tries more.
EXAMPLES = int(os.environ.get("UPSCALING_EXAMPLES", "8"))
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
DTYPES += ["complex64", "complex128"]
# Pixels this near to the border of a source pixel may come from either side: GDAL's warper is exact to an eighth.
NEAR = 0.2


@dataclass
class Placed:
    """A tile as it was sent: values, which pixels are valid (per band), and where it lies."""

    tile: Tile
    values: np.ndarray
    valid: np.ndarray
    transform: Affine
    owner: str = ""
    path: Path = field(default_factory=Path)


@dataclass(frozen=True)
class Case:
    dtype: str
    nodata: str
    size: int
    flat: bool
    zones: int
    bands: int
    drop: bool
    tiles: int
    seed: int
    staged: bool  # whether the disk has room for it
    declared: str = ""  # nodata value as text, where rasterio would write another


@st.composite
def cases(draw: st.DrawFn) -> Case:
    dtype = draw(st.sampled_from(DTYPES))
    kinds = ["none", "value", "mask"]
    kinds += ["nan"] if dtype.startswith("float") else []
    kinds += ["alpha"] if dtype in {"uint8", "uint16"} else []
    nodata = draw(st.sampled_from(kinds))
    zones = draw(st.sampled_from([1, 1, 2]))
    return Case(
        dtype=dtype,
        nodata=nodata,
        size=draw(st.sampled_from([60, 100] if zones == 2 else [60, 100, 250, 256, 500, 512])),
        flat=draw(st.booleans()),
        zones=zones,
        bands=4 if nodata == "alpha" else draw(st.integers(1, 3)),
        drop=draw(st.booleans()),
        tiles=draw(st.sampled_from([2, 3])),
        seed=draw(st.integers(0, 1 << 30)),
        staged=draw(st.booleans()),
    )


def content(case: Case, shape: tuple[int, int], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Values of a tile without a clear pattern, from the whole range of the type, and which of them are valid."""
    whole = (case.bands, *shape)
    valid = random.random(whole) > 0.2
    if case.dtype.startswith(("int", "uint")):
        limits = np.iinfo(case.dtype)
        values = random.integers(limits.min, limits.max, whole, dtype=case.dtype, endpoint=True)
        near = np.array(nodata_of(case)).astype(case.dtype)  # values next to it are values; they may wrap around
        values[..., ::3] = near + random.integers(-3, 3, values[..., ::3].shape).astype(case.dtype)
    else:
        values = (random.normal(size=whole) * 1e3).astype(case.dtype)
        if case.dtype.startswith("complex"):
            values += 1j * random.normal(size=whole).astype(case.dtype)
    if case.nodata in {"value", "nan"}:
        nodata = np.nan if case.nodata == "nan" else nodata_of(case)
        values[values == nodata] = 1
        values[~valid] = nodata
    elif case.nodata == "alpha":
        valid[:] = valid[:1]
        values[3] = np.where(valid[0], np.iinfo(case.dtype).max, 0)
    else:
        valid[:] = valid[:1] | (case.nodata == "none")
    return values, valid


def nodata_of(case: Case) -> Any:
    if case.declared:
        return float(case.declared) if "float" in case.dtype else int(case.declared)
    # rasterio 1.4 writes -2**63 as -9
    ends = {
        "int8": -(1 << 7),
        "int16": -(1 << 15),
        "int32": -(1 << 31),
        "uint16": (1 << 16) - 1,
        "uint32": (1 << 32) - 1,
    }
    return ends[case.dtype] if case.dtype in ends and case.seed % 2 else 7


@cache
def zone_tiles() -> list[tuple[str, str, tuple[float, ...], str]]:
    from upscaling.area.aoi import read_aoi
    from upscaling.grids import get_grid

    tiles = get_grid("utm-10km").tiles(read_aoi([11.9, 46.45, 12.1, 46.5]))
    names = ("tile_id", "crs", "xmin", "ymin", "xmax", "ymax", "owner_wkt")
    columns = zip(*(tiles[name] for name in names), strict=True)
    return [(name, crs, bounds, owner or "") for name, crs, *bounds, owner in columns]


def layout(case: Case) -> list[tuple[Tile, Affine, tuple[int, int], str]]:
    rows = case.size // 2 if case.flat else case.size
    if case.zones == 2:
        return [
            (
                Tile(name, crs, Bounds(*bounds)),
                Affine(10_000 / case.size, 0, bounds[0], 0, -10_000 / rows, bounds[3]),
                (rows, case.size),
                owner,
            )
            for name, crs, bounds, owner in zone_tiles()
        ]
    across, down = 10.0, 20.0 if case.flat else 10.0
    found = []
    for row in range(case.tiles):
        for column in range(2):
            west, north = 600_000 + column * case.size * across, 5_000_000 - row * rows * down
            bounds = Bounds(west, north - rows * down, west + case.size * across, north)
            transform = Affine(across, 0, west, 0, -down, north)
            found.append((Tile(f"t{row}{column}", "EPSG:32632", bounds), transform, (rows, case.size), ""))
    return found[1:] if case.drop else found


def sent(case: Case, run: Path) -> list[Placed]:
    """Write the tiles as platforms do, and let them through the check of what came back."""
    random = np.random.default_rng(case.seed)
    placed = []
    for tile, transform, shape, owner in layout(case):
        values, valid = content(case, shape, random)
        path = run / f"{tile.id}.tif"
        profile: dict[str, Any] = {"driver": "GTiff", "count": case.bands, "dtype": case.dtype, "crs": tile.crs}
        profile |= {"height": shape[0], "width": shape[1], "transform": transform}
        profile |= (
            {}
            if case.declared
            else {"value": {"nodata": nodata_of(case)}, "nan": {"nodata": np.nan}}.get(case.nodata, {})
        )
        profile |= {"photometric": "RGB", "alpha": "YES"} if case.nodata == "alpha" else {}
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as target:
            target.write(values)
            if case.nodata == "mask":
                target.write_mask(valid[0])
            assert (ColorInterp.alpha in target.colorinterp) == (case.nodata == "alpha")
        if case.declared:
            declare(path, case.declared)
        info = ensure_cog(path, run / "tiles" / tile.id / "a.tif", expect=tile)
        colours = valid[:3] if case.nodata == "alpha" else valid
        assert info.valid == pytest.approx(colours.any(axis=0).mean())
        placed.append(Placed(tile, values, valid, transform, owner, info.path))
        with rasterio.open(info.path) as written:
            assert (written.read() == values)[valid].all()
    return placed


def collected(case: Case, run: Path) -> list[Placed]:
    placed = sent(case, run)
    links = []
    for one in placed:
        with rasterio.open(one.path) as written:
            value = exact_nodata(written)
            nodata = {} if value is None else {"nodata": stac_number(value, case.dtype)}
            shape = [written.height, written.width]
        dtype = {"complex64": "cfloat32", "complex128": "cfloat64"}.get(case.dtype, case.dtype)
        bands = [{"name": f"b{n}", "data_type": dtype, **nodata} for n in range(case.bands)]
        properties = {"proj:code": one.tile.crs, "proj:bbox": list(one.tile.bounds), "proj:shape": shape}
        properties["proj:transform"] = list(one.transform)[:6]
        assets = {"data": {"href": "./a.tif", "type": "image/tiff", "bands": bands}}
        item = {"id": one.tile.id, "geometry": None, "properties": properties, "assets": assets}
        (one.path.parent / "item.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./tiles/{one.tile.id}/item.json"})
    collection = {"stac_extensions": [], "links": links, "item_assets": {}}
    (run / "collection.json").write_text(json.dumps(collection))
    (run / "plan").mkdir()
    columns = {"tile_id": [one.tile.id for one in placed], "owner_wkt": [one.owner or None for one in placed]}
    pq.write_table(pa.table(columns), run / "plan" / "tiles.parquet")
    return placed


def read(path: Path) -> tuple[np.ndarray, np.ndarray, Any]:
    with rasterio.open(path) as dataset:
        valid = dataset.read_masks() > 0
        values = dataset.read()
        if np.issubdtype(values.dtype, np.inexact):
            valid &= ~np.isnan(values)
        return values, valid, dataset.profile


def differing(case: Case, placed: list[Placed], path: Path) -> int:
    """Count the pixels of a raster that are not what numpy makes of the tiles."""
    values, valid, profile = read(path)
    assert values.dtype == case.dtype
    if case.nodata == "alpha":  # it is always valid itself
        valid[3] = valid[0]
    if case.zones == 1:
        return on_one_lattice(placed, values, valid, profile)
    rewritten = {"int8", "int64", "uint64"}
    if case.nodata == "value":
        rewritten |= {case.dtype} if case.declared else set()
        rewritten |= {"complex64", "complex128"} | ({"int32", "uint32"} if nodata_of(case) != 7 else set())
    return in_zones(placed, values, valid, profile, together=case.dtype in rewritten)


def on_one_lattice(placed: list[Placed], values: np.ndarray, valid: np.ndarray, profile: Any) -> int:
    left, top = min(one.transform.c for one in placed), max(one.transform.f for one in placed)
    across, down = placed[0].transform.a, -placed[0].transform.e
    assert tuple(profile["transform"])[:6] == (across, 0, left, 0, -down, top)
    right, bottom = max(one.tile.bounds.east for one in placed), min(one.tile.bounds.south for one in placed)
    assert values.shape[1:] == (round((top - bottom) / down), round((right - left) / across))
    whole, there = np.zeros_like(values), np.zeros_like(valid)
    for one in placed:
        row, column = round((top - one.transform.f) / down), round((one.transform.c - left) / across)
        rows, columns = one.values.shape[1:]
        whole[:, row : row + rows, column : column + columns] = one.values
        there[:, row : row + rows, column : column + columns] = one.valid
    return int((valid != there).sum() + ((values != whole) & there).sum())


def in_zones(
    placed: list[Placed], values: np.ndarray, valid: np.ndarray, profile: Any, *, together: bool = False
) -> int:
    """Look at what each tile gives to each pixel; pixels at a border of source pixels or zones are left out."""
    transform, shape = profile["transform"], values.shape[1:]
    rows, columns = np.indices(shape)
    x, y = transform.c + (columns + 0.5) * transform.a, transform.f + (rows + 0.5) * transform.e
    seen, there = np.zeros_like(values), np.zeros_like(valid)
    unsure = np.zeros(shape, bool)
    layers = []
    for one in placed:
        tile_x, tile_y = pyproj.Transformer.from_crs(profile["crs"], one.tile.crs, always_xy=True).transform(x, y)
        column, row = (tile_x - one.transform.c) / one.transform.a, (tile_y - one.transform.f) / one.transform.e
        height, width = one.values.shape[1:]
        inside = (column > 0) & (row > 0) & (column < width) & (row < height)
        near = (column > -1) & (row > -1) & (column < width + 1) & (row < height + 1)
        for place in (column, row):
            unsure |= near & (np.abs(place - np.round(place)) < NEAR)
        r, c = (np.where(inside, np.floor(place), 0).astype(int) for place in (row, column))
        mine = inside
        if one.owner:
            shape_of_owner = shapely.from_wkt(one.owner)
            mine = inside & shapely.contains_xy(shape_of_owner, tile_x, tile_y)
            border = shapely.distance(shapely.boundary(shape_of_owner), shapely.points(tile_x[near], tile_y[near]))
            at_border = np.zeros(shape, bool)
            at_border[near] = border < 1.5 * max(one.transform.a, -one.transform.e)
            unsure |= at_border
        layers.append((one, inside, mine, r, c))
    for on_top in (False, True):
        for one, inside, mine, r, c in layers:
            valid_here = one.valid[:, r, c]
            if together:  # a pixel that is valid in one band covers all bands of what lies below
                valid_here = np.broadcast_to(valid_here.any(axis=0), valid_here.shape)
            laid = (mine if on_top else inside) & valid_here
            if not on_top:
                unsure |= laid.any(axis=0) & there.any(axis=0) & ~_owned_by_any(layers)
            seen[laid], there[laid] = one.values[:, r, c][laid], one.valid[:, r, c][laid]
    assert (~unsure).mean() > 0.05
    sure = np.broadcast_to(~unsure, valid.shape)
    return int((sure & (valid != there)).sum() + (sure & there & (values != seen)).sum())


def _owned_by_any(layers: list[Any]) -> np.ndarray:
    return np.logical_or.reduce([mine for _, _, mine, _, _ in layers])


def picture_differs(case: Case, index: Path, picture: Path) -> int:
    """Count the pixels whose opacity in the picture is not what the index says; a reduced picture is roughly it."""
    values, valid, _ = read(index)
    bands = slice(0, 3 if case.bands >= 3 else 1)
    with rasterio.open(picture) as dataset:
        shown = dataset.read(4) == 255
    expected = valid[bands].all(axis=0)
    if shown.shape != expected.shape:
        assert case.zones == 2 or max(values.shape[1:]) > 1024
        return int(abs(shown.mean() - expected.mean()) > 0.25)
    return int((shown != expected).sum())


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 100,
    database=None,
    phases=[Phase.generate],  # a case says itself what it is, and to find a smaller one takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(case=cases())
def test_mosaics_are_what_numpy_puts_together(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        placed = collected(case, run)
        with mock.patch.object(mosaic_cog, "ROOM", mosaic_cog.ROOM if case.staged else 1 << 40):
            (made,) = make_mosaics(config(cog=True), run)
        for name in (made["index"], made["cog"]):
            assert differing(case, placed, run / "mosaic" / name) == 0, name
        assert is_cog(run / "mosaic" / made["cog"])
        assert picture_differs(case, run / "mosaic" / made["index"], run / "mosaic" / made["quicklook"]) == 0


@pytest.mark.parametrize("zones", [1, 2])
@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("uint16", "0.5"),  # no value is equal to it: all are valid
        ("uint64", "18446744073709551615"),
        ("int64", "-9223372036854775808"),
        ("int64", "9007199254740993"),
        ("float32", "inf"),
        ("float64", "-1.7976931348623157e+308"),
    ],
)
def test_nodata_values_that_a_floating_point_number_or_15_digits_would_change(
    dtype: str, nodata: str, zones: int, tmp_path: Path
) -> None:
    kind = "none" if nodata == "0.5" else "value"
    case = Case(dtype, kind, 60, False, zones, 1, False, 2, 1, True, nodata)
    with mock.patch(f"{__name__}.nodata_of", lambda case: 0) if nodata == "0.5" else nullcontext():
        placed = collected(case, tmp_path)
    (made,) = make_mosaics(config(cog=True), tmp_path)
    for name in (made["index"], made["cog"]):
        assert differing(case, placed, tmp_path / "mosaic" / name) == 0, name
