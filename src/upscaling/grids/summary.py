"""A tile table at a glance: counts, area, a map in text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from upscaling.area.lonlat import area_km2, narrowest

if TYPE_CHECKING:
    import geopandas as gpd

    from upscaling.area.aoi import AOI

__all__ = ["around", "describe_tiles", "text_map"]

_SHADES = ".:+#"
_LINES = 30  # of the map, at most


def describe_tiles(tiles: gpd.GeoDataFrame, aoi: AOI | None = None, *, width: int = 72) -> str:
    """Describe a tile table in some lines of text.

    Parameters
    ----------
    tiles
        As ``Grid.tiles`` returns it.
    aoi
        Adds its area.
    width
        Characters per line of the map; 0 leaves the map out.

    Returns
    -------
    str
        Number of tiles, CRS by number of tiles, extent, areas, tiles that were dropped, notices, a map.
    """
    grid = tiles.attrs.get("grid") or tiles["grid"].iloc[0]
    zones = tiles["crs"].value_counts()
    named = ", ".join(f"{crs if len(crs) < 20 else 'its own CRS'} ({count:,})" for crs, count in zones.head(6).items())
    more = f" and {len(zones) - 6} more" if len(zones) > 6 else ""
    # tiles of geographic grids have no size in km2 of their own: outlines have
    area = area_km2(shapely.get_parts(tiles.geometry.values))
    share = tiles["aoi_fraction"]
    west, east = around(tiles)
    lines = [
        f"{len(tiles):,} tiles of {grid}",
        f"CRS        {named}{more}",
        f"extent     {west:.4g} to {east:.4g} E, {tiles['south'].min():.4g} to {tiles['north'].max():.4g} N",
        f"area       {area:,.0f} km2 in tiles" + (f", {aoi.area_km2:,.0f} km2 in the AOI" if aoi else ""),
        f"AOI share  mean {share.mean():.0%}, under 10%: {int((share < 0.1).sum()):,}",
        f"shared     own only a part of themselves: {int((tiles['owner_wkt'] != '').sum()):,}",
    ]
    if dropped := tiles.attrs.get("dropped_slivers"):
        lost = tiles.attrs.get("dropped_area_m2", 0.0) / 1e6
        lines.append(f"dropped    {dropped:,} tiles that touch the AOI or stay under min_overlap ({lost:.6g} km2)")
    if buffer := tiles.attrs.get("buffer"):
        lines.append(f"halo       {buffer:g} m around every tile, cut off again")
    lines += [f"notice     {text}" for text in tiles.attrs.get("notices", [])]
    return "\n".join([*lines, "", text_map(tiles, width)] if width else lines)


def text_map(tiles: gpd.GeoDataFrame, width: int = 72) -> str:
    """Draw tiles as characters, north up: the darker, the more tiles lie in a place; ``.`` is the fewest."""
    west, east = around(tiles)
    south, north = float(tiles["south"].min()), float(tiles["north"].max())
    span = (tiles["east"].to_numpy() - tiles["west"].to_numpy()) % 360
    x = (tiles["west"].to_numpy() + span / 2 - west) % 360 / max(east - west, 1e-9)
    y = ((tiles["south"] + tiles["north"]).to_numpy() / 2 - south) / max(north - south, 1e-9)
    middle = max(float(np.cos(np.radians((south + north) / 2))), 0.1)
    # a character is about twice as high as wide, and no smaller than a tile
    height = round(width * (north - south) / max((east - west) * middle, 1e-9) / 2)
    if height > _LINES:
        width, height = round(width * _LINES / height), _LINES
    high = (tiles["north"] - tiles["south"]).median()
    width = max(min(width, int((east - west) / np.median(span))), 2)
    height = max(min(height, int((north - south) / high)), 1)
    column = np.minimum((x * width).astype(int), width - 1)
    row = np.minimum(((1 - y) * height).astype(int), height - 1)
    count = np.zeros((height, width), dtype=int)
    np.add.at(count, (row, column), 1)
    most = max(int(count.max()), 1)
    shade = np.ceil(count * len(_SHADES) / most).astype(int)
    return "\n".join("".join((" " + _SHADES)[value] for value in line).rstrip() for line in shade)


def around(tiles: gpd.GeoDataFrame) -> tuple[float, float]:
    """Return the narrowest span of longitude that holds all tiles; east may be beyond 180."""
    west, east = narrowest(tiles["west"].to_numpy(), tiles["east"].to_numpy())
    return west, east + 360 if east < west else east
