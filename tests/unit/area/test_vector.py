"""Files, archives, addresses and texts that an area can be given by, and what tells that one was changed."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from typer.testing import CliRunner

from tests.servers import served
from upscaling.area.aoi import read_aoi
from upscaling.area.vector import content_of
from upscaling.cli.app import app
from upscaling.config import Config
from upscaling.errors import ConfigError
from upscaling.planning.plan import plan_key

BOX = shapely.box(11.0, 46.0, 11.5, 46.5)
OTHER = shapely.box(11.0, 46.0, 11.5, 46.4)


def frame(box: Any = BOX) -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(geometry=[box], crs="EPSG:4326")


def geojson(path: Path, box: Any = BOX) -> Path:
    path.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": json.loads(shapely.to_geojson(box))}))
    return path


def folder_of_shapefile(path: Path, box: Any = BOX) -> Path:
    path.mkdir(exist_ok=True)
    frame(box).to_file(path / "area.shp")
    return path


def zipped(path: Path, box: Any = BOX) -> Path:
    folder_of_shapefile(path.with_suffix(""), box)
    with zipfile.ZipFile(path, "w") as archive:
        for file in path.with_suffix("").iterdir():
            archive.write(file, f"inner folder/{file.name}")
    return path


def geopackage(path: Path, box: Any = BOX) -> Path:
    path.unlink(missing_ok=True)
    frame().to_file(path, layer="other")
    frame(box).to_file(path, layer="one")
    return path


def compressed(path: Path, box: Any = BOX) -> Path:
    path.write_bytes(gzip.compress(geojson(path.with_suffix(""), box).read_bytes()))
    return path


def shapefile(path: Path, box: Any = BOX) -> Path:
    frame(box).to_file(path)
    return path


def mapinfo(path: Path, box: Any = BOX) -> Path:
    for part in path.parent.glob("area.*"):
        part.unlink()
    frame(box).assign(name="a").to_file(path, driver="MapInfo File")
    return path


def wkt(path: Path, box: Any = BOX) -> Path:
    path.write_text(f"\ufeff{box.wkt}\n")
    return path


KINDS: list[tuple[str, str, Callable[..., Path]]] = [
    ("polygon.geojson", "{path}", geojson),
    ("point.gpkg", "{path}|layername=one", geopackage),
    ("multipolygon z.gpkg", "{path}|layer=one", geopackage),
    ("zipped.zip", "{path}", zipped),
    ("zipped.zip", "{path}!inner folder/area.shp", zipped),
    ("a.geojson.gz", "{path}", compressed),
    ("shapes", "{path}", folder_of_shapefile),
    ("area.shp", "{path}", shapefile),
    ("area.tab", "{path}", mapinfo),
    ("area.wkt", "{path}", wkt),
    ("1,2,3,4", "1,2,3,4", lambda path, box=BOX: shutil.move(geojson(path.with_suffix(".geojson"), box), path)),
]


@pytest.mark.parametrize(("name", "spec", "write"), KINDS)
def test_a_file_is_read_and_a_change_of_it_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, spec: str, write: Callable[..., Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for shown in (name, *([f"~/{name}"] if not name.startswith("1,") else [])):
        text = spec.format(path=shown)
        write(tmp_path / name)
        assert read_aoi(text).geometry.equals(BOX)
        keys = {use: plan_key(configuration(tmp_path, **{use: text})) for use in ("aoi", "grid_file", "mask")}
        before = content_of(text)
        assert before
        write(tmp_path / name, OTHER)
        assert content_of(text) != before
        assert read_aoi(text).geometry.equals(OTHER)
        assert not {key for use, key in keys.items() if key == plan_key(configuration(tmp_path, **{use: text}))}


def test_what_is_written_to_a_database_that_is_open_is_noticed(tmp_path: Path) -> None:
    path = geopackage(tmp_path / "a.gpkg")
    before = content_of(str(path))
    (tmp_path / "a.gpkg-wal").write_text("pages")
    assert content_of(str(path)) != before


def configuration(folder: Path, **area: str) -> Config:
    (folder / "p.json").write_text("{}")
    grid = "file" if "grid_file" in area else "utm-20km"
    return Config.parse(
        {
            "run": "r",
            "algorithm": {"source": str(folder / "p.json")},
            "area": {"aoi": [11, 46, 12, 47], "grid": grid, **area},
            "backend": {"kind": "openeo", "url": "http://127.0.0.1:1"},
        }
    )


def test_texts_numbers_and_addresses(tmp_path: Path) -> None:
    projected = shapely.box(660_000, 5_140_000, 680_000, 5_160_000)
    with served(tmp_path) as url:
        geojson(tmp_path / "area.geojson")
        for spec in (
            f"{url}/area.geojson",
            BOX.wkb_hex,
            f"0x{BOX.wkb_hex}",
            f"EPSG:4326;{BOX.wkt}",
            f"EPSG:4326; {shapely.segmentize(BOX, 0.001).wkt}",
            shapely.to_wkb(shapely.set_srid(BOX, 4326), hex=True, include_srid=True),
            [11.0, 46.0, -100, 11.5, 46.5, 9000],
            "11.0, 46.0, -100, 11.5, 46.5, 9000",
            "[11, 46, 11.5, 46.5]",
            "11 46  1.15e1 46.5",
            (tmp_path / "area.geojson").as_uri(),
        ):
            assert read_aoi(spec).geometry.equals(BOX), spec
    wkb = shapely.to_wkb(shapely.set_srid(projected, 32632), hex=True, include_srid=True)
    assert read_aoi(wkb).crs == "EPSG:32632"
    assert read_aoi(wkb).native[0].equals(projected)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("9E,45,10E,46", "bbox 9E, 45, 10E, 46 is not west, south, east, north in degrees"),
        ("e,e,e,e", "is not west, south, east, north in degrees"),
        ("nan,0,1,1", "is not west, south, east, north in degrees"),
        ("1,2,3,4,5", "is not west, south, east, north in degrees"),
        ([1, 2, 3, 4, 5], "is not west, south, east, north in degrees"),
        ([float("inf"), 2, 3, 4], "is not west, south, east, north in degrees"),
        (f"POLYGON(({'1 2,' * 500}", "the WKT cannot be read"),
        (f"EPSG:4326;POLYGON(({'1 2,' * 500}", "the WKT cannot be read"),
        ("CURVEPOLYGON(CIRCULARSTRING(0 0,1 1,2 0,1 -1,0 0))", "the WKT has curves or surfaces"),
        ("SRID=4326;MULTISURFACE(((0 0,1 1,2 0,0 0)))", "the WKT has curves or surfaces"),
        ("SRID=999999;POLYGON((0 0,1 1,2 0,0 0))", "has a CRS that is not known: 'EPSG:999999'"),
        ("x" * 5000, "is no vector file, and nothing else that is read"),
        ("a\0b", "is no vector file, and nothing else that is read"),
        ("01" * 40, "the WKB cannot be read"),
        ('{"type": "Polygon", "coordinates": "x"}', "holds a geometry that is not valid GeoJSON"),
        ('{"type": "FeatureCollection", "features": null}', "is a FeatureCollection without a list of features"),
        ('{"type": "FeatureCollection", "features": [1]}', "is a FeatureCollection without a list of features"),
        ('{"type": "Feature"', "is not JSON"),
        ('{"a":' * 9999, "is not JSON"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_blames_the_right_key(spec: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_aoi(spec, key="area.mask")
    assert words in str(caught.value)
    assert str(caught.value).partition(": ")[0] in {"area.mask", str(spec)[:40]} or "area.mask: " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("crs", ["urn:ogc:def:crs:EPSG::999999", "Lambert of our region", 999999])
@pytest.mark.parametrize("place", ["before", "after"])
def test_an_unknown_crs_of_old_geojson_is_never_taken_for_degrees(tmp_path: Path, crs: Any, place: str) -> None:
    named = {"crs": {"type": "name", "properties": {"name": crs} if isinstance(crs, str) else {"code": crs}}}
    features = {"features": [{"type": "Feature", "properties": {}, "geometry": json.loads(shapely.to_geojson(BOX))}]}
    content = {"type": "FeatureCollection", **({**named, **features} if place == "before" else {**features, **named})}
    (tmp_path / "old.geojson").write_text(json.dumps(content))
    for spec in (str(tmp_path / "old.geojson"), json.dumps(content)):
        with pytest.raises(ConfigError, match="has a CRS that is not known"):
            read_aoi(spec)


def test_an_archive_of_several_files_asks_for_one(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for name in ("a", "b"):
            archive.write(geojson(tmp_path / f"{name}.geojson"), f"in/{name}.geojson")
    with pytest.raises(ConfigError, match=r"has 2 vector files .*: name one, as in two\.zip!in/a\.geojson") as error:
        read_aoi(str(tmp_path / "two.zip"))
    assert error.value.choices == ("!in/a.geojson", "!in/b.geojson")
    assert read_aoi(f"{tmp_path}/two.zip!in/b.geojson").geometry.equals(BOX)
    with pytest.raises(ConfigError, match=r"has no c\.geojson; it has in/a\.geojson, in/b\.geojson"):
        read_aoi(f"{tmp_path}/two.zip!c.geojson")


def test_a_box_that_begins_with_a_minus_is_no_option() -> None:
    shown = CliRunner().invoke(app, ["tiles", "-9.5,38.5,-9,39", "--grid", "utm-100km"])
    assert shown.exit_code == 0, shown.output
    assert "tiles" in shown.output


def test_each_choice_of_a_file_with_several_layers_is_read(tmp_path: Path) -> None:
    for layer in ("fields", "farms"):
        geopandas.GeoDataFrame(geometry=[BOX], crs=4326).to_file(tmp_path / "a.gpkg", layer=layer)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.write(tmp_path / "a.gpkg", "a.gpkg")
        archive.write(geojson(tmp_path / "b.geojson"), "b.geojson")
    for place in (f"{tmp_path}/a.gpkg", f"{tmp_path}/two.zip!a.gpkg"):
        with pytest.raises(ConfigError, match="has 2 layers") as error:
            read_aoi(place)
        for choice in error.value.choices:
            assert read_aoi(f"{place.partition('!')[0]}{choice}").geometry.equals(BOX)
