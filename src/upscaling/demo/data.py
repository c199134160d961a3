"""Small synthetic Sentinel-2 like scenes around Bolzano, for the demo and for tests without real data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.util.files import write_whole, written_whole

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["make_demo_data"]

CRS = "EPSG:32632"
WEST, NORTH, SIZE, PIXEL = 676000, 5154000, 800, 10  # 8 x 8 km, on the lattice of utm-2km
BANDS = ("B02", "B03", "B04", "B08", "SCL")
COLLECTION = "SENTINEL2_L2A"
# Date, share of clouds, does the orbit's edge cross the scene, greenness of the crops that day.
DATES = (
    ("2023-06-08", 0.08, False, 0.75),
    ("2023-06-23", 0.35, True, 0.95),
    ("2023-07-08", 0.18, False, 1.0),
    ("2023-07-28", 0.30, True, 0.85),
    ("2023-08-17", 0.12, False, 0.65),
)
# Reflectance x 10,000 of B02, B03, B04, B08, and how much of it grows with the season.
WATER, SOIL, CROP, MEADOW, FOREST, TOWN = range(6)
SPECTRA = (
    (420, 480, 330, 210),
    (720, 980, 1300, 1900),
    (330, 640, 420, 3900),
    (380, 740, 560, 3300),
    (210, 370, 250, 2600),
    (1150, 1250, 1350, 1900),
)
VEGETATION, NOT_VEGETATED, WATER_CLASS, SHADOW, CLOUD_MEDIUM, CLOUD_HIGH = 4, 5, 6, 3, 8, 9
STEP = 50  # reflectances in steps of 0.005: a third of the size on disk, and no eye sees it


def make_demo_data(folder: Path) -> Path:
    """Write five scenes as COGs, and ``collections.yaml`` of the embedded back-end beside them.

    Scenes: 800 x 800 pixels of 10 m in EPSG:32632, bounds 676000 5146000 684000 5154000, uint16, nodata 0, bands
    B02, B03, B04, B08 (reflectance x 10,000) and SCL (Sentinel-2 scene classification); 2023-06-08 to 2023-08-17.
    The landscape is made up; nothing of it is a measurement.

    The same numbers come out every time; files that are there are left alone.

    Returns
    -------
    The path of ``collections.yaml``.
    """
    import numpy as np

    land: tuple[Array, Array] | None = None
    for number, (date, clouds, edge, green) in enumerate(DATES):
        path = folder / _file_name(date)
        if path.exists():
            continue
        land = land or _landscape(np.random.default_rng(2023))
        _write(path, _scene(np.random.default_rng(number), *land, clouds=clouds, edge=edge, green=green), date)
    index = folder / "collections.yaml"
    text = _index()
    if not index.exists() or index.read_text(encoding="utf-8") != text:
        write_whole(index, text)
    return index


def _file_name(date: str) -> str:
    return f"S2_demo_{date.replace('-', '')}.tif"


def _index() -> str:
    lines = ["# Collections of the embedded openEO back-end; paths are relative to this file.", "collections:"]
    lines += [f"  {COLLECTION}:", "    title: Synthetic Sentinel-2 L2A scenes around Bolzano", "    items:"]
    for date, *_ in DATES:
        lines += [f"      - file: {_file_name(date)}", f'        datetime: "{date}T10:10:31Z"']
        lines += [f"        bands: [{', '.join(BANDS)}]"]
    return "\n".join(lines) + "\n"


def _smooth_noise(random: np.random.Generator, pixels: float) -> Array:
    """Noise with features of about ``pixels``, of mean 0 and standard deviation 1."""
    import numpy as np

    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :])
    spectrum = np.fft.rfft2(random.standard_normal((SIZE, SIZE)))
    noise = np.fft.irfft2(spectrum * np.exp(-0.5 * (frequency * pixels * np.pi) ** 2), s=(SIZE, SIZE))
    smooth: Array = (noise - noise.mean()) / noise.std()
    return smooth


def _landscape(random: np.random.Generator) -> tuple[Array, Array]:
    """Return every pixel's cover and its relative brightness: valley, river, fields, slopes, town."""
    import numpy as np

    row, column = np.indices((SIZE, SIZE), dtype=float)
    winding = 60 * np.sin(row / 120) + 25 * np.sin(row / 47 + 1)
    across = column - (0.52 * SIZE + winding - 0.12 * (row - SIZE / 2))  # pixels east of the river
    relief = _smooth_noise(random, 90)
    valley = np.abs(across) + 45 * relief < 210

    # Fields: a lattice turned along the valley, its lines bent a little; each plot has a crop of its own.
    turned_x = 0.93 * column + 0.37 * row + 5 * _smooth_noise(random, 60)
    turned_y = 0.93 * row - 0.37 * column + 5 * _smooth_noise(random, 60)
    plot_x, plot_y = np.floor(turned_x / 27).astype(int), np.floor(turned_y / 16).astype(int)
    hashed = ((plot_x * 7919) ^ (plot_y * 104729)) % 1000 / 1000
    cover = np.select([hashed < 0.5, hashed < 0.8], [CROP, MEADOW], SOIL)
    path = (turned_x % 27 < 1.5) | (turned_y % 16 < 1.2)
    cover = np.where(path, SOIL, cover)

    cover = np.where(valley, cover, np.where(relief + 0.4 * _smooth_noise(random, 14) > -0.6, FOREST, MEADOW))
    centre = np.hypot(row - 300, across - 110) + 28 * _smooth_noise(random, 25)
    streets = (turned_x % 9 < 2) | (turned_y % 7 < 1.5)
    cover = np.where(centre < 120, np.where(streets & (hashed < 0.85), SOIL, TOWN), cover)
    cover = np.where((centre < 120) & (hashed > 0.9), MEADOW, cover)
    cover = np.where(np.abs(across) < 7 + 2 * np.sin(row / 33), WATER, cover)

    light = np.where(valley, 0.0, 0.16 * (np.roll(relief, 6, axis=1) - np.roll(relief, -6, axis=0)))
    texture = 1 + light + 0.05 * _smooth_noise(random, 8) + 0.12 * (hashed - 0.5) * valley
    return cover, np.clip(texture, 0.45, 1.6)


