"""The four tools of water.cwl: crop one band of one item, index, threshold, and all items together as STAC."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pystac
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds, transform_geom

VERSION = "0.1.0"
NODATA = 255  # of masks and shares


def arguments():
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    crop = steps.add_parser("crop")
    crop.add_argument("--item", required=True, type=Path, help="folder with catalog.json and one item")
    crop.add_argument("--bbox", required=True, help="west,south,east,north in the units of --epsg")
    crop.add_argument("--epsg", required=True)
    crop.add_argument("--resolution", required=True, type=float)
    crop.add_argument("--band", required=True)
    index = steps.add_parser("index")
    index.add_argument("rasters", nargs=2, type=Path)
    threshold = steps.add_parser("threshold")
    threshold.add_argument("--above", required=True, type=float)
    threshold.add_argument("raster", type=Path)
    stac = steps.add_parser("stac")
    stac.add_argument("--item", required=True, action="append", type=Path)
    stac.add_argument("--mask", required=True, action="append", type=Path)
    return parser.parse_args()


def only_item(folder):
    """Return the item of a staged catalogue."""
    items = list(pystac.Catalog.from_file(str(folder / "catalog.json")).get_items(recursive=True))
    if len(items) != 1:
        sys.exit(f"water: {folder.name} holds {len(items)} items instead of one")
    return items[0]


def crop(options):
    """Write one band on the tile's own pixels, 0 where the item has none."""
    item = only_item(options.item)
    if options.band not in item.assets:
        sys.exit(f"water: item {item.id} has no asset {options.band}; it has {', '.join(item.assets)}")
    west, south, east, north = (float(edge) for edge in options.bbox.split(","))
    grid = {
        "crs": CRS.from_user_input(options.epsg),
        "transform": from_origin(west, north, options.resolution, options.resolution),
        "width": round((east - west) / options.resolution),
        "height": round((north - south) / options.resolution),
    }
    with (
        rasterio.open(item.assets[options.band].get_absolute_href()) as source,
        WarpedVRT(source, **grid, nodata=0, resampling=Resampling.nearest) as warped,
    ):
        save("crop.tif", warped.read(1), {"driver": "GTiff", **grid, "nodata": 0})


def index(options):
    """Write the normalised difference of two bands, NaN where either has no data."""
    (first, profile), (second, _) = (load(path) for path in options.rasters)
    first, second = first.astype("float32"), second.astype("float32")
    result = np.full(first.shape, np.nan, "float32")
    total = first + second
    np.divide(first - second, total, out=result, where=(first != 0) & (second != 0))
    save("index.tif", result, profile | {"nodata": np.nan})


def threshold(options):
    """Write 1 where the index is above the threshold, 0 where it is not, 255 where it is not known."""
    found, profile = load(options.raster)
    mask = np.where(np.isnan(found), NODATA, found > options.above).astype("uint8")
    save("mask.tif", mask, profile | {"nodata": NODATA})


def stac(options):
    """Write in how many of a hundred observations there was water, as a COG in a STAC catalogue."""
    items = [only_item(folder) for folder in options.item]
    masks = np.stack([load(path)[0] for path in options.mask])
    _, profile = load(options.mask[0])
    seen, wet = (masks != NODATA).sum(axis=0), (masks == 1).sum(axis=0)
    share = np.full(seen.shape, NODATA, "uint8")
    share[seen > 0] = np.rint(100 * wet[seen > 0] / seen[seen > 0])
    catalogue = pystac.Catalog(id="water", title="Water", description="How often there was water in a tile")
    if seen.any():
        options = {"compress": "DEFLATE", "blocksize": 512, "nodata": NODATA}
        place = {name: profile[name] for name in ("crs", "transform", "width", "height")}
        save("water.tif", share, {"driver": "COG", **place, **options})
        add(catalogue, items, place)
    here = Path.cwd()
    catalogue.normalize_hrefs(str(here), strategy=pystac.layout.TemplateLayoutStrategy(item_template=""))
    catalogue.make_all_asset_hrefs_relative()
    catalogue.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)


def add(catalogue, items, place):
    """Add the item of the result."""
    bounds = rasterio.transform.array_bounds(place["height"], place["width"], place["transform"])
    west, south, east, north = bounds
    ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    times = sorted(item.datetime or item.common_metadata.start_datetime for item in items)
    span = {"start_datetime": times[0], "end_datetime": times[-1]} if times[0] != times[-1] else {}
    result = pystac.Item(
        id="water",
        geometry=transform_geom(place["crs"], "EPSG:4326", {"type": "Polygon", "coordinates": [ring]}),
        bbox=list(transform_bounds(place["crs"], "EPSG:4326", *bounds)),
        datetime=None if span else times[0],
        properties={},
        **span,
    )
    bands = [{"name": "water", "data_type": "uint8", "nodata": NODATA, "unit": "%"}]
    href = str(Path.cwd() / "water.tif")
    asset = pystac.Asset(href, title="Water", media_type=pystac.MediaType.COG, roles=["data"])
    asset.extra_fields["bands"] = bands
    result.add_asset("water", asset)
    catalogue.add_item(result)


def load(path):
    """Return the first band and the profile of a raster."""
    with rasterio.open(path) as source:
        return source.read(1), source.profile


def save(name, array, profile):
    """Write one band."""
    with rasterio.open(name, "w", **(profile | {"dtype": str(array.dtype), "count": 1})) as target:
        target.write(array, 1)


if __name__ == "__main__":
    options = arguments()
    {"crop": crop, "index": index, "threshold": threshold, "stac": stac}[options.step](options)
