"""Processes for a real pygeoapi: they run inside the server, and know nothing of the package under test."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import rasterio
from pygeoapi.process.base import BaseProcessor, ProcessorExecuteError
from pygeoapi.process.manager.tinydb_ import TinyDBManager
from rasterio.transform import from_origin

UTM = "http://www.opengis.net/def/crs/EPSG/0/32632"
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
ASYNC = ["sync-execute", "async-execute"]


def counted(data):
    """Note every execution: what a platform would bill."""
    with Path(os.environ["OGC_EXECUTIONS"]).open("a") as stream:
        stream.write(json.dumps(data, sort_keys=True) + "\n")


def ndvi(bbox):
    """NDVI of the scene inside bounds on its lattice, NaN where it has no pixel, as a GeoTIFF's bytes."""
    west, south, east, north = bbox
    width, height = round((east - west) / 10), round((north - south) / 10)
    with rasterio.open(os.environ["OGC_SCENE"]) as source:
        window = source.window(west, south, east, north)
        red, nir = source.read([1, 4], window=window, boundless=True, fill_value=0).astype("float32")
    red[red == 0], nir[nir == 0] = np.nan, np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        pixels = ((nir - red) / (nir + red)).astype("float32")
    assert pixels.shape == (height, width)
    memory = io.BytesIO()
    profile = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": "float32", "nodata": np.nan}
    with rasterio.open(memory, "w", crs="EPSG:32632", transform=from_origin(west, north, 10, 10), **profile) as target:
        target.write(pixels, 1)
    return memory.getvalue()


BBOX = {
    "title": "Area",
    "schema": {
        "type": "object",
        "format": "ogc-bbox",
        "required": ["bbox"],
        "properties": {
            "bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
            "crs": {"type": "string", "enum": [CRS84, UTM]},
        },
    },
}


class Ndvi(BaseProcessor):
    metadata: ClassVar = {
        "version": "1.0.0",
        "id": "ndvi",
        "title": "NDVI of a box",
        "description": "NDVI",
        "jobControlOptions": ASYNC,
        "inputs": {
            "area": BBOX,
            "seconds": {"schema": {"type": "number", "default": 0}, "minOccurs": 0},
            "fail": {"schema": {"type": "boolean"}, "minOccurs": 0},
        },
        "outputs": {"ndvi": {"schema": {"type": "string", "contentMediaType": "image/tiff"}}},
    }

    def __init__(self, processor_def):
        super().__init__(processor_def, self.metadata)

    def execute(self, data, outputs=None):
        counted(data)
        time.sleep(data.get("seconds", 0))
        if data.get("fail"):
            raise ProcessorExecuteError("the moon is in the wrong phase")
        if data["area"]["crs"] != UTM:
            raise ProcessorExecuteError(f"wrong CRS {data['area']['crs']}")
        return "image/tiff", ndvi(data["area"]["bbox"])


class SyncNdvi(Ndvi):
    metadata: ClassVar = {**Ndvi.metadata, "id": "ndvi-sync", "jobControlOptions": ["sync-execute"]}


class Echo(BaseProcessor):
    """Gives back what it got: one input of each type."""

    metadata: ClassVar = {
        "version": "0.1.0",
        "id": "echo",
        "title": "Echo",
        "description": "Echo",
        "jobControlOptions": ASYNC,
        "inputs": {
            "area": {"schema": {"allOf": [{"format": "ogc-bbox"}, {"$ref": "https://schemas.example.org/bbox.yaml"}]}},
            "outline": {"schema": {"type": "object", "format": "geojson-feature"}},
            "period": {"schema": {"type": "array", "items": {"type": "string", "format": "date-time"}, "maxItems": 2}},
            "number": {"schema": {"type": "number", "minimum": 0}},
            "count": {"schema": {"type": "integer", "default": 3}},
            "flag": {"schema": {"type": "boolean"}, "minOccurs": 0},
            "word": {"schema": {"type": "string", "enum": ["red", "green"]}},
            "several": {"schema": {"type": "string"}, "minOccurs": 1, "maxOccurs": 3},
            "list": {"schema": {"type": "array", "items": {"type": "number"}}},
            "settings": {"schema": {"type": "object", "properties": {"depth": {"type": "integer"}}}},
            "table": {"schema": {"type": "string", "contentMediaType": "text/csv"}},
            "product": {"schema": {"type": "string", "contentMediaType": "application/json"}, "minOccurs": 0},
        },
        "outputs": {"echo": {"schema": {"type": "object", "contentMediaType": "application/json"}}},
    }

    def __init__(self, processor_def):
        super().__init__(processor_def, self.metadata)

    def execute(self, data, outputs=None):
        counted(data)
        return "application/json", {"echo": {"value": json.dumps(data), "mediaType": "text/plain"}}


class EchoManager(TinyDBManager):
    """pygeoapi's manager, which also keeps what a job was sent: pygeoapi shows it as the job's ``parameters``."""

    _sent = threading.local()

    def execute_process(self, process_id, data_dict, *arguments, **options):
        self._sent.inputs = data_dict
        return super().execute_process(process_id, data_dict, *arguments, **options)

    def add_job(self, job_metadata):
        return super().add_job({**job_metadata, "parameters": {"inputs": self._sent.inputs}})
