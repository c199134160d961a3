"""Files that are one result stay together, and what lies beside a GeoTIFF is not forgotten."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.shutil import copy

from tests.unit.results.results_helpers import TEMPORAL, TILES, outcome_of, write_raster
from upscaling.errors import TileFailedError
from upscaling.model import FetchedAsset, Tile, TileJob
from upscaling.results.bundle import _keep_plain_metadata
from upscaling.results.item import build_item
from upscaling.results.multifile import files_together
from upscaling.util.file_families import families

JobOf = Callable[[Tile], TileJob]
WEST, NORTH = 676000, 5150000
PLACE = f"<GeoTransform>{WEST}, 10, 0, {NORTH}, 0, -10</GeoTransform>"
VALUES = np.arange(200 * 200, dtype="uint16").reshape(200, 200)


@pytest.fixture
def here(job_of: JobOf) -> Path:
    folder = job_of(TILES[0]).scratch / "made"
    folder.mkdir()
    return folder


def item_of(job: TileJob, here: Path, *, hashed: bool = False, loose: bool = True, **more: Any) -> dict[str, Any]:
    """Build an item of all files of a folder; ``hashed``: as files that were downloaded, under names of our own."""
    assets = []
    for number, path in enumerate(sorted(path for path in here.rglob("*") if path.is_file())):
        origin = f"host/{path.relative_to(here).as_posix()}"
        place = path.rename(job.scratch / f"asset-{number}{path.suffix.lower()}") if hashed else path
        assets.append(FetchedAsset(place, path.name, origin=origin, loose=loose))
    return build_item(job, outcome_of(*assets), temporal=TEMPORAL, **more)


def only(job: TileJob, item: dict[str, Any]) -> Path:
    (asset,) = item["assets"].values()
    return job.folder / asset["href"]


@pytest.mark.parametrize("hashed", [False, True])
def test_masked_pixels_do_not_become_valid(job_of: JobOf, here: Path, hashed: bool) -> None:
    job = job_of(TILES[0])
    path = write_raster(here / "a.tif", VALUES, WEST, NORTH)
    mask = np.where(VALUES % 4 == 0, 0, 255).astype("uint8")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
        dataset.build_overviews([2])
    assert (here / "a.tif.msk").exists()
    (here / "a.tif.ovr").write_bytes(b"anything")
    item = item_of(job, here, hashed=hashed)
    assert item["properties"]["upscaling:valid_fraction"] == 0.75
    assert item["properties"]["upscaling:left_out"] == ["a.tif.ovr: overviews are made anew"]
    with rasterio.open(only(job, item)) as dataset:
        np.testing.assert_array_equal(dataset.read(1)[mask == 255], VALUES[mask == 255])
        np.testing.assert_array_equal(dataset.read_masks(1), mask)


def test_a_mask_that_cannot_be_read_fails_the_tile(job_of: JobOf, here: Path) -> None:
    write_raster(here / "a.tif", VALUES, WEST, NORTH)
    write_raster(here / "other.tif", VALUES[:50, :60].astype("uint8"), WEST, NORTH).rename(here / "a.tif.msk")
    with pytest.raises(TileFailedError, match=r"the mask of a\.tif cannot be read"):
        item_of(job_of(TILES[0]), here)


def test_georeference_and_metadata_beside_a_tiff(job_of: JobOf, here: Path, tmp_path: Path) -> None:
    job = job_of(TILES[0])
    with rasterio.open(write_raster(tmp_path / "a.tif", VALUES, WEST, NORTH)) as dataset:
        wkt = dataset.crs.to_wkt()
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write_raster(here / "a.tif", VALUES, 0, 0, crs=None, transform=None)
    (here / "a.tfw").write_text(f"10\n0\n0\n-10\n{WEST + 5}\n{NORTH - 5}\n")
    (here / "a.prj").write_text(wkt)
    band = "<PAMRasterBand band='1'><NoDataValue>7</NoDataValue><Description>NDVI</Description></PAMRasterBand>"
    (here / "a.tif.aux.xml").write_text(f"<PAMDataset><Metadata domain='OVERVIEWS'/>{band}</PAMDataset>")
    item = item_of(job, here)
    (asset,) = item["assets"].values()
    assert asset["bands"] == [{"name": "NDVI", "data_type": "uint16", "nodata": 7}]
    assert item["properties"]["proj:bbox"] == list(TILES[0].bounds)
    assert item["properties"]["upscaling:valid_fraction"] == round(1 - 1 / VALUES.size, 6)
    (here / "b.tif.aux.xml").write_text('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><PAMDataset/>')
    write_raster(here / "b.tif", VALUES, WEST, NORTH)
    with pytest.raises(TileFailedError, match="defines entities"):
        item_of(job, here)


@pytest.mark.parametrize("hashed", [False, True])
def test_a_shapefile(job_of: JobOf, here: Path, hashed: bool) -> None:
    job = job_of(TILES[0])
    write_shapefile(here / "fields.shp")
    names = sorted(path.name for path in here.iterdir())
    assert len(names) > 3
    item = item_of(job, here, hashed=hashed)
    assert list(item["assets"]) == ["fields.shp"]
    assert item["assets"]["fields.shp"]["type"] == "application/zip"
    assert item["properties"]["table:row_count"] == 2
    assert pyogrio.read_info(only(job, item))["features"] == 2
    (here / "lone.shp").write_bytes(b"\0\0\x27\x0a" + bytes(96))
    with pytest.raises(TileFailedError, match="cannot be read to the end"):
        item_of(job, here)


def write_shapefile(path: Path) -> None:
    points = shapely.points([[WEST + 100.0, NORTH - 100.0], [WEST + 200.0, NORTH - 200.0]])
    fields = [np.array([1, 2])]
    pyogrio.raw.write(path, shapely.to_wkb(points), fields, ["n"], geometry_type="Point", crs="EPSG:32632")


def envi(here: Path) -> None:
    source = write_raster(here.parent / "e.tif", VALUES, WEST, NORTH)
    copy(source, here / "deep" / "a.img", driver="ENVI")


def vrt(here: Path, *, absolute: bool = False) -> None:
    left, right = VALUES[:, :100], VALUES[:, 100:]
    write_raster(here / "deep" / "left.tif", left, WEST, NORTH)
    write_raster(here / "deep" / "right & more.tif", right, WEST + 1000, NORTH)
    sources = []
    for name, offset in (("left.tif", 0), ("right &amp; more.tif", 100)):
        file = f"/tmp/work/out/deep/{name}" if absolute else f"deep/{name}"
        sources.append(
            f'<SimpleSource><SourceFilename relativeToVRT="{int(not absolute)}">{file}</SourceFilename>'
            f'<SrcRect xOff="0" yOff="0" xSize="100" ySize="200"/>'
            f'<DstRect xOff="{offset}" yOff="0" xSize="100" ySize="200"/></SimpleSource>'
        )
    band = f'<VRTRasterBand dataType="UInt16" band="1">{"".join(sources)}</VRTRasterBand>'
    (here / "a.vrt").write_text(f'<VRTDataset rasterXSize="200" rasterYSize="200">{PLACE}{band}</VRTDataset>')


def dimap(here: Path) -> None:
    write_raster(here / "deep" / "IMG_A.TIF", VALUES, WEST, NORTH)
    write_raster(here / "deep" / "IMG_B.TIF", VALUES, WEST, NORTH)
    files = "".join(f'<DATA_FILE_PATH href="deep/IMG_{name}.TIF"/>' for name in "AB")
    (here / "DIM_X.XML").write_text(f"<?xml version='1.0'?><Dimap_Document>{files}</Dimap_Document>")


def beam(here: Path) -> None:
    source = write_raster(here.parent / "e.tif", VALUES, WEST, NORTH)
    copy(source, here / "a.data" / "band.img", driver="ENVI")
    (here / "a.dim").write_text('<Dimap_Document><DATA_FILE_PATH href="a.data/band.hdr"/></Dimap_Document>')


def picture(here: Path) -> None:
    (here / "a.png").write_bytes(b"\x89PNG")
    (here / "a.pgw").write_text("10")


def geodatabase(here: Path) -> None:
    for name in ("a00000001.gdbtable", "a00000001.gdbtablx", "gdb"):
        (here / "deep" / "x.gdb").mkdir(exist_ok=True)
        (here / "deep" / "x.gdb" / name).write_text(name)


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize(
    ("make", "opened"),
    [
        (envi, "a.img"),
        (vrt, "a.vrt"),
        (lambda here: vrt(here, absolute=True), "a.vrt"),
        (dimap, "deep/IMG_A.TIF"),
        (beam, "a.data/band.img"),
        (picture, ""),
        (geodatabase, ""),
    ],
    ids=["ENVI", "VRT", "VRT made elsewhere", "DIMAP", "BEAM-DIMAP", "PNG with a world file", "file geodatabase"],
)
def test_formats_of_several_files(job_of: JobOf, here: Path, make: Any, opened: str, hashed: bool) -> None:
    job = job_of(TILES[0])
    (here / "deep").mkdir()
    (here / "a.data").mkdir()
    make(here)
    item = item_of(job, here, hashed=hashed)
    archive = only(job, item)
    assert archive.name.endswith(".zip")
    if opened:
        with rasterio.open(f"/vsizip/{archive}/{opened}") as dataset:
            np.testing.assert_array_equal(dataset.read(1), VALUES)
    before = archive.read_bytes()
    if not hashed:
        item_of(job, here)
        assert archive.read_bytes() == before, "the same files give the same archive"


def test_a_vrt_that_reads_what_did_not_come_back(job_of: JobOf, here: Path) -> None:
    (here / "deep").mkdir()
    vrt(here)
    (here / "deep" / "left.tif").unlink()
    with pytest.raises(TileFailedError, match=r"a\.vrt reads deep/left\.tif, which did not come back with it"):
        item_of(job_of(TILES[0]), here)
    shutil.rmtree(here / "deep")
    (here / "a.vrt").write_text("<VRTDataset><SourceFilename>/vsicurl/http://h/passwd</SourceFilename></VRTDataset>")
    (here / "passwd").write_text("x")
    with pytest.raises(TileFailedError, match="did not come back"):
        item_of(job_of(TILES[0]), here)


def test_a_raster_that_something_names_stays_one_beside_its_vrt(job_of: JobOf, here: Path) -> None:
    job = job_of(TILES[0])
    write_raster(here / "B02.tif", VALUES, WEST, NORTH)
    source = '<SimpleSource><SourceFilename relativeToVRT="1">B02.tif</SourceFilename></SimpleSource>'
    band = f'<VRTRasterBand dataType="UInt16" band="1">{source}</VRTRasterBand>'
    (here / "all.vrt").write_text(f'<VRTDataset rasterXSize="200" rasterYSize="200">{PLACE}{band}</VRTDataset>')
    item = item_of(job, here, loose=False)
    assert set(item["assets"]) == {"all.vrt", "b02"}
    with rasterio.open(f"/vsizip/{job.folder / item['assets']['all.vrt']['href']}/all.vrt") as dataset:
        np.testing.assert_array_equal(dataset.read(1), VALUES)


def test_families_of_names() -> None:
    names = [
        "A.SHP",
        "a.dbf",
        "a.shp.xml",
        "b.tif",
        "b.tif.msk",
        "b.tif.msk.ovr",
        "b.tfw",
        "c.img",
        "c.hdr",
        "d",
        "d.hdr",
    ]
    assert families(names) == {
        "a.dbf": "A.SHP",
        "a.shp.xml": "A.SHP",
        "b.tif.msk": "b.tif",
        "b.tif.msk.ovr": "b.tif",
        "b.tfw": "b.tif",
        "c.hdr": "c.img",
        "d.hdr": "d",
    }
    assert families(["x.msk", "y.prj", "z.xml", "a-wal"]) == {}
    names = ["a.gpkg", "a.gpkg-wal", "a.gpkg-shm", "b.csv", "b.csvt", "c.grib2", "c.grib2.idx", "d.sid", "d.sdw"]
    assert set(families([*names, "e.tif", "e.vat.dbf"]).values()) == {"a.gpkg", "b.csv", "c.grib2", "d.sid", "e.tif"}


def test_long_texts_beside_a_raster_are_read_in_one_go(tmp_path: Path) -> None:
    """Each took minutes: what begins and never ends was searched for from every place."""
    began = time.perf_counter()
    metadata = tmp_path / "a.tif.aux.xml"
    metadata.write_text("<PAMDataset>" + "<!--" * 500_000)
    with pytest.raises(TileFailedError, match=r"a\.tif\.aux\.xml is no XML"):
        _keep_plain_metadata(metadata)
    metadata.write_text('<!DOCTYPE a [<!ENTITY b "c">]><PAMDataset>&b;</PAMDataset>')
    with pytest.raises(TileFailedError, match="defines entities"):
        _keep_plain_metadata(metadata)
    metadata.write_text("<PAMDataset><!-- <!ENTITY --><SRS><![CDATA[<!a]]></SRS></PAMDataset>")
    _keep_plain_metadata(metadata)
    assert metadata.read_text() == "<PAMDataset><SRS>&lt;!a</SRS></PAMDataset>"
    index = tmp_path / "a.vrt"
    index.write_text("<VRTDataset>" + "<SourceFilename " * 100_000)
    assert files_together([FetchedAsset(index, "a.vrt", origin="a.vrt")])[0].parts == ()
    assert time.perf_counter() - began < 10
