"""What is kept of whole zones for the next selection can be given back."""

from __future__ import annotations

from upscaling.area.aoi import read_aoi
from upscaling.grids import forget_cells, get_grid, utm_zones


def test_cells_of_whole_zones_are_forgotten_and_found_again() -> None:
    area = read_aoi([11.99, 46.45, 12.01, 46.46])
    found = get_grid("utm-10km").tiles(area)
    assert utm_zones.zone_cells.cache_info().currsize
    forget_cells()
    assert not utm_zones.zone_cells.cache_info().currsize
    assert list(get_grid("utm-10km").tiles(area).tile_id) == list(found.tile_id)
