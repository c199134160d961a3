"""Write the collection that the jobs of the suite load, as ones: ``python data.py FOLDER`` prints its list."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def write_data(folder: Path) -> Path:
    """Return the path of the list of collections."""
    import numpy as np
    import rasterio

    folder.mkdir(parents=True, exist_ok=True)
    place = {"crs": "EPSG:4326", "transform": rasterio.Affine(0.01, 0, 16, 0, -0.01, 48.5), "width": 80, "height": 60}
    with rasterio.open(folder / "ones.tif", "w", driver="GTiff", count=1, dtype="uint8", **place) as file:
        file.write(np.ones((1, 60, 80), "uint8"))
    item = {"file": "ones.tif", "datetime": "2020-06-01T00:00:00Z", "bands": ["B01"]}
    path = folder / "collections.yaml"
    path.write_text(json.dumps({"collections": {"CGLS_SSM_1KM": {"items": [item]}}}))
    return path


if __name__ == "__main__":
    print(write_data(Path(sys.argv[1])))
