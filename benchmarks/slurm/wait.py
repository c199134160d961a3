"""Wait, then write a raster of ones: the work of one tile in this benchmark."""

import argparse
import time

import numpy as np
import rasterio
from rasterio.transform import from_bounds

PARSER = argparse.ArgumentParser()
PARSER.add_argument("seconds", type=float)
PARSER.add_argument("epsg")
PARSER.add_argument("--bbox", required=True)

if __name__ == "__main__":
    order = PARSER.parse_args()
    time.sleep(order.seconds)
    west, south, east, north = map(float, order.bbox.split(","))
    size = round((east - west) / 100)
    place = {"crs": order.epsg, "transform": from_bounds(west, south, east, north, size, size)}
    with rasterio.open("ones.tif", "w", width=size, height=size, count=1, dtype="uint8", **place) as raster:
        raster.write(np.ones((1, size, size), "uint8"))
