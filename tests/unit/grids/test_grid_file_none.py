"""The user's own tiles, and no tiles at all."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from grid_helpers import check_contract

from upscaling.area.aoi import read_aoi
from upscaling.errors import ConfigError
from upscaling.grids import get_grid, list_grids

LEFT, RIGHT = shapely.box(600_000, 5_100_000, 610_000, 5_110_000), shapely.box(610_000, 5_100_000, 620_000, 5_110_000)
SLANT = shapely.Polygon([(620_000, 5_100_000), (630_000, 5_100_000), (625_000, 5_110_000)])
AOI = f"SRID=32632;{shapely.box(600_000, 5_100_000, 630_000, 5_105_000).wkt}"


@pytest.fixture
def tiles() -> gpd.GeoDataFrame:
    names = ["B 2", "A/1", "Ü_3"]
    return gpd.GeoDataFrame({"name": names, "n": [1, 2, 3]}, geometry=[LEFT, RIGHT, SLANT], crs=32632)


def test_every_format(tiles: gpd.GeoDataFrame, tmp_path: Path) -> None:
    tables = []
    for name in ("t.gpkg", "t.geojson", "t.fgb", "t.shp", "t.parquet"):
        options = {"RFC7946": False} if name.endswith("json") else {}
        tiles.to_parquet(tmp_path / name) if name.endswith("parquet") else tiles.to_file(tmp_path / name, **options)
        table = get_grid("file", path=name, base=tmp_path).tiles(read_aoi(AOI))
        check_contract(table)
        assert list(table["tile_id"]) == ["a-1", "b-2", "u_3"]
        assert table[["xmin", "ymin", "xmax", "ymax"]].to_numpy().tolist()[0] == list(RIGHT.bounds)
        assert list(table["owner_wkt"] != "") == [False, False, True]
        assert shapely.from_wkt(table["owner_wkt"].iloc[2]).equals(SLANT)
        assert table["aoi_fraction"].tolist() == pytest.approx([0.5, 0.5, 0.375])
        assert set(table["crs"]) == {"EPSG:32632"}
        tables.append(table.drop(columns="i"))  # FlatGeobuf orders features as it likes
    assert all(table.drop(columns="geometry").equals(tables[0].drop(columns="geometry")) for table in tables)


def test_choice_of_column_overlap_and_touch(tiles: gpd.GeoDataFrame, tmp_path: Path) -> None:
    tiles.geometry = [LEFT, LEFT.buffer(1000, join_style="mitre"), SLANT]
    tiles.to_file(tmp_path / "t.gpkg")
    table = get_grid("file", path=tmp_path / "t.gpkg", id_column="n").tiles(read_aoi(AOI))
    assert list(table["tile_id"]) == ["1", "2", "3"]
    assert "1 pair(s) of tiles overlap" in table.attrs["notices"][0]
    beside = read_aoi(f"SRID=32632;{shapely.box(590_000, 5_100_000, 600_000, 5_110_000).wkt}")
    table = get_grid("file", path=tmp_path / "t.gpkg", id_column="n").tiles(beside)
    assert (list(table["tile_id"]), table.attrs["dropped_slivers"]) == (["2"], 0)  # tile 1 only touches
    far = read_aoi([0, 0, 1, 1])
    with pytest.raises(ConfigError, match="no tile of file"):
        get_grid("file", path=tmp_path / "t.gpkg", id_column="n").tiles(far)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("name", ["a", "A ", "b"], "both make the folder name 'a'"),
        ("name", ["a", "b", "a"], "is there twice"),
        ("name", ["a", None, "b"], "without an id"),
        ("name", ["a", "../..", "b"], "has no letter a to z, digit, _ or -, for the name of a folder"),
        ("name", ["a", "北京", "b"], "id '北京' has no letter a to z, digit, _ or -"),
        ("name", ["ä", "a\u0308", "b"], "both make the folder name 'a'"),
        ("name", ["x" * 101, "a", "b"], "is longer than 100 characters"),
        ("other", ["a", "b", "c"], "no column of tile_id, id, tile, name"),
    ],
)
def test_bad_ids(tiles: gpd.GeoDataFrame, tmp_path: Path, column: str, values: list[object], words: str) -> None:
    tiles.drop(columns="name").assign(**{column: values}).to_file(tmp_path / "t.gpkg")
    with pytest.raises(ConfigError) as caught:
        get_grid("file", path=tmp_path / "t.gpkg").tiles(read_aoi(AOI))
    assert words in str(caught.value) and caught.value.key == "area.grid" and caught.value.file == tmp_path / "t.gpkg"


def test_bad_files_and_names(tiles: gpd.GeoDataFrame, tmp_path: Path) -> None:
    tiles.geometry = [LEFT, shapely.Point(0, 0), SLANT]
    tiles.to_file(tmp_path / "points.gpkg")
    for name, words in (("none.gpkg", "no such file"), ("points.gpkg", "not a valid polygon")):
        with pytest.raises(ConfigError, match=words):
            get_grid("file", path=tmp_path / name).tiles(read_aoi(AOI))
    with pytest.raises(ConfigError, match="needs the path"):
        get_grid("file")
    for name in ("h3-", "majortom-", "tms-WebMercatorQuad-"):
        with pytest.raises(ConfigError, match="there is no grid"):  # Python refuses to read so many digits
            get_grid(f"{name}{'9' * 5000}{'km' if name == 'majortom-' else ''}")
    with pytest.raises(ConfigError, match="there is no grid 'filet'; did you mean file"):
        get_grid("filet")
    assert [family.pattern for family in list_grids()][:1] == ["utm-<N>km"]


def test_one_tile_for_all(scene: Path) -> None:
    import rasterio

    with rasterio.open(scene) as source:
        box, crs = shapely.box(*source.bounds), source.crs.to_epsg()
    table = get_grid("none").tiles(read_aoi(f"SRID={crs};{box.wkt}"))
    check_contract(table)
    assert table[["xmin", "ymin", "xmax", "ymax"]].to_numpy().tolist() == [list(box.bounds)]
    assert list(table["tile_id"]) == ["aoi"] and list(table["crs"]) == [f"EPSG:{crs}"]
    lonlat = get_grid("none", resolution=100).tiles(read_aoi([11, 46, 11.1, 46.1]))
    assert list(lonlat["crs"]) == ["EPSG:32632"]
    assert all(value % 100 == 0 for value in lonlat[["xmin", "ymin", "xmax", "ymax"]].iloc[0])
    assert 0.9 < lonlat["aoi_fraction"].iloc[0] < 1
    fiji = get_grid("none").tiles(read_aoi([177, -19, -179, -16]))
    assert list(fiji["crs"]) == ["EPSG:32760"] and fiji["west"].iloc[0] > fiji["east"].iloc[0]
    pole = get_grid("none").tiles(read_aoi([-180, 86, 180, 90]))
    assert list(pole["crs"]) == ["EPSG:5041"]
    with pytest.raises(ConfigError, match="too wide for one tile"):
        get_grid("none").tiles(read_aoi([-60, -10, 60, 10]))
    with pytest.raises(ConfigError, match="is not a length"):
        get_grid("none", resolution=0)


def test_longitudes_from_0_to_360_are_those_from_minus_180(tmp_path: Path) -> None:
    """Climate data have them so: the western half of the area must not be dropped."""
    boxes = [shapely.box(lon, 10, lon + 5, 15) for lon in (170, 175, 180, 185, 350, 355, 0)]
    frame = gpd.GeoDataFrame({"id": [f"t{k}" for k in range(7)]}, geometry=boxes, crs="EPSG:4326")
    frame.to_file(tmp_path / "globe.gpkg")
    made = get_grid("file", path=tmp_path / "globe.gpkg")
    table = made.tiles(read_aoi([-10, 11, 4, 14]))
    assert table["tile_id"].tolist() == ["t4", "t5", "t6"]
    assert table[["xmin", "xmax"]].to_numpy().tolist() == [[-10, -5], [-5, 0], [0, 5]]
    assert table.attrs["notices"] == []
    across = made.tiles(read_aoi([171, 11, -171, 14]))
    assert across["tile_id"].tolist() == ["t0", "t1", "t2", "t3"]
    assert across[["west", "east"]].to_numpy().tolist() == [[170, 175], [175, 180], [-180, -175], [-175, -170]]


def test_a_part_of_the_area_without_a_tile_is_told(tmp_path: Path) -> None:
    boxes = [shapely.box(lon, 10, lon + 1, 11) for lon in (0, 1, 3)]
    gpd.GeoDataFrame({"id": ["a", "b", "c"]}, geometry=boxes, crs="EPSG:4326").to_file(tmp_path / "t.gpkg")
    made = get_grid("file", path=tmp_path / "t.gpkg")
    (notice,) = made.tiles(read_aoi([0.5, 10, 3.5, 11])).attrs["notices"]
    assert notice.startswith("t.gpkg: no tile lies in 12,1")
    assert notice.endswith("as at 2.50 E, 10.50 N: nothing is processed there")
    assert made.tiles(read_aoi([0.5, 10, 1.5, 11])).attrs["notices"] == []


@pytest.mark.parametrize("grid", ["deg-1", "tms-WorldCRS84Quad-8"])
def test_clipping_in_degrees_keeps_the_area_to_the_centimetre(grid: str) -> None:
    area = shapely.Point(10.4321987654, 46.5123456789).buffer(0.2)
    table = get_grid(grid).tiles(read_aoi(shapely.to_wkt(area, rounding_precision=15)), clip=True)
    parts = [shapely.from_wkt(text) if text else shapely.box(*box) for text, *box in
             table[["owner_wkt", "xmin", "ymin", "xmax", "ymax"]].itertuples(index=False)]  # fmt: skip
    assert shapely.hausdorff_distance(shapely.union_all(parts, grid_size=1e-9), area) * 111_320 < 0.01


def test_dropped_slivers_of_mercator_are_measured_on_the_ground() -> None:
    """At 60 degrees north a Mercator map shows four times the area."""
    made = get_grid("tms-WebMercatorQuad-10")
    (cell,) = made.tiles(read_aoi([10.05, 60.05, 10.06, 60.06])).geometry
    west, _, east, north = cell.bounds
    area = [west, north - 0.02, east, north + 0.0005]
    table = made.tiles(read_aoi(area), min_overlap=0.05)
    metres = 111_412 * 0.5  # of a degree of longitude at 60 N
    expected = (east - west) * metres * 0.0005 * 111_412
    assert table.attrs["dropped_slivers"] >= 1
    assert table.attrs["dropped_area_m2"] == pytest.approx(expected, rel=0.02)
