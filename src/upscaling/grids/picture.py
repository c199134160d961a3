"""A picture of tiles over an area: outlines, owned parts, names and a legend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from upscaling.grids.outlines import own_parts
from upscaling.grids.summary import around
from upscaling.util.files import written_whole

if TYPE_CHECKING:
    import geopandas as gpd

    from upscaling.area.aoi import AOI

__all__ = ["plot_tiles"]

_COLOURS = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75))
_AREA, _INK = (225, 225, 215), (40, 40, 40)
_PICTURE = 1200  # pixels along the longer side
_MARGIN, _LINE = 20, 26  # pixels: around the map, of a line of the legend
_MEASURED = 50  # longest names that are measured: an exact width takes time, and there may be 100,000
_LETTERS = (18, 14, 11)  # heights of the tiles' names; they are left out where the smallest does not fit


def plot_tiles(tiles: gpd.GeoDataFrame, aoi: AOI, path: Path, *, explained: bool = True) -> None:
    """Write a PNG of tiles over the AOI, a colour for every CRS, in longitude/latitude, with a legend.

    Tiles have their names where these fit; where a tile owns only a part of itself, that part is darker.

    Parameters
    ----------
    path
        Written whole or not at all.
    explained
        Whether the legend is a part of the picture; False where it is shown too small to be read.
    """
    from PIL import Image, ImageDraw

    west, east = around(tiles)
    south, north = float(tiles["south"].min()), float(tiles["north"].max())
    stretch = max(float(np.cos(np.radians((south + north) / 2))), 0.1)
    scale = _PICTURE / max((east - west) * stretch, north - south)
    width, height = (max(round(v * scale), 1) + 2 * _MARGIN for v in ((east - west) * stretch, north - south))
    systems = tiles["crs"].value_counts().sort_index()
    colour = {crs: _COLOURS[k % len(_COLOURS)] for k, crs in enumerate(systems.index)}
    legend = _legend(tiles, colour, systems.to_dict()) if explained else []
    picture = Image.new("RGB", (max(width, 420), height + _LINE * len(legend) + _MARGIN), "white")
    draw = ImageDraw.Draw(picture, "RGBA")

    def pixels(ring: Any) -> list[tuple[float, float]]:
        lon, lat = shapely.get_coordinates(ring).T
        turned = lon + 360 * np.round((west + (east - west) / 2 - lon.mean()) / 360)
        x, y = _MARGIN + (turned - west) * stretch * scale, _MARGIN + (north - lat) * scale
        return list(zip(x.tolist(), y.tolist(), strict=True))

    for part in aoi.parts:
        draw.polygon(pixels(part.exterior), fill=_AREA)
        for hole in part.interiors:
            draw.polygon(pixels(hole), fill=(255, 255, 255))
    thick = 2 if len(tiles) <= 2500 else 1
    owned = own_parts(tiles.geometry.values, tiles["owner_wkt"].to_numpy(), tiles["crs"].to_numpy())
    for crs, outline, own, part_only in zip(tiles["crs"], tiles.geometry, owned, tiles["owner_wkt"] != "", strict=True):
        for part in shapely.get_parts([outline]):
            draw.polygon(pixels(part.exterior), fill=(*colour[crs], 40), outline=(*colour[crs], 255), width=thick)
        for part in shapely.get_parts([own]) if part_only else ():
            if part.geom_type == "Polygon":
                draw.polygon(pixels(part.exterior), fill=(*colour[crs], 70))
    _write_names(draw, tiles, owned, pixels)
    for number, (fill, outline, words) in enumerate(legend):
        top = height + number * _LINE
        draw.rectangle((_MARGIN, top, _MARGIN + 26, top + 16), fill=fill, outline=outline, width=2)
        draw.text((_MARGIN + 38, top + 8), words, fill=_INK, font=_font(15), anchor="lm")
    with written_whole(path) as temporary:
        picture.save(temporary, format="PNG")


def _legend(
    tiles: gpd.GeoDataFrame, colour: Mapping[str, tuple[int, int, int]], systems: Mapping[str, int]
) -> list[tuple[tuple[int, ...], tuple[int, ...], str]]:
    """Return fill, outline and words of each line."""
    grid = tiles.attrs.get("grid") or tiles["grid"].iloc[0]
    shown = list(systems.items())[: len(_COLOURS)]
    lines: list[tuple[tuple[int, ...], tuple[int, ...], str]] = [(_AREA, _AREA, "area of interest")]
    for crs, number in shown:
        name = crs if len(crs) < 20 else "their own CRS"
        lines.append(((*colour[crs], 40), colour[crs], f"{number:,} tiles of {grid} in {name}"))
    if more := len(systems) - len(shown):
        lines.append(((255, 255, 255), _INK, f"and {more} more CRS, in the same colours"))
    if (tiles["owner_wkt"] != "").any():
        first = next(iter(colour.values()))
        lines.append(((*first, 110), (*first, 110), "darker: the part that a tile owns where several cover a place"))
    return lines


def _write_names(
    draw: Any, tiles: gpd.GeoDataFrame, owned: Any, pixels: Callable[[Any], list[tuple[float, float]]]
) -> None:
    """Write each tile's name into what it owns, as large as a tile allows, if need be without what all begin with.

    In the whole tile it could lie across the name of another, where zones overlap.
    """
    names = [str(name) for name in tiles["tile_id"]]
    short = [name.rpartition("_utm-")[2].partition("_")[2] or name for name in names]
    boxes = [shapely.get_parts([outline])[0] for outline in tiles.geometry]
    room = min(np.ptp([x for x, _ in pixels(box.exterior)]) for box in boxes) - 10
    fonts = [(letters, _font(letters)) for letters in _LETTERS]
    for words in (names, short):
        longest = sorted(set(words), key=len)[-_MEASURED:]
        for number, (_, font) in enumerate(fonts):
            if max(font.getlength(word) for word in longest) <= room:
                for word, less, own in zip(words, short, owned, strict=True):
                    _write_name(draw, own, [(word, *fonts[number]), (less, *fonts[number]), (less, *fonts[-1])], pixels)
                return


def _write_name(
    draw: Any, own: Any, ways: list[tuple[str, int, Any]], pixels: Callable[[Any], list[tuple[float, float]]]
) -> None:
    """Write the first way of a name that fits into a part; none if none fits."""
    part = max(shapely.get_parts([own]), key=shapely.area, default=None)
    if part is None or part.geom_type != "Polygon":
        return
    wide, high = np.ptp(pixels(part.exterior), axis=0)
    for word, letters, font in ways:
        if font.getlength(word) <= wide - 10 and letters <= high:
            (place,) = pixels(part.centroid)
            draw.text(place, word, fill=_INK, font=font, anchor="mm")
            return


def _font(height: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(height)
