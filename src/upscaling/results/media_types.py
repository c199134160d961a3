"""Media types of what a run keeps: apart from what reads files, which takes a quarter of a second to import."""

from __future__ import annotations

__all__ = ["COG_MEDIA_TYPE", "GEOTIFF_MEDIA_TYPE", "MEDIA_TYPES"]

GEOTIFF_MEDIA_TYPE = "image/tiff; application=geotiff"
COG_MEDIA_TYPE = f"{GEOTIFF_MEDIA_TYPE}; profile=cloud-optimized"
MEDIA_TYPES = {
    ".csv": "text/csv",
    ".fgb": "application/vnd.flatgeobuf",
    ".geojson": "application/geo+json",
    ".gpkg": "application/geopackage+sqlite3",
    ".h5": "application/x-hdf5",
    ".jp2": "image/jp2",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".nc": "application/netcdf",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".txt": "text/plain",
    ".xml": "application/xml",
    ".zarr": "application/vnd.zarr",
    ".zip": "application/zip",
}
