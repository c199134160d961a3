"""The four tools of the package; each writes out.tif or a STAC catalogue into its working directory."""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import from_bounds

parser = argparse.ArgumentParser()
parser.add_argument("step")
parser.add_argument("--item", action="append", type=Path)
parser.add_argument("--aoi")
parser.add_argument("--epsg")
parser.add_argument("--band")
parser.add_argument("--rasters", action="extend", nargs="+", type=Path)
options = parser.parse_args()


def write(array, profile):
    profile = profile | {"dtype": str(array.dtype), "height": array.shape[0], "width": array.shape[1], "count": 1}
    with rasterio.open("out.tif", "w", **profile | {"tiled": False, "nodata": None}) as target:
        target.write(array, 1)


if options.step == "crop":
    item = json.loads((options.item[0] / "item.json").read_text())
    with rasterio.open(options.item[0] / item["assets"][options.band]["href"]) as source:
        assert str(source.crs) == options.epsg
        bounds = [float(edge) for edge in options.aoi.split(",")]
        window = from_bounds(*bounds, source.transform)
        write(source.read(1, window=window), source.profile | {"transform": source.window_transform(window)})
elif options.step == "index":
    bands = []
    for path in options.rasters:
        with rasterio.open(path) as source:
            bands.append(source.read(1).astype("float32"))
            profile = source.profile
    with np.errstate(divide="ignore", invalid="ignore"):
        write((bands[0] - bands[1]) / (bands[0] + bands[1]), profile)
elif options.step == "threshold":
    with rasterio.open(options.rasters[0]) as source:
        write((source.read(1) > -0.5).astype("uint8"), source.profile)
else:
    links = []
    for folder, mask in zip(options.item, options.rasters, strict=True):
        item = json.loads((folder / "item.json").read_text())
        target = Path(item["id"])
        target.mkdir()
        shutil.copy(mask, target / "water.tif")
        item["assets"] = {"water": {"href": "./water.tif", "type": "image/tiff", "roles": ["data"]}}
        (target / "item.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./{target}/item.json"})
    head = {"type": "Catalog", "stac_version": "1.0.0", "id": "water", "description": "water", "links": links}
    Path("catalog.json").write_text(json.dumps(head))
