"""AOIs of every kind, good and bad."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from shapely.affinity import translate

from upscaling.area.aoi import read_aoi
from upscaling.errors import ConfigError

SQUARE = shapely.box(10, 45, 11, 46)


def test_every_way_to_give_the_same_square(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = gpd.GeoDataFrame({"a": [1]}, geometry=[SQUARE], crs="EPSG:4326")
    for name in ("a.geojson", "a.gpkg", "a.fgb", "a.shp"):
        frame.to_file(tmp_path / name)
    frame.to_parquet(tmp_path / "a.parquet")
    mapping = json.loads(frame.to_json())
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(mapping)))
    specs = ["a.geojson", "a.gpkg", "a.fgb", "a.shp", "a.parquet", tmp_path / "a.gpkg", [10, 45, 11, 46], SQUARE.wkt]
    specs += ["10, 45,11,46", mapping, mapping["features"][0], SQUARE.__geo_interface__, json.dumps(mapping), "-"]
    aois = [read_aoi(spec, base=tmp_path) for spec in specs]
    assert len({aoi.sha256 for aoi in aois}) == 1
    assert all(aoi.geometry.equals(SQUARE) and not aoi.notices and aoi.crs == "EPSG:4326" for aoi in aois)
    assert read_aoi([10, 45, 11, 46.5]).sha256 != aois[0].sha256
    geodesic = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(SQUARE, 0.001))[0] / 1e6
    assert aois[0].area_km2 == pytest.approx(geodesic, rel=1e-6)


def test_a_projected_aoi_keeps_its_coordinates(tmp_path: Path) -> None:
    box = shapely.box(600_000, 5_100_000, 620_000, 5_120_000)
    gpd.GeoDataFrame(geometry=[box], crs=32632).to_file(tmp_path / "a.geojson", RFC7946=False)
    assert "crs" in json.loads((tmp_path / "a.geojson").read_text())
    for spec in ("a.geojson", f"SRID=32632;{box.wkt}", json.loads((tmp_path / "a.geojson").read_text())):
        aoi = read_aoi(spec, base=tmp_path)
        assert aoi.crs == "EPSG:32632"
        assert aoi.native[0].equals_exact(shapely.normalize(box), 0)
        assert aoi.polygons_in("EPSG:32632")[0] is aoi.native[0]
        back = gpd.GeoSeries(list(aoi.parts), crs=4326).to_crs(32632)
        assert back.area.sum() == pytest.approx(4e8, rel=1e-5)


def test_untidy_polygons_are_mended_and_said() -> None:
    bow_tie = read_aoi("POLYGON((0 0,1 1,1 0,0 1,0 0))")
    assert bow_tie.geometry.area == pytest.approx(0.5)
    assert "patched" in bow_tie.notices[0]
    mixed = read_aoi(
        "GEOMETRYCOLLECTION Z(POINT Z(3 3 1),POLYGON Z((0 0 5,1 0 5,1 1 5,0 0 5)),LINESTRING Z(0 0 1,9 9 1))"
    )
    assert len(mixed.notices) == 2
    assert "heights" in mixed.notices[0] and "2 point(s) or line(s)" in mixed.notices[1]
    assert not mixed.parts[0].has_z
    hole = read_aoi("POLYGON((0 0,4 0,4 4,0 4,0 0),(1 1,1 2,2 2,2 1,1 1))")
    assert hole.geometry.area == 15
    double = read_aoi("MULTIPOLYGON(((0 0,2 0,2 2,0 2,0 0)),((1 0,3 0,3 2,1 2,1 0)),((9 9,10 9,10 10,9 9)))")
    assert (len(double.parts), double.geometry.area) == (2, 6.5)
    assert "patched" not in str(double.notices)


def test_antimeridian() -> None:
    """The same 2 x 1 degrees over Fiji, in the six ways people write them."""
    cut = "MULTIPOLYGON(((179 -18,180 -18,180 -17,179 -17,179 -18)),((-180 -18,-179 -18,-179 -17,-180 -17,-180 -18)))"
    jump = "POLYGON((179 -17,-179 -17,-179 -18,179 -18,179 -17))"
    at_180 = "POLYGON((179 -17,180 -17,-180 -17,-179 -17,-179 -18,-180 -18,180 -18,179 -18,179 -17))"
    for spec in ([179, -18, -179, -17], [179, -18, 181, -17], [-181, -18, -179, -17], cut, jump, at_180,
                 "POLYGON((179 -17,181 -17,181 -18,179 -18,179 -17))"):  # fmt: skip
        aoi = read_aoi(spec)
        assert aoi.bbox == (179, -18, -179, -17), spec
        assert aoi.geometry.area == pytest.approx(2), spec
        assert sorted(part.bounds for part in aoi.parts) == [(-180, -18, -179, -17), (179, -18, 180, -17)]
    assert "antimeridian" in read_aoi(jump).notices[0]
    holed = read_aoi("POLYGON((178 -20,-178 -20,-178 -16,178 -16,178 -20),(179 -19,179 -17,-179 -17,-179 -19,179 -19))")
    assert holed.geometry.area == pytest.approx(4 * 4 - 2 * 2)
    assert read_aoi([100, -60, -70, 60]).geometry.area == pytest.approx(190 * 120)
    pacific = read_aoi(f"SRID=3832;{shapely.box(3e6, -2e6, 3.5e6, -1.5e6).wkt}")  # PDC Mercator, centred on 150 E
    assert pacific.bbox[0] > 176 and pacific.bbox[2] < -178


def test_poles_and_the_whole_world() -> None:
    world = read_aoi([-180, -90, 180, 90])
    assert world.area_km2 == pytest.approx(510_065_621.7, rel=1e-6)  # the area of the WGS 84 ellipsoid
    assert read_aoi("POLYGON((-180 -90,180 -90,180 90,-180 90,-180 -90))").sha256 == world.sha256
    for crs, south in ((5041, False), (3413, False), (3031, True)):
        origin = 2_000_000 if crs == 5041 else 0
        cap = translate(shapely.box(-1e5, -1e5, 1e5, 1e5), origin, origin)
        aoi = read_aoi(f"SRID={crs};{cap.wkt}")
        assert aoi.bbox[::2] == (-180, 180)
        assert (aoi.bbox[1] if south else aoi.bbox[3]) == (-90 if south else 90)
        assert aoi.area_km2 == pytest.approx(40_000, rel=0.07)  # the scale of these projections there
    corner = read_aoi(f"SRID=5041;{shapely.box(2e6, 2e6, 2.1e6, 2.1e6).wkt}")  # the pole is one of its corners
    over = read_aoi(f"SRID=5041;{shapely.box(2e6, 1.9e6, 2.1e6, 2.1e6).wkt}")  # the pole lies on one of its edges
    assert corner.area_km2 == pytest.approx(1e4, rel=0.02)
    assert over.area_km2 == pytest.approx(2e4, rel=0.02)
    ring = read_aoi("POLYGON((0 80,120 80,-120 80,0 80),(0 85,120 85,-120 85,0 85))")
    outer, inner = (read_aoi(f"POLYGON((0 {lat},120 {lat},-120 {lat},0 {lat}))").area_km2 for lat in (80, 85))
    assert ring.area_km2 == pytest.approx(outer - inner)


def test_real_areas(shared_data: Path) -> None:
    def read(name: str):
        return read_aoi(f"{name}.geojson", base=shared_data / "aoi")

    assert read("fiji").bbox[0] > 177 and read("fiji").bbox[2] < -179
    assert read("russia").bbox == pytest.approx((19.66, 41.15, -169.9, 81.25), abs=0.01)
    assert read("antarctica").area_km2 == pytest.approx(12.34e6, rel=1e-2)
    assert read("land").area_km2 == pytest.approx(147.4e6, rel=1e-2)
    assert read("austria").area_km2 == pytest.approx(85_000, rel=0.02)


def test_intersection() -> None:
    box = shapely.box(600_000, 5_100_000, 620_000, 5_120_000)
    aoi = read_aoi(f"SRID=32632;{box.wkt}")
    half = read_aoi(f"SRID=32632;{shapely.box(610_000, 0, 700_000, 9_000_000).wkt}")
    assert aoi.intersection(half).native[0].bounds == (610_000, 5_100_000, 620_000, 5_120_000)
    assert aoi.intersection(read_aoi([0, 40, 20, 50])).geometry.area == pytest.approx(aoi.geometry.area)
    with pytest.raises(ConfigError, match="no area in common"):
        aoi.intersection(read_aoi([0, 0, 1, 1]))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nowhere.gpkg", "no such file"),
        ([1, 2, 3], "is not west, south, east, north"),
        ([1, 2, 3, "x"], "is not west, south, east, north"),
        ([5, 50, 6, 50], "no area"),
        ([5, 51, 6, 50], "no area"),
        ([500_000, 0, 600_000, 10_000], "not in degrees"),
        ([0, 0, float("nan"), 1], "is not west, south, east, north"),
        ("POLYGON((0 0,1 1", "the WKT cannot be read"),
        ("POLYGON EMPTY", "empty"),
        ("POINT(1 1)", "no polygon, only Point"),
        ("POLYGON((0 0,1 1,2 2,0 0))", "no area"),
        ("SRID=99999;POLYGON((0 0,1 1,1 0,0 0))", "CRS that is not known"),
        ("POLYGON((674990 5147910,684340 5147910,684340 5154960,674990 5147910))", "no longitude/latitude"),
        ("SRID=32632;POLYGON((11 46,12 46,12 47,11 46))", "is the CRS right?"),
        ("SRID=3857;POLYGON((1e9 1e9,2e9 1e9,2e9 2e9,1e9 1e9))", "no area"),
        ("POLYGON((0 -10,120 10,-120 10,0 -10))", "round a pole and over the equator"),
        ('{"type": "FeatureCollection", "features": []}', "empty"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], "x"]]}', "not valid GeoJSON"),
        ('{"type": "Nonsense"}', "not valid GeoJSON"),
        ('{"type": ', "not JSON"),
        ([11.4, 46.4, 11.3, 46.5], "359.9 degrees round the world"),
        ({**shapely.box(0, 0, 1, 1).__geo_interface__, "crs": {"properties": {"name": "EPSG:x"}}}, "CRS that is not"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(spec: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_aoi(spec, base=tmp_path)  # type: ignore[arg-type]
    assert any(word in str(caught.value) for word in words.split("|")), str(caught.value)
    assert caught.value.key == "area.aoi"
    assert "\n" not in str(caught.value)


def test_bad_files_name_the_file(tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[SQUARE], crs=4326).to_file(tmp_path / "bare.shp")
    (tmp_path / "bare.prj").unlink()
    (tmp_path / "text.geojson").write_text("hello")
    gpd.GeoDataFrame({"a": []}, geometry=[], crs=4326).to_file(tmp_path / "empty.gpkg")
    for layer in ("one", "two"):
        gpd.GeoDataFrame(geometry=[SQUARE], crs=4326).to_file(tmp_path / "two.gpkg", layer=layer)
    gpd.pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "table.parquet")
    words = {
        "bare.shp": "no CRS",
        "text.geojson": "cannot be read",
        "empty.gpkg": "empty",
        "table.parquet": "cannot be",
    }
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    words["none.zip"] = "has no vector file in it"
    (tmp_path / "swapped.geojson").write_text(shapely.to_geojson(shapely.box(40, -100, 41, -99)))
    words["swapped.geojson"] = "longitude comes first"
    words["two.gpkg"] = "2 layers (one, two): name one"
    for name, word in words.items():
        with pytest.raises(ConfigError) as caught:
            read_aoi(name, base=tmp_path)
        assert word in str(caught.value)
        assert caught.value.file == tmp_path / name
        assert caught.value.key == "area.aoi" and "\n" not in str(caught.value)
    assert read_aoi("two.gpkg|layername=two", base=tmp_path).geometry.equals(SQUARE)


def test_no_geopandas_until_it_is_needed() -> None:
    import subprocess
    import sys

    code = "import sys, upscaling.area.aoi, upscaling.grids as g; g.list_grids(); print('geopandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_hash_does_not_depend_on_where_a_ring_starts() -> None:
    ring = np.array([(0, 0), (4, 0), (4, 3), (0, 3)])
    shas = {
        read_aoi(shapely.Polygon(np.roll(ring, k, axis=0)[::step]).wkt).sha256 for k in range(4) for step in (1, -1)
    }
    assert len(shas) == 1


METRES = {
    "type": "Polygon",
    "coordinates": [[[600000, 5100000], [610000, 5100000], [610000, 5110000], [600000, 5100000]]],
}
IN_32632 = {"type": "name", "properties": {"name": "EPSG:32632"}}


def test_a_crs_inside_of_a_feature_or_its_geometry_counts_too(tmp_path: Path) -> None:  # as PostGIS writes it
    feature = {"type": "Feature", "properties": {}, "geometry": {**METRES, "crs": IN_32632}}
    top = read_aoi({**METRES, "crs": IN_32632})
    assert read_aoi(feature).sha256 == top.sha256
    assert read_aoi({"type": "FeatureCollection", "features": [{**feature, "crs": IN_32632}]}).sha256 == top.sha256
    others = {"type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": "EPSG:3035"}}}
    with pytest.raises(ConfigError, match="names several CRS"):
        read_aoi({**others, "features": [feature]})
    near_zero = {**METRES, "coordinates": [[[10, 10], [90, 10], [90, 80], [10, 10]]], "crs": IN_32632}
    (tmp_path / "a.geojson").write_text(json.dumps({**feature, "geometry": near_zero}))
    with pytest.raises(ConfigError, match=r"names the CRS EPSG:32632 inside of a feature or geometry"):
        read_aoi(tmp_path / "a.geojson")


def test_what_stands_among_the_features_of_geojson_is_never_lost() -> None:
    square = json.loads(shapely.to_geojson(SQUARE))
    feature = {"type": "Feature", "properties": {}, "geometry": square}
    beside = json.loads(shapely.to_geojson(translate(SQUARE, 5)))
    both = read_aoi({"type": "FeatureCollection", "features": [feature, beside]})
    assert both.bbox == (10, 45, 16, 46)
    nested = {"type": "FeatureCollection", "features": [feature, {"type": "FeatureCollection", "features": [feature]}]}
    with pytest.raises(ConfigError, match="with another among its features"):
        read_aoi(nested)


@pytest.mark.parametrize("code", [5773, 4978])  # heights; x, y, z from the middle of the earth
def test_a_crs_that_is_none_of_a_map_is_one_line(code: int) -> None:
    with pytest.raises(ConfigError, match="is no CRS of a map"):
        read_aoi(f"SRID={code};{SQUARE.wkt}")
