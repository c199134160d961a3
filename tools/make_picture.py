"""Make the picture of the README: NDVI of a real Sentinel-2 scene, tile by tile, as a mosaic shows it.

The package is `cwl/ndvi.cwl`.

``python tools/make_picture.py SCENE.tif`` (bands B04 B03 B02 B08 SCL).
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import rasterio
import yaml
from PIL import Image
from rasterio.warp import transform_bounds

from upscaling.api import run

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pictures" / "ndvi.png"


def main(scene: Path) -> None:
    """Run the package over the scene and keep a small copy of the mosaic's picture."""
    with rasterio.open(scene) as raster:
        area = transform_bounds(raster.crs, "EPSG:4326", *raster.bounds)
    parameters = {"scene": str(scene.resolve()), "datetime": "2022-06-12T10:10:00Z"}
    config = {
        "run": "picture",
        "algorithm": {"source": str(ROOT / "cwl/ndvi.cwl"), "parameters": parameters},
        "area": {"aoi": list(area), "grid": "utm-2km"},
        "backend": {"kind": "cwl", "container": "none", "engine": "cwltool", "chunk": 10},
    }
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("config.yaml").write_text(yaml.safe_dump(config))
        finished = run("config.yaml")
        (picture,) = finished.folder.glob("mosaic/*.png")
        small = Image.open(picture).convert("RGBA")
        small = small.crop(small.getchannel("A").getbbox())  # the tiles reach beyond the scene
        small.thumbnail((700, 500))
        PICTURE.parent.mkdir(exist_ok=True)
        small.quantize(128).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
