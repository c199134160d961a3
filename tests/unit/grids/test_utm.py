"""utm-<N>km: golden vectors, zones, odd places, and properties over random AOIs."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from grid_helpers import PLAIN, aois, check_contract, check_cover
from hypothesis import given, settings

from upscaling.area.aoi import read_aoi
from upscaling.errors import ConfigError
from upscaling.grids import get_grid
from upscaling.grids.lattice import Lattice, cover
from upscaling.grids.utm_zones import zone_of


def bounds(frame: gpd.GeoDataFrame) -> list[list[float]]:
    return frame[["xmin", "ymin", "xmax", "ymax"]].to_numpy().tolist()


@pytest.mark.parametrize(
    ("lon", "lat", "grid", "crs", "expected"),
    [
        (5, 51, "utm-100km", 32631, [600_000, 5_600_000, 700_000, 5_700_000]),
        (5, 51, "utm-20km", 32631, [640_000, 5_640_000, 660_000, 5_660_000]),
        (5, 51, "utm-10km", 32631, [640_000, 5_650_000, 650_000, 5_660_000]),
        (12.3, 45.6, "utm-20km", 32633, [280_000, 5_040_000, 300_000, 5_060_000]),
        (-42, -5, "utm-10km", 32724, [160_000, 9_440_000, 170_000, 9_450_000]),
    ],
)
def test_single_tiles_of_the_aggregator(lon: float, lat: float, grid: str, crs: int, expected: list[int]) -> None:
    """From tests/partitionedjobs/test_splitting.py of openeo-aggregator."""
    frame = get_grid(grid).tiles(read_aoi([lon, lat, lon + 0.001, lat + 0.001]))
    assert bounds(frame) == [expected]
    assert list(frame["crs"]) == [f"EPSG:{crs}"]


@pytest.mark.parametrize(
    ("bbox", "size", "crs", "count"),
    [
        ([7.2, 50, 7.9, 50.7], 100, 32632, 4),
        ([7.2, 50, 7.9, 50.7], 20, 32632, 20),
        ([7.2, 50, 7.9, 50.7], 10, 32632, 54),
        ([-55, -33, -50, -31], 100, 32722, 15),
        ([-82, 31, -81, 32], 20, 32617, 35),
    ],
)
def test_counts_of_the_aggregator(bbox: list[float], size: int, crs: int, count: int) -> None:
    """The aggregator lays everything in one zone, so its lattice is compared in that zone.

    The fourth box reaches from zone 22 a degree into zone 21: our tiles there are of zone 21. The fifth touches the
    lattice line E 500,000 (81 W is the central meridian): no tile for a touch.
    """
    aoi = read_aoi(bbox)
    cells = cover(aoi.polygons_in(f"EPSG:{crs}"), Lattice(size * 1000, size * 1000))
    real = cells.area > 100
    lattice = set(zip(cells.i[real].tolist(), cells.j[real].tolist(), strict=True))
    assert len(lattice) == count
    frame = get_grid(f"utm-{size}km").tiles(aoi)
    ours = frame[frame["crs"] == f"EPSG:{crs}"]
    assert set(zip(ours["i"], ours["j"], strict=True)) <= lattice
    if bbox[0] != -55:
        assert len(frame) == count


def test_ids_come_from_the_grid_alone() -> None:
    big = get_grid("utm-20km").tiles(read_aoi([9, 45, 15, 48]))
    small = get_grid("utm-20km").tiles(read_aoi([11, 46, 12.5, 47]))
    assert set(small["tile_id"]) < set(big["tile_id"])
    columns = ["tile_id", "crs", "xmin", "ymin", "xmax", "ymax", "owner_wkt", "west", "north", "grid_code"]
    both = big[big["tile_id"].isin(small["tile_id"])][columns].reset_index(drop=True)
    assert both.equals(small[columns])
    row = small.iloc[0]
    assert (row["tile_id"], row["grid_code"]) == ("utm-20km_32n_e0640_n5080", "UTM20KM-32N_E0640_N5080")
    half = get_grid("utm-0.5km").tiles(read_aoi([11, 46, 11.001, 46.001]))
    east, north = pyproj.Transformer.from_crs(4326, 32632, always_xy=True).transform(11, 46)
    assert half["tile_id"].iloc[0] == f"utm-500m_32n_e{east // 500 * 500:07.0f}_n{north // 500 * 500:07.0f}"
    assert get_grid("utm-500m").name == get_grid("utm-0.5km").name == "utm-500m"


@pytest.mark.parametrize("place", [(12, 46.3), (6, 72), (0, 0), (21, 76.05), (-66.0, -54.95)])
def test_tiles_at_a_zones_border_are_the_same_in_any_extent(place: tuple[float, float]) -> None:
    lon, lat = place
    tables = [get_grid("utm-2km").tiles(read_aoi([lon - r, lat - r, lon + r, lat + r])) for r in (0.07, 0.9)]
    small, big = (table.drop(columns="geometry").set_index("tile_id") for table in tables)
    columns = ["crs", "xmin", "ymin", "xmax", "ymax", "owner_wkt", "west", "south", "east", "north"]
    assert small[columns].equals(big.loc[small.index, columns])
    assert (small["owner_wkt"] != "").any()


def test_the_smallest_tiles_of_a_field() -> None:
    aoi = read_aoi([11.3, 46.46, 11.306, 46.464])
    frame = get_grid("utm-0.1km").tiles(aoi)
    assert len(frame) == 26
    check_cover(frame, aoi)


@pytest.mark.parametrize(
    ("lon", "lat", "crs"),
    [
        (5.3, 60.4, 32632),  # Bergen: 32V is widened to 3 E
        (5.3, 65.0, 32631),
        (2.9, 60.4, 32631),
        (8.9, 75.0, 32631),  # Svalbard: 31X, 33X, 35X, 37X
        (9.1, 75.0, 32633),
        (20.9, 78.0, 32633),
        (21.1, 78.0, 32635),
        (33.1, 78.0, 32637),
        (41.9, 78.0, 32637),
        (42.1, 78.0, 32638),
        (10.0, 84.5, 5041),  # UPS
        (10.0, -80.5, 5042),
        (10.0, -79.5, 32732),
        (-179.99, 10, 32601),
        (179.99, -10, 32760),
    ],
)
def test_zone_exceptions(lon: float, lat: float, crs: int) -> None:
    frame = get_grid("utm-20km").tiles(read_aoi([lon, lat, lon + 0.001, lat + 0.001]))
    assert set(frame["crs"]) == {f"EPSG:{crs}"}
    assert zone_of(lon, lat).crs == f"EPSG:{crs}"


def test_an_aoi_equal_to_a_tile_is_one_tile() -> None:
    """In its own CRS, as the outline in the tile table, and as a densified box sent through lon/lat and back."""
    for place in ([11, 46, 11.01, 46.01], [-70.01, -50.01, -70, -50], [20, 67, 20.01, 67.01], [-3, 0.3, -2.99, 0.31]):
        for grid in (get_grid("utm-20km"), get_grid("utm-2km"), get_grid("utm-100km")):
            tile = grid.tiles(read_aoi(place)).iloc[:1]
            row = tile.iloc[0]
            box = shapely.box(row.xmin, row.ymin, row.xmax, row.ymax)
            code = row["crs"].split(":")[1]
            there = gpd.GeoSeries([shapely.segmentize(box, 2000)], crs=row["crs"]).to_crs(4326)
            for spec in (f"SRID={code};{box.wkt}", row.geometry.wkt, there.iloc[0].wkt):
                again = grid.tiles(read_aoi(spec))
                if not row["owner_wkt"]:
                    assert list(again["tile_id"]) == [row["tile_id"]], (place, grid.name, spec[:20])
                    assert again["aoi_fraction"].iloc[0] == pytest.approx(1, abs=1e-4)


def test_exactly_two_by_two_cells() -> None:
    box = shapely.box(600_000, 5_100_000, 640_000, 5_140_000)
    frame = get_grid("utm-20km").tiles(read_aoi(f"SRID=32632;{box.wkt}"))
    assert len(frame) == 4 and (frame["aoi_fraction"] == 1).all() and not frame.attrs["dropped_slivers"]
    apart = shapely.box(600_000 - 0.004, 5_100_000, 640_000.004, 5_140_000)  # 4 mm over: 80 m2, a touch
    frame = get_grid("utm-20km").tiles(read_aoi(f"SRID=32632;{apart.wkt}"))
    assert (len(frame), frame.attrs["dropped_slivers"]) == (4, 4)
    assert frame.attrs["dropped_area_m2"] == pytest.approx(2 * 0.004 * 40_000, rel=1e-6)


def test_an_aoi_that_ends_at_a_zone_border_stays_in_its_zone() -> None:
    """Found by a random AOI: chords of the border and of the AOI's edge differ by a centimetre, which is no tile."""
    frame = get_grid("utm-100km").tiles(read_aoi([0, 54, 0.085, 54.05]))
    assert (list(frame["crs"]), frame.attrs["dropped_slivers"]) == (["EPSG:32631"], 0)


