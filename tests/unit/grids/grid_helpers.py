"""What the tests of all grids share: random AOIs, and the contract of a tile table checked with plain geometry."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
import shapely.affinity
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from upscaling.area.aoi import AOI, read_aoi
from upscaling.grids.base import COLUMNS

# a counter-example is printed as it was found: shrinking polygons takes minutes and says no more
PLAIN = settings(
    deadline=None,
    derandomize=True,  # the same areas in every run of the suite
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


def aois(south: float = -90, north: float = 90, least: float = 0.05, most: float = 6.0) -> st.SearchStrategy[AOI]:
    """AOIs anywhere between two latitudes: boxes and ragged polygons, also over the antimeridian and the poles."""

    def build(values: tuple[float, float, float, float, list[float]]) -> AOI:
        lon, at, width, height, radii = values
        width = width * min(1 / max(np.cos(np.radians(south + at * (north - south))), 0.05), 20)
        south_edge = south + at * (north - south - height)
        lon = lon if lon + width < 360 else lon - 360
        if not radii:
            return read_aoi([lon, south_edge, lon + width, min(south_edge + height, 90.0)])
        angle = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
        x = lon + width / 2 * (1 + np.array(radii) * np.cos(angle))
        y = south_edge + height / 2 * (1 + np.array(radii) * np.sin(angle))
        return read_aoi(shapely.Polygon(np.column_stack([x, y])).wkt)

    return st.tuples(
        st.floats(-180, 180),
        st.floats(0, 1),
        st.floats(least, most),
        st.floats(least, most),
        st.one_of(st.just([]), st.lists(st.floats(0.3, 1), min_size=5, max_size=9)),
    ).map(build)


def owned(row: Any) -> Any:
    """The part of a tile that it owns, in its CRS."""
    return shapely.from_wkt(row.owner_wkt) if row.owner_wkt else shapely.box(row.xmin, row.ymin, row.xmax, row.ymax)


@lru_cache(1000)  # to make one takes most of the time of these tests
def _change(source: str, target: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def _moved(geometry: Any, source: str, target: str) -> Any:
    change = _change(source, target)
    moved = shapely.transform(geometry, lambda xy: np.column_stack(change.transform(*xy.T)))
    if shapely.is_valid(moved).all():
        return moved
    return shapely.set_precision(shapely.make_valid(moved, method="structure"), 1e-4)


def owned_areas(frame: gpd.GeoDataFrame, aoi: AOI) -> tuple[float, float]:
    """Measure in m2, in an equal-area plane around every tile: the AOI within owned parts, and what two of them own."""
    planes, parts = [], []
    within = 0.0
    aoi_parts = np.array(aoi.parts, dtype=object)
    for row in frame.itertuples():
        outline = shapely.get_parts(row.geometry)
        x, y = shapely.get_coordinates(shapely.centroid(outline[0]))[0]
        if max(abs(row.south), abs(row.north)) == 90:
            y = float(np.copysign(90, row.south + row.north))
        plane = f"+proj=laea +lon_0={x} +lat_0={y} +ellps=WGS84"
        fine = (row.xmax - row.xmin) / 100
        part = _moved(shapely.segmentize(owned(row), fine), row.crs, plane)
        planes.append(plane)
        parts.append(part)
        boxes = [shapely.box(b[0] - 0.3, b[1] - 0.3, b[2] + 0.3, b[3] + 0.3) for b in shapely.bounds(outline)]
        boxes += [shapely.affinity.translate(box, turn) for box in boxes for turn in (-360, 360)]
        here = shapely.intersection(aoi_parts, shapely.union_all(boxes))
        here = here[shapely.area(here) > 0]
        flat = _moved(shapely.segmentize(here, 0.01), "EPSG:4326", plane)
        within += shapely.area(shapely.intersection(flat, part)).sum()
    double = 0.0
    left, right = shapely.STRtree(frame.geometry.values).query(frame.geometry.values, predicate="intersects")
    for k, m in zip(left.tolist(), right.tolist(), strict=True):
        if k < m:
            row = frame.iloc[m]
            other = shapely.segmentize(owned(row), (row.xmax - row.xmin) / 100)
            double += shapely.area(shapely.intersection(parts[k], _moved(other, row["crs"], planes[k])))
    return within, double


def check_cover(frame: gpd.GeoDataFrame, aoi: AOI, tolerance: float = 1e-6) -> None:
    """Owned parts are disjoint and hold the whole AOI, but for what was reported as dropped."""
    within, double = owned_areas(frame, aoi)
    x, y = shapely.get_coordinates(shapely.centroid(aoi.parts[0]))[0]
    plane = f"+proj=laea +lon_0={x} +lat_0={y if abs(y) < 85 else np.copysign(90, y)} +ellps=WGS84"
    area = shapely.area(_moved(shapely.segmentize(np.array(aoi.parts, dtype=object), 0.01), "EPSG:4326", plane)).sum()
    assert area == pytest.approx(aoi.area_km2 * 1e6, rel=1e-5)
    assert abs(area - within - frame.attrs["dropped_area_m2"]) < tolerance * area
    assert double < tolerance * area


def check_contract(frame: gpd.GeoDataFrame) -> None:
    """Every tile table, of every grid."""
    assert tuple(frame.columns) == COLUMNS
    assert frame.crs == "EPSG:4326"
    assert frame["tile_id"].str.fullmatch(r"[a-z0-9_-]{1,120}").all(), "ids are names of folders, and wildcards"
    assert frame["tile_id"].is_unique
    assert frame["tile_id"].is_monotonic_increasing
    assert (frame["aoi_fraction"] > 0).all() and (frame["aoi_fraction"] <= 1).all()
    assert (frame["xmin"] < frame["xmax"]).all() and (frame["ymin"] < frame["ymax"]).all()
    assert frame.geometry.is_valid.all()
    assert set(frame.geometry.geom_type) <= {"Polygon", "MultiPolygon"}
    bounds = frame.geometry.bounds
    straight = frame["west"] < frame["east"]
    assert np.allclose(bounds.loc[straight].to_numpy(), frame.loc[straight, ["west", "south", "east", "north"]])
    assert ((bounds.loc[~straight, "minx"] == -180) & (bounds.loc[~straight, "maxx"] == 180)).all()
    assert {"grid", "buffer", "dropped_slivers", "dropped_area_m2", "notices"} <= set(frame.attrs)