def _scene(
    random: np.random.Generator, cover: Array, texture: Array, *, clouds: float, edge: bool, green: float
) -> Array:
    """Return one date, shape (5, 800, 800), uint16."""
    import numpy as np

    bands = np.asarray(SPECTRA, dtype=float)[cover].transpose(2, 0, 1) * texture
    crops = (cover == CROP) | (cover == MEADOW)
    bands[3] = np.where(crops, bands[3] * green, bands[3])
    bands[2] = np.where(crops, bands[2] * (1.9 - 0.9 * green), bands[2])
    classes = np.select([cover == WATER, (cover == SOIL) | (cover == TOWN)], [WATER_CLASS, NOT_VEGETATED], VEGETATION)

    field = _smooth_noise(random, 45) + 0.35 * _smooth_noise(random, 9)
    threshold = np.quantile(field, 1 - clouds)
    thickness = np.clip((field - threshold) * 1.6, 0, 1)
    shadow = np.roll(field > threshold + 0.12, (22, -30), axis=(0, 1)) & (field <= threshold)
    bands[:, shadow] *= 0.45
    white = 5200 + 700 * texture
    bands = bands * (1 - thickness) + white * thickness
    classes = np.where(shadow, SHADOW, classes)
    classes = np.where(field > threshold, np.where(thickness > 0.45, CLOUD_HIGH, CLOUD_MEDIUM), classes)

    scene = np.empty((len(BANDS), SIZE, SIZE), np.uint16)
    scene[:4] = np.clip(np.round(bands / STEP) * STEP, STEP, 10_000)
    scene[4] = classes
    if edge:
        row, column = np.indices((SIZE, SIZE))
        scene[:, column + 0.27 * row > 880 - 90 * (green > 0.9)] = 0
    return scene


def _write(path: Path, scene: Array, date: str) -> None:
    import rasterio
    from rasterio import Affine
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    profile = {
        "driver": "GTiff",
        "width": SIZE,
        "height": SIZE,
        "count": len(BANDS),
        "dtype": "uint16",
        "crs": CRS,
        "transform": Affine(PIXEL, 0, WEST, 0, -PIXEL, NORTH),
        "nodata": 0,
        "interleave": "band",
    }
    with rasterio.Env(GDAL_NUM_THREADS=1), MemoryFile() as memory, written_whole(path) as temporary:
        with memory.open(**profile) as dataset:
            dataset.write(scene)
            dataset.descriptions = BANDS
            dataset.update_tags(TIFFTAG_DATETIME=f"{date.replace('-', ':')} 10:10:31")
        copy(memory.name, temporary, driver="COG", COMPRESS="ZSTD", PREDICTOR="YES", BLOCKSIZE=512)