def test_tiny_areas_count() -> None:
    """A polygon of 1 m is an AOI like any other; on a corner of the lattice it lies in four tiles."""
    grid = get_grid("utm-20km")
    assert len(grid.tiles(read_aoi(f"SRID=32632;{shapely.box(650_000, 5_110_000, 650_001, 5_110_001).wkt}"))) == 1
    assert (
        len(grid.tiles(read_aoi(f"SRID=32632;{shapely.box(639_999.5, 5_119_999.5, 640_000.5, 5_120_000.5).wkt}"))) == 4
    )
    plots = shapely.union_all([shapely.box(x, 5e6, x + 1, 5e6 + 1) for x in (510_000, 530_000, 550_000)])
    assert len(grid.tiles(read_aoi(f"SRID=32632;{plots.wkt}"))) == 3


def test_min_overlap_clip_mask_and_buffer() -> None:
    box = shapely.box(601_234.5, 5_100_000, 641_000, 5_140_000)
    aoi = read_aoi(f"SRID=32632;{box.wkt}")
    grid = get_grid("utm-20km")
    assert len(grid.tiles(aoi)) == 6
    some = grid.tiles(aoi, min_overlap=0.1)
    assert (len(some), some.attrs["dropped_slivers"]) == (4, 2)
    assert some.attrs["dropped_area_m2"] == pytest.approx(1_000 * 40_000)
    clipped = grid.tiles(aoi, clip=True, buffer=200)
    assert bounds(clipped)[0] == [601_230, 5_100_000, 620_000, 5_120_000]
    assert shapely.from_wkt(clipped["owner_wkt"].iloc[0]).bounds == (601_234.5, 5_100_000, 620_000, 5_120_000)
    assert bounds(clipped)[-1] == [640_000, 5_120_000, 641_000, 5_140_000] and not clipped["owner_wkt"].iloc[-1]
    assert clipped.attrs["buffer"] == 200
    assert list(clipped["tile_id"]) == list(grid.tiles(aoi)["tile_id"])
    check_contract(clipped)
    mask = read_aoi(f"SRID=32632;{shapely.box(0, 0, 619_000, 9e6).wkt}")
    assert len(grid.tiles(aoi, mask=mask)) == 2
    with pytest.raises(ConfigError, match="min_overlap"):
        grid.tiles(aoi, min_overlap=2)
    with pytest.raises(ConfigError, match="halo in metres"):
        grid.tiles(aoi, buffer=-1)


