"""UDPs of the APEx catalogue on made pixels, each against numpy written from its formula."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import xarray as xr

from upscaling.local_backend.collections import load_data
from upscaling.local_backend.cubes import load_cube
from upscaling.local_backend.data import Collection
from upscaling.local_backend.definitions import Definitions
from upscaling.local_backend.errors import ProcessError
from upscaling.local_backend.graphs import Evaluator
from upscaling.local_backend.processes import base_registry
from upscaling.local_backend.save import save
from upscaling.local_backend.worker import data_sources

from .conftest import box, write_raster

ANGLES = ["viewZenithMean", "viewAzimuthMean", "sunZenithAngles", "sunAzimuthAngles"]
BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12", "SCL", *ANGLES]
RAMONA = "RAMONA-herbaceous_rangeland_biomass-country-mosaick"
DATES = ["2022-06-03", "2022-06-12", "2022-06-27", "2022-07-08"]
SIZE = 40
EXTENT = box(600000, 5000000, 600400, 5000400)
# 600100 … 600300 east, 5000100 … 5000300 north: rows and columns 10 to 30
RING = [[600100, 5000100], [600300, 5000100], [600300, 5000300], [600100, 5000300], [600100, 5000100]]
SQUARE = {"type": "Polygon", "coordinates": [RING], "crs": {"type": "name", "properties": {"name": "EPSG:32632"}}}


def stored() -> np.ndarray:
    random = np.random.default_rng(3)
    values = random.integers(100, 6000, (len(DATES), len(BANDS), SIZE, SIZE)).astype("uint16")
    blocks = random.integers(0, 12, (len(DATES), SIZE // 2, SIZE // 2))  # at 20 m, so that halving it is exact
    values[:, BANDS.index("SCL")] = blocks.repeat(2, 1).repeat(2, 2)
    values[0, :, :12, :12] = 65535
    return values


def pixels(*names: str) -> list[np.ndarray]:
    """Bands as cubes (t, y, x), float32, with NaN for no-data."""
    values = stored().astype("float32")
    values[values == 65535] = np.nan
    return [values[:, BANDS.index(name)] for name in names]


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Collection]:
    folder = tmp_path_factory.mktemp("made")
    items = []
    for date, values in zip(DATES, stored(), strict=True):
        write_raster(folder / f"{date}.tif", values, nodata=65535)
        items.append({"file": f"{date}.tif", "datetime": f"{date}T10:00:00Z", "bands": BANDS})
    radar = [{**item, "bands": ["VH", "VV", *BANDS[2:]]} for item in items]
    content = {"SENTINEL2_L2A": {"items": items}, "SENTINEL1_GRD": {"items": radar}}
    (folder / "data.yaml").write_text(json.dumps({"collections": content}))
    return load_data(folder / "data.yaml")


@pytest.fixture
def udp(shared_data: Path, collections: dict[str, Collection]) -> Iterator[Any]:
    """Runs a UDP of the catalogue with the arguments that it knows of those given."""

    def run(path: str, **arguments: Any) -> xr.DataArray:
        folder, name = path.split("/")[:2], path.rpartition("/")[2]
        file = shared_data.joinpath("apex_catalogue", *folder, "openeo_udp", f"{name}.json")
        definition = json.loads(file.read_text())
        known = {p["name"] for p in definition["parameters"]}
        common = {"temporal_extent": ["2022-06-01", "2022-08-01"], "time": ["2022-06-01", "2022-08-01"]}
        common |= dict.fromkeys(("bbox", "bounding_box", "spatial_extent"), EXTENT) | {"geometry": SQUARE}
        remote = arguments.pop("remote", None)
        arguments = {key: value for key, value in (common | arguments).items() if key in known}
        sources = data_sources(collections, allow_empty=False, used=[])
        if remote is not None:
            sources["load_stac"] = lambda url, bands=None, **_: remote.assign_coords(bands=bands or remote["bands"])
            sources["load_url"] = lambda **_: SQUARE
        evaluator = Evaluator(
            {**processes, **sources, "save_result": lambda data, **_: data}, Definitions({name: definition})
        )
        result = evaluator.run({"udp": {"process_id": name, "arguments": arguments, "result": True}})
        assert isinstance(result, xr.DataArray)
        return result

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NaN in, NaN out; and what the registry's libraries say when imported
        processes = base_registry()
        yield run


def same(got: xr.DataArray, expected: np.ndarray, *dims: str) -> None:
    assert got.dims == (dims or ("bands", "y", "x"))
    np.testing.assert_allclose(got.values, expected, rtol=2e-5, atol=1e-6)


def first(values: np.ndarray) -> np.ndarray:
    result = values[0].copy()
    for later in values[1:]:
        result = np.where(np.isnan(result), later, result)
    return result


def test_max_ndvi(udp: Any) -> None:
    red, nir = pixels("B04", "B08")
    expected = np.nanmax((nir - red) / (nir + red), axis=0)
    np.testing.assert_array_equal(udp("vito/max_ndvi").values, expected)


def test_max_ndvi_composite(udp: Any) -> None:
    """Bands of the clear observation with the highest NDVI; by maximum where a date has no valid NDVI at all."""
    red, green, nir, scl = pixels("B04", "B03", "B08", "SCL")
    cloudy = np.isin(scl, [3, 8, 9, 10, 1, 6, 11, 0])
    ndvi = np.where(cloudy, np.nan, (nir - red) / (nir + red))
    rejected = (ndvi != np.nanmax(ndvi, axis=0)) & ~np.isnan(ndvi)
    kept = [np.where(rejected | cloudy, np.nan, band) for band in (red, green)]
    same(udp("vito/max_ndvi_composite", bands=["B04", "B03"]), np.nanmax(kept, axis=1))


def test_cloudless_mosaic(udp: Any) -> None:
    blue, green, red, scl = pixels("B02", "B03", "B04", "SCL")
    valid = (blue > 0) & (green > 0) & (red > 0)
    clear = ~np.isin(scl, [0, 1, 3, 8, 9, 10, 11]) & ~np.isnan(scl)
    colours = np.stack([red, green, blue]) / np.float32(10000) * 5
    lit = np.nanmedian(np.where(valid & clear, colours, np.nan), axis=1)
    dark = np.nanmedian(np.where(valid & ~clear & ~np.isnan(scl), -colours, np.nan), axis=1)
    same(udp("developmentseed/cloudless_mosaic"), np.abs(np.fmax(dark, lit)))


def test_bap_composite(udp: Any) -> None:
    """Per month the observation with the best score of cloud distance, day of the month and coverage."""
    red, green, classes = pixels("B04", "B03", "SCL")
    scl = np.nan_to_num(classes[:, 10:30:2, 10:30:2])  # the square, at 20 m
    cloudy = np.isin(scl, [3, 8, 9, 10]).astype(float)
    weights = np.exp(-0.5 * ((np.arange(151) - 75) / 22.65) ** 2)  # the Gaussian that the graph spells out
    kernel = np.outer(weights, weights) / weights.sum() ** 2
    distance = np.stack([1 - scipy.signal.convolve2d(c, kernel, mode="same") for c in cloudy])
    days = np.array([int(date[-2:]) for date in DATES])
    day = np.exp(-0.5 * (0.2 * (days - 15)) ** 2)[:, None, None]
    coverage = (1 - cloudy).mean(axis=(1, 2), keepdims=True)
    score = np.where(scl == 0, np.nan, (distance + 0.1 * day + 0.5 * coverage) / 1.6)
    expected = []
    for month in ([0, 1, 2], [3]):
        worse = (score[month] != np.nanmax(score[month], axis=0)) & ~np.isnan(score[month])
        hidden = (worse | (cloudy[month] == 1)).repeat(2, 1).repeat(2, 2)
        expected.append([first(np.where(hidden, np.nan, b[month, 10:30, 10:30])) for b in (red, green)])
    got = udp("vito/bap_composite", bands=["B04", "B03"])
    assert [str(t)[:10] for t in got["t"].values] == ["2022-06-01", "2022-07-01"]
    assert 0.1 < np.isnan(expected).mean() < 0.9
    same(got, np.array(expected), "t", "bands", "y", "x")


def test_sentinel1_stats(udp: Any) -> None:
    expected = []
    for band in pixels("B01", "B02"):  # the files call them VH and VV in that collection
        quantiles = [np.nanquantile(band, q, axis=0) for q in (0.1, 0.5, 0.9)]
        spread = np.nanstd(band, axis=0, ddof=1)
        expected += [np.nanmin(band, axis=0), np.nanmax(band, axis=0), np.nanmean(band, axis=0), spread, *quantiles]
    got = udp("vito/sentinel1_stats")
    assert list(got["bands"].values[[0, 6, 7, 13]]) == ["VH_min", "VH_q90", "VV_min", "VV_q90"]
    same(got, np.array(expected))


@pytest.mark.parametrize("period", [None, "month"])
def test_timeseries_statistics(udp: Any, period: str | None) -> None:
    square = np.stack(pixels("B04", "B08"))[:, :, 10:30, 10:30]
    groups = [[0, 1, 2, 3]] if period is None else [[0, 1, 2], [3]]
    expected = []
    for group in groups:
        part = square[:, group]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = [f(part, axis=1) for f in (np.nanmin, np.nanmax, np.nanmean)]
            rows.append(np.nanstd(part, axis=1, ddof=1))
            rows += [np.nanquantile(part, q, axis=1) for q in (0.1, 0.5, 0.9)]
            expected.append([np.nanmean(pixel) for row in rows for pixel in row])
    got = udp("vito/timeseries_statistics", collection_id="SENTINEL2_L2A", bands=["B04", "B08"], period=period)
    names = [f"{band}_{kind}" for kind in ("min", "max", "mean", "sd", "q10", "q50", "q90") for band in ("B04", "B08")]
    assert list(got["bands"].values) == names
    same(
        got.squeeze("geometry"),
        np.array(expected).squeeze(),
        *([] if period else ["bands"]),
        *(["t", "bands"] if period else []),
    )


def test_atmospheric_resistant_vegetation_index(udp: Any) -> None:
    blue, red, nir = (first(band) / np.float32(10000) for band in pixels("B02", "B04", "B8A"))
    haze = 0.106 * (red - blue)
    expected = (nir - red - haze) / (nir + red - haze)
    same(udp("developmentseed/atmospheric_resistant_vegetation_index"), expected[np.newaxis])


def test_barren_soil(udp: Any) -> None:
    blue, red, nir, swir = (first(band) / np.float32(10000) for band in pixels("B02", "B04", "B08", "B11"))
    index = ((swir + red) - (nir + blue)) / ((swir + red) + (nir + blue))
    same(udp("developmentseed/barren_soil"), np.stack([2.5 * index, nir, swir]))


def test_enhanced_vegetation_index(udp: Any) -> None:
    """Colours of classes: the lists of three numbers in the graph stand beside pixels."""
    nir, red = (first(band) / np.float32(10000) for band in pixels("B08", "B04"))
    index = 2.4 * (nir - red) / (nir + red + 1)
    got = udp("developmentseed/enhanced_vegetation_index")
    assert got.sizes["bands"] == 3
    for low, high, colour in (
        (-1.1, -0.2, (0.75, 0.75, 1)),
        (0.0, 0.025, (1, 0.98, 0.8)),
        (0.2, 0.25, (0.5, 0.7, 0.28)),
        (0.6, 9, (0, 0.27, 0)),
    ):
        inside = (index >= low) & (index < high)
        assert inside.any()
        np.testing.assert_array_equal(got.values[:, inside], np.array(colour)[:, np.newaxis].repeat(inside.sum(), 1))


def test_fire_boundary(udp: Any) -> None:
    swir1, swir2 = (first(band) / np.float32(10000) for band in pixels("B11", "B12"))
    index = 8.5 * (swir2 - swir1) / (swir2 + swir1 + 0.25)
    ramp = np.select(
        [index <= -1, index <= 1, index <= 3],
        [0.0, 0.46295 * (index + 1), 0.9259 + 0.03705 * (index - 1)],
        1.0,
    )
    same(udp("developmentseed/fire_boundary"), (255 * np.clip(ramp, 0, 1))[np.newaxis])


def test_plant_senescence_reflectance_index(udp: Any) -> None:
    blue, red, edge = (first(band) / np.float32(10000) for band in pixels("B02", "B04", "B06"))
    index = np.where(edge > 0, (red - blue) / edge, 1.0)
    expected = np.select(
        [index <= -0.2, index <= 0.4, index <= 1],
        [0.0, 0.9259 / 0.6 * (index + 0.2), 0.9259 + 0.0741 / 0.6 * (index - 0.4)],
        1.0,
    )
    same(udp("developmentseed/plant-senescence-reflectance-index"), expected[np.newaxis])


def reflectances(*names: str) -> list[np.ndarray]:
    """The first valid observation of each band, from 0 to 1."""
    return [first(band) / np.float32(10000) for band in pixels(*names)]


def ratio(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one - other) / (one + other)


def colour(*values: float) -> np.ndarray:
    return np.array(values).reshape(3, 1, 1)


def as_picture(values: np.ndarray) -> np.ndarray:
    return 255 * np.clip(values, 0, 1)


def test_aquatic_plants_and_algae(udp: Any) -> None:
    """At 100 m: of each ten pixels the one that the centre of the large pixel lies in."""
    names = ("B02", "B03", "B04", "B05", "B08", "B8A", "B11")
    blue, green, red, edge, nir, narrow, swir = (band[5::10, 5::10] for band in reflectances(*names))
    plain = 3 * np.stack([red, green, blue])
    algae = nir - (red + (swir - red) * 0.17722052470761768)
    water = ratio(green, nir)
    shown = np.stack([8.5 * algae, 5.5 * ratio(edge, red), water])
    land = (water < 0) & (ratio(water, ratio(narrow, swir)) > 0)
    bright = (green - 0.175) / 0.215
    cloud = (swir > 0.1) & ((bright > 1) | ((bright > 0) & (ratio(green, red) > 0)))
    same(udp("developmentseed/apa_aquatic_plants_algae"), as_picture(np.where(land | cloud, plain, shown)))


def test_cohen_braaten_yang_cloud_detection(udp: Any) -> None:
    blue, green, red, swir = reflectances("B02", "B03", "B04", "B11")
    bright, index = (green - 0.175) / 0.215, ratio(green, red)
    cloud = (swir > 0.1) & (bright > 1)
    thin = (swir > 0.1) & (bright > 0) & (index > 0)
    half = [0.5 * np.clip(band, 0, 1) for band in (red, green, blue)]
    of_clouds = np.stack([half[0], half[1], half[2] + 0.5 * (bright - 1)])
    of_thin = np.stack([half[0] + 5 * np.sqrt(np.abs(bright * index)), half[1], half[2]])
    expected = np.select([cloud, thin], [of_clouds, of_thin], 2.5 * np.stack([red, green, blue]))
    same(udp("developmentseed/cohen_braaten_yang_cloud_detection"), np.clip(expected, 0, 1))


def test_hollstein_cloud_detection(udp: Any) -> None:
    names = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B09", "B11")
    b1, b2, b3, b4, b5, b6, b7, b8a, b9, b11 = reflectances(*names)
    plain = 2.5 * np.stack([b4, b3, b2])
    water, cloud, cirrus, snow = colour(0.1, 0.1, 0.7), colour(0.8, 0.1, 0.1), colour(0.3, 0.3, 1), colour(1, 0.8, 0.4)
    dark = np.where((b3 - b7 >= 0.027) & (b9 - b11 < 0.021), water, plain)
    lit = np.where((b2 < 0.2) & (b2 / b9 >= 0.788), cloud, plain)
    warm = np.where(b6 - b7 < -0.016, cirrus, cloud)
    cold = np.where(b1 < 0.3, plain, cirrus)
    other = np.where(b11 < 0.3, warm, cold)
    icy = np.where(b3 < 0.525, plain, snow)
    bright = np.where(b5 / b11 < 4.33, other, icy)
    expected = np.where(b3 < 0.319, np.where(b8a < 0.166, dark, lit), bright)
    same(udp("developmentseed/hollstein_cloud_detection"), expected)


def test_mago_water_quality(udp: Any) -> None:
    blue, green, red, edge, nir = reflectances("B02", "B03", "B04", "B05", "B08")
    index = ratio(edge, red)
    value = (14.039 + 86.11 * index + 194.325 * index**2 - 6) / (12 - 6)
    ramp = np.clip(np.stack([4 * (value - 0.5), np.minimum(4 * value, 4 * (1 - value)), 4 * (0.5 - value)]), 0, 1)
    ramp[1] = np.where(value > 1, 0, ramp[1])
    plain = 3 * np.stack([red, green, blue])
    expected = as_picture(np.where(ratio(green, nir) < 0, plain, ramp))
    same(udp("developmentseed/mago_water_quality"), expected)


def test_cyanobacteria_in_water(udp: Any) -> None:
    names = ("B02", "B03", "B04", "B05", "B07", "B08", "B8A", "B11", "B12")
    blue, green, red, edge, late, nir, narrow, swir, far = reflectances(*names)
    water = (
        (ratio(green, swir) > 0.42)
        | (ratio(green, nir) > 0.4)
        | (4 * (green - swir) - (0.25 * nir + 2.75 * swir) > 0.1879)
        | (blue + 2.5 * green - 1.5 * (nir + swir) - 0.25 * far > 0.1112)
        | (ratio(nir, red) < -0.2)
    )
    water &= ~(ratio(swir, green) - ratio(nir, red) > 0) & (4 * (green - swir) - (0.25 * nir + 2.75 * swir) > -0.03)
    index = ratio(edge, red)
    chlorophyll = 826.57 * index**3 - 176.43 * index**2 + 19 * index + 4.071
    below = [0.5, 2.5, 5, 8, 14, 24, 38, 75, 150, 350]
    palette = [(0, 0, 255), (0, 59, 255), (15, 113, 141), (13, 141, 103), (42, 226, 28), (134, 247, 0), (208, 240, 0),
               (248, 207, 2), (240, 159, 8), (239, 101, 15), (233, 72, 21)]  # fmt: skip
    shades = np.array(palette).T[:, np.digitize(chlorophyll, below)] / 255
    scum = late - (red + 0.59 * (narrow - red)) > 0.08
    shades = np.where(scum, colour(233, 72, 21) / 255, shades)
    expected = np.where(water, shades, 3 * np.stack([red, green, blue]))
    same(udp("developmentseed/ndci_cyanobacteria"), as_picture(expected))


OTHERS = [
    "apa_aquatic_plants_algae",
    "bais2",
    "cohen_braaten_yang_cloud_detection",
    "hollstein_cloud_detection",
    "leaf_area_index",
    "mago_water_quality",
    "ndci_cyanobacteria",
]


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_graphs_run_to_a_file(udp: Any, name: str, tmp_path: Path) -> None:
    got = udp(f"developmentseed/{name}")
    assert {"bands", "y", "x"} <= set(got.dims)
    assert np.isfinite(got.values).any()
    file_format = "PNG" if name in {"bais2", "ndci_cyanobacteria"} else "GTiff"
    assert save(got, tmp_path, file_format)


def test_ramona_runs_once_its_rasters_and_its_country_are_here(udp: Any, collections: dict[str, Collection]) -> None:
    """Biomass of a month in a country: within its limits, and within the outline."""
    scene = load_cube(collections["SENTINEL2_L2A"], spatial_extent=EXTENT, bands=["B04"])
    month = (scene.isel(t=[1]) - 3000) * 20
    got = udp(f"dhi/{RAMONA}/{RAMONA}", remote=month)
    inside = np.zeros((SIZE, SIZE), bool)
    inside[10:30, 10:30] = True
    values = np.clip((pixels("B04")[0][1] - 3000) * 20, -10, 31000)
    assert {"y", "x"} <= set(got.dims)
    whole = got.reindex(y=scene["y"], x=scene["x"]).squeeze()
    np.testing.assert_allclose(whole.values, np.where(inside, values, np.nan))


def test_scmap_runs_once_its_threshold_image_is_here(udp: Any, collections: dict[str, Collection]) -> None:
    """189 nodes; on its own it ends at a STAC document of another host, which this back-end does not fetch."""
    scene = load_cube(collections["SENTINEL2_L2A"], spatial_extent=EXTENT, bands=["B01"])
    collections["ESA_WORLDCOVER_10M_2021_V2"] = replace(
        collections["SENTINEL2_L2A"],
        scenes=tuple(replace(s, bands={"MAP": s.bands["SCL"]}) for s in collections["SENTINEL2_L2A"].scenes[:1]),
    )
    with pytest.raises(ProcessError, match="is not on this host"):
        udp("dlr/scmap/scmap_composite")
    got = udp("dlr/scmap/scmap_composite", remote=scene)
    assert got.sizes == {"bands": 44, "y": SIZE // 2, "x": SIZE // 2}
