"""The description, the text map and the picture of a tile table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image, ImageDraw

from upscaling.area.aoi import read_aoi
from upscaling.grids import get_grid
from upscaling.grids.picture import plot_tiles
from upscaling.grids.summary import describe_tiles, text_map


def test_description_says_what_matters() -> None:
    aoi = read_aoi([11, 46, 12.5, 47])
    tiles = get_grid("utm-20km").tiles(aoi, min_overlap=0.2, buffer=200)
    text = describe_tiles(tiles, aoi)
    south, west = (tiles["crs"] == "EPSG:32632").sum(), (tiles["crs"] == "EPSG:32633").sum()
    assert f"{len(tiles)} tiles of utm-20km" in text
    assert f"EPSG:32632 ({south})" in text and f"EPSG:32633 ({west})" in text
    assert f"dropped    {tiles.attrs['dropped_slivers']} tiles" in text and tiles.attrs["dropped_slivers"] > 0
    assert f"{aoi.area_km2:,.0f} km2 in the AOI" in text and "halo       200 m" in text
    bare = describe_tiles(tiles, width=0)
    assert "AOI," not in bare and len(bare.splitlines()) == len(text.split("\n\n", maxsplit=1)[0].splitlines())


def test_text_map_shows_the_shape() -> None:
    """An L of cells: two columns of tiles in the north, the western one alone in the south."""
    shape = "POLYGON((0 0,1 0,1 4,8 4,8 5,0 5,0 0))"
    assert text_map(get_grid("deg-1").tiles(read_aoi(shape)), width=16).splitlines() == ["########", "#", "#", "#", "#"]


def test_the_antimeridian_does_not_tear_the_map(shared_data: Path, tmp_path: Path) -> None:
    aoi = read_aoi("fiji.geojson", base=shared_data / "aoi")
    tiles = get_grid("utm-20km").tiles(aoi)
    text = describe_tiles(tiles, aoi)
    assert "extent     177.2 to 180.4 E" in text
    plot_tiles(tiles, aoi, tmp_path / "fiji.png")
    pixels = np.asarray(Image.open(tmp_path / "fiji.png"))
    assert pixels.shape[2] == 3 and 1000 < pixels.shape[1] < 1300
    inked = (pixels != 255).any(axis=(0, 2))
    assert inked[: len(inked) // 4].any() and inked[-len(inked) // 4 :].any()
    assert not list(tmp_path.glob(".*"))


def test_the_picture_has_names_a_legend_and_the_owned_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[str] = []
    boxes: list[tuple[float, ...]] = []
    write = ImageDraw.ImageDraw.text

    def text(draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, **how: Any) -> None:
        words.append(text)
        boxes.append(draw.textbbox(xy, text, font=how["font"], anchor=how["anchor"]))
        write(draw, xy, text, **how)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    aoi = read_aoi([11.2, 46.0, 12.8, 47.0])
    tiles = get_grid("s2").tiles(aoi)
    plot_tiles(tiles, aoi, tmp_path / "s2.png")
    assert words[: len(tiles)] == list(tiles["tile_id"])
    assert words[len(tiles) :] == [
        "area of interest",
        "6 tiles of s2 in EPSG:32632",
        "3 tiles of s2 in EPSG:32633",
        "darker: the part that a tile owns where several cover a place",
    ]
    words.clear()
    boxes.clear()
    tiles = get_grid("utm-10km").tiles(read_aoi([5.9, 47.0, 6.3, 47.3]))  # where the tiles of two zones overlap
    plot_tiles(tiles, aoi, tmp_path / "zones.png")
    assert len(words) == len(tiles) + 4 and "31n_e0720_n5210" in words
    taken = shapely.box(*np.array(boxes).T)
    assert len(shapely.STRtree(taken).query(taken, predicate="intersects")[0]) == len(taken), "a name over another"
    words.clear()
    plot_tiles(get_grid("utm-2km").tiles(aoi), aoi, tmp_path / "small.png")
    assert "area of interest" in words and len(words) < 5, "names that do not fit are left out"
