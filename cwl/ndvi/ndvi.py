"""NDVI of one tile of a Sentinel-2 like scene, written as a COG in a STAC catalogue."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds, transform_geom
from rasterio.windows import Window, from_bounds

VERSION = "0.1.0"


def arguments():
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scene", required=True, type=Path, help="folder of a STAC catalogue, or a GeoTIFF")
    parser.add_argument("--bbox", required=True, help="west,south,east,north in the units of --epsg")
    parser.add_argument("--epsg", required=True, help="EPSG:32632")
    parser.add_argument("--resolution", required=True, type=float, help="pixel size in the units of --epsg")
    parser.add_argument("--red", default="B04")
    parser.add_argument("--nir", default="B08")
    parser.add_argument("--bands", default="B04,B03,B02,B08,SCL", help="bands of a GeoTIFF, in file order")
    parser.add_argument("--mask", nargs="?", const="", default="", help="SCL classes that become NaN, comma-separated")
    parser.add_argument("--datetime", help="when a GeoTIFF was taken")
    parser.add_argument("--out", required=True, type=Path)
    return parser.parse_args()


class Grid:
    """The output's CRS, transform and shape."""

    def __init__(self, bbox, epsg, resolution):
        self.bounds = west, south, east, north = tuple(float(edge) for edge in bbox.split(","))
        self.crs = CRS.from_user_input(epsg)
        self.width, self.height = round((east - west) / resolution), round((north - south) / resolution)
        off = max(abs(west + self.width * resolution - east), abs(south + self.height * resolution - north))
        if min(self.width, self.height) < 1 or off > 1e-6 * resolution:
            sys.exit(f"ndvi: the bounding box {bbox} is not a whole number of pixels of {resolution:g} in {epsg}")
        self.transform = from_origin(west, north, resolution, resolution)

    def read(self, href, index):
        """Return one band on this grid, and the mask of the pixels that hold data."""
        with rasterio.open(href) as source:
            nodata = 0 if source.nodata is None else source.nodata
            window = from_bounds(*self.bounds, transform=source.transform)
            same_pixels = source.crs == self.crs and source.res == (self.transform.a, -self.transform.e)
            offsets = round(window.col_off), round(window.row_off)
            if same_pixels and np.allclose(offsets, (window.col_off, window.row_off), rtol=0, atol=1e-6):
                window = Window(*offsets, self.width, self.height)
                data = source.read(index, window=window, boundless=True, fill_value=nodata)
            else:  # another UTM zone or another pixel size; nearest, so that classes stay classes
                with WarpedVRT(
                    source,
                    crs=self.crs,
                    transform=self.transform,
                    width=self.width,
                    height=self.height,
                    nodata=nodata,
                    resampling=Resampling.nearest,
                ) as warped:
                    data = warped.read(index)
        return data, data != nodata

    def footprint(self):
        """Return the corners as a GeoJSON polygon in lon/lat."""
        west, south, east, north = self.bounds
        corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
        return transform_geom(self.crs, "EPSG:4326", {"type": "Polygon", "coordinates": [corners]})


def geotiff_scene(path, names, when):
    """Return one scene: band name -> (href, band number), and its time."""
    if when is None:
        sys.exit(f"ndvi: {path.name} does not say when it was taken: give --datetime")
    with rasterio.open(path) as source:
        if source.count != len(names):
            sys.exit(f"ndvi: {path.name} has {source.count} bands, but --bands names {len(names)}: {', '.join(names)}")
    return {name: (str(path), index) for index, name in enumerate(names, 1)}, datetime.fromisoformat(when)


def stac_scenes(folder):
    """Yield the scenes of a STAC catalogue: an asset per band, or an asset that lists its bands."""
    for item in pystac.Catalog.from_file(str(folder / "catalog.json")).get_items(recursive=True):
        bands = {}
        for key, asset in item.assets.items():
            listed = asset.extra_fields.get("bands") or asset.extra_fields.get("eo:bands") or []
            names = [band.get("name") for band in listed]
            href = asset.get_absolute_href()
            bands.setdefault(key, (href, 1))
            bands.update({name: (href, index) for index, name in enumerate(names, 1) if name})
        yield bands, item.datetime or item.common_metadata.start_datetime


def ndvi(grid, scenes, red_name, nir_name, classes):
    """Return the index of the first scene with data at each pixel, and the times of the scenes that were used."""
    result = np.full((grid.height, grid.width), np.nan, dtype="float32")
    times = []
    for bands, when in scenes:
        wanted = [red_name, nir_name] + (["SCL"] if classes else [])
        missing = [name for name in wanted if name not in bands]
        if missing:
            sys.exit(f"ndvi: the scene has no band {', '.join(missing)}; it has {', '.join(sorted(bands))}")
        red, red_valid = grid.read(*bands[red_name])
        nir, nir_valid = grid.read(*bands[nir_name])
        valid = red_valid & nir_valid & np.isnan(result)
        if classes:
            scl, _ = grid.read(*bands["SCL"])
            valid &= ~np.isin(scl, classes)
        red, nir = red.astype("float32"), nir.astype("float32")
        total = nir + red
        np.divide(nir - red, total, out=result, where=valid & (total != 0))
        if valid.any():
            times.append(when)
    return result, times


def write(out, grid, index, times):
    """Write the COG and its STAC catalogue; a catalogue without an item if there is no data."""
    out.mkdir()
    catalogue = pystac.Catalog(id="ndvi", title="NDVI", description="Normalised difference vegetation index of a tile")
    if not np.isnan(index).all():
        with rasterio.open(
            out / "ndvi.tif",
            "w",
            driver="COG",
            width=grid.width,
            height=grid.height,
            count=1,
            dtype="float32",
            crs=grid.crs,
            transform=grid.transform,
            nodata=np.nan,
            compress="DEFLATE",
            predictor="YES",
            blocksize=512,
        ) as target:
            target.write(index, 1)
            target.set_band_description(1, "ndvi")
        span = {"start_datetime": min(times), "end_datetime": max(times)} if len(set(times)) > 1 else {}
        item = pystac.Item(
            id="ndvi",
            geometry=grid.footprint(),
            bbox=list(transform_bounds(grid.crs, "EPSG:4326", *grid.bounds)),
            datetime=min(times) if not span else None,
            properties={},
            **span,
        )
        item.properties |= {
            "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "processing:software": {"eo-upscaling-ndvi": VERSION},
        }
        item.stac_extensions.append("https://stac-extensions.github.io/processing/v1.2.0/schema.json")
        item.add_asset(
            "ndvi",
            pystac.Asset(
                href=str(out.resolve() / "ndvi.tif"),
                title="NDVI",
                media_type=pystac.MediaType.COG,
                roles=["data"],
                extra_fields={"bands": [{"name": "ndvi", "data_type": "float32", "nodata": "nan"}]},
            ),
        )
        catalogue.add_item(item)
    catalogue.normalize_hrefs(str(out.resolve()), strategy=pystac.layout.TemplateLayoutStrategy(item_template=""))
    catalogue.make_all_asset_hrefs_relative()
    catalogue.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)


def main():
    """Compute and write one tile."""
    options = arguments()
    grid = Grid(options.bbox, options.epsg, options.resolution)
    if options.scene.is_dir():
        scenes = stac_scenes(options.scene)
    else:
        scenes = [geotiff_scene(options.scene, options.bands.split(","), options.datetime)]
    classes = [int(value) for value in options.mask.split(",") if value]
    index, times = ndvi(grid, scenes, options.red, options.nir, classes)
    write(options.out, grid, index, times)


if __name__ == "__main__":
    main()
