"""Vector files and CRS names, as AOI and grids read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from upscaling.errors import ConfigError

__all__ = ["crs_name", "read_vector"]

_LONLAT = "EPSG:4326"


def crs_name(crs: Any) -> str:
    """Return ``EPSG:<n>`` for a pyproj CRS (CRS84 counts as 4326: x is longitude here, always), else its WKT2."""
    if crs.is_compound:
        crs = crs.sub_crs_list[0]
    crs = crs.to_2d()
    if crs.equals("EPSG:4326", ignore_axis_order=True) or crs.equals("OGC:CRS84"):
        return _LONLAT
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt("WKT2_2019"))


def read_vector(text: str, base: Path, *, key: str, columns: list[str] | None = None) -> tuple[Any, Path]:
    """Read a vector file (``path`` or ``path|layername=name``) that has geometries and a CRS.

    Parameters
    ----------
    key
        The configuration key to blame.
    columns
        Attributes to read; None for all.

    Returns
    -------
    frame, path
        A GeoDataFrame and where it was read from.

    Raises
    ------
    ConfigError
        If that is not possible.
    """
    import geopandas as gpd

    text, _, layer = text.partition("|layername=")
    path = base / Path(text).expanduser()
    if not path.exists():
        raise ConfigError("no such file", key=key, file=path)
    try:
        if path.suffix.lower() in {".parquet", ".geoparquet"}:
            frame = gpd.read_parquet(path)
        else:
            frame = gpd.read_file(path, layer=layer or _only_layer(path, key), columns=columns)
    except ConfigError:
        raise
    except Exception as error:  # GDAL, Arrow and the file system each raise families of their own
        raise ConfigError(f"cannot be read as a vector file: {error}", key=key, file=path) from None
    if not isinstance(frame, gpd.GeoDataFrame):
        raise ConfigError("has no geometries", key=key, file=path)
    if frame.crs is None:
        raise ConfigError("has no CRS (a shapefile needs its .prj): save it with one", key=key, file=path)
    return frame, path


def _only_layer(path: Path, key: str) -> str:
    import pyogrio

    layers = [str(row[0]) for row in pyogrio.list_layers(path) if row[1] is not None]
    if len(layers) != 1:
        hint = f": name one, as in {path.name}|layername={layers[0]}" if layers else " with geometries"
        raise ConfigError(f"has {len(layers)} layers ({', '.join(layers)}){hint}", key=key, file=path)
    return layers[0]