def test_a_native_aoi_is_not_sent_through_lonlat() -> None:
    """A box in EPSG:32632 with millimetres keeps them: nothing is projected where the tile has the AOI's CRS."""
    box = shapely.box(600_000.001, 5_100_000, 620_000, 5_120_000)
    frame = get_grid("utm-20km").tiles(read_aoi(f"SRID=32632;{box.wkt}"))
    assert frame["aoi_fraction"].tolist() == [pytest.approx(1 - 0.001 / 20_000, abs=1e-12)]


def test_odd_places(shared_data: Path) -> None:
    """Counts by hand where they can be; else against the area (a tile is 10,000 km2 at most of scale 0.9996**2)."""

    def tiles(name: str, grid: str = "utm-100km") -> gpd.GeoDataFrame:
        frame = get_grid(grid).tiles(read_aoi(f"{name}.geojson", base=shared_data / "aoi"))
        check_contract(frame)
        return frame

    fiji = tiles("fiji", "utm-20km")  # 19,288 km2 in zones 60 and 1 of the south
    assert set(fiji["crs"]) == {"EPSG:32760", "EPSG:32701"}
    assert 49 < len(fiji) < 110
    assert (fiji["west"] > 170).sum() + (fiji["west"] < -170).sum() == len(fiji)
    russia = tiles("russia")
    assert {"EPSG:32634", "EPSG:32660", "EPSG:32601", "EPSG:32602"} <= set(russia["crs"])
    antarctica = tiles("antarctica")
    polar = antarctica["crs"] == "EPSG:5042"
    assert polar.any() and (antarctica.loc[polar, "tile_id"].str.contains("_ups-s_")).all()
    assert (antarctica["south"] == -90).sum() == 4  # the pole, E 2,000,000 N 2,000,000, is a corner of four tiles
    norway = tiles("norway")
    assert {"EPSG:32632", "EPSG:32633", "EPSG:32635"} <= set(norway["crs"])
    assert not {"EPSG:32634", "EPSG:32636"} & set(norway[norway["south"] > 72.5]["crs"])
    assert "EPSG:32631" not in set(norway["crs"])  # 4.99 E at 61 N belongs to 32V
    assert set(tiles("new_zealand")["crs"]) == {"EPSG:32758", "EPSG:32759", "EPSG:32760"}


@pytest.mark.slow
@settings(PLAIN, max_examples=20)
@given(aoi=aois())
def test_owned_parts_cover_the_aoi_once(aoi) -> None:
    """Over the whole globe: owned parts are disjoint and hold the AOI; ids, lattice and order are as promised."""
    frame = get_grid("utm-50km").tiles(aoi)
    check_contract(frame)
    assert (np.fmod(frame[["xmin", "ymin"]].to_numpy(), 50_000) == 0).all()
    assert (frame["xmax"] - frame["xmin"] == 50_000).all()
    assert frame.drop(columns="geometry").equals(get_grid("utm-50km").tiles(aoi).drop(columns="geometry"))
    check_cover(frame, aoi)


@pytest.mark.parametrize("name", ["utm-0km", "utm-0.05km", "utm-501km", "utm-0.1234567km"])
def test_impossible_sizes(name: str) -> None:
    with pytest.raises(ConfigError, match="to 500 km"):
        get_grid(name)


def test_too_many_tiles_are_refused() -> None:
    with pytest.raises(ConfigError, match="tiles would be needed"):
        get_grid("utm-0.1km").tiles(read_aoi([0, 0, 20, 20]))
    with pytest.raises(ConfigError, match="did you mean utm-20km"):
        get_grid("utm20km")
