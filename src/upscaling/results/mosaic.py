"""One raster over all tiles: a tile index that GDAL opens as a mosaic, a COG of it, a quicklook."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from upscaling.errors import UpscalingError
from upscaling.model import Bounds
from upscaling.results.parts import Part, read_parts
from upscaling.results.projection import metres_per_unit
from upscaling.util.files import written_whole

if TYPE_CHECKING:
    import numpy as np

__all__ = ["mosaic_parts", "write_mosaic", "write_mosaic_cog", "write_quicklook"]

LONLAT = "EPSG:4326"
# Anchors of a colour ramp from dark blue over green to yellow, even in lightness (after viridis).
RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


def write_mosaic(
    collection: Path,
    target: Path,
    *,
    asset: str,
    step: str = "",
    crs: str | None = None,
    resolution: float | None = None,
    owners: Mapping[str, str] | None = None,
) -> Path:
    """Write a GDAL raster tile index (GTI, GDAL 3.9 or later) over one asset of all items.

    It is one GeoPackage with relative paths, so a run's folder can be moved; QGIS, gdal and rasterio open it as a
    raster. Tiles in the mosaic's CRS are shown to the bit, others are reprojected on the fly, nearest neighbour.

    Parameters
    ----------
    collection
        A ``collection.json`` with relative links.
    target
        Must end in ``.gti.gpkg``; that is how GDAL knows it.
    step
        Which time step (or row of parameters), where tiles have several: what item ids have after the tile's.
    crs
        Of the mosaic. The tiles' own by default; EPSG:4326 where they have several.
    resolution
        Pixel size in units of ``crs``; the finest of the tiles by default.
    owners
        Tile → WKT, in the tile's CRS, of the part that is its own where tiles of two zones overlap. There each tile's
        own part lies on top; what is left of a tile lies below, so that no seam of empty pixels is left between two
        lattices. It needs a nodata value.

    Raises
    ------
    UpscalingError
        No item (of that step) has the asset, or ``target`` has another ending.
    """
    parts, _, _ = read_parts(collection, asset)
    steps = sorted({part.step for part in parts} - {""})
    parts = [part for part in parts if part.step == step]
    if not parts:
        known = f" for step {step!r}; there are steps {', '.join(steps)}" if steps else ""
        raise UpscalingError(f"no item of {collection} has a raster asset {asset}{known}")
    return mosaic_parts(parts, target, crs=crs, resolution=resolution, owners=owners)


def mosaic_parts(
    parts: Sequence[Part],
    target: Path,
    *,
    crs: str | None = None,
    resolution: float | None = None,
    resampling: str = "nearest",
    owners: Mapping[str, str] | None = None,
) -> Path:
    """Write the mosaic of these rasters; see `write_mosaic`.

    Parameters
    ----------
    resampling
        For tiles in another CRS than the mosaic's, or of another resolution: a name that GDAL knows.
    """
    import geopandas as gpd
    import pyogrio
    import shapely

    if not target.name.endswith(".gti.gpkg"):
        raise UpscalingError(f"a mosaic must be named *.gti.gpkg (found {target.name}), or GDAL does not open it")
    parts = list(parts)
    systems = {part.crs for part in parts}
    crs = crs or (systems.pop() if len(systems) == 1 else LONLAT)
    resolution = resolution or min(_in_units(part, crs) for part in parts)
    outlines = [_outline(part, crs) for part in parts]
    bounds = _extent(outlines, resolution, anchored=all(part.crs == crs for part in parts))
    if owners:
        shared = [part for part in parts if owners.get(part.tile)]
        parts = [part if owners.get(part.tile) else replace(part, rank=1) for part in parts]
        parts += [_cut(part, owners[part.tile], target) for part in shared]
    # a reprojected tile is laid on the mosaic's pixels, so it may reach over its outline
    margins = [0.0 if part.crs == crs else 2 * resolution for part in parts]
    outlines = [_outline(part, crs) for part in parts]
    outlines = [
        shapely.buffer(outline, margin, join_style="mitre") for outline, margin in zip(outlines, margins, strict=True)
    ]
    frame = gpd.GeoDataFrame(
        {
            "location": [_relative(part.path, target.parent) for part in parts],
            "tile": [part.item for part in parts],
            "rank": [part.rank for part in parts],
        },
        geometry=outlines,
        crs=crs,
    )
    facts = {"LOCATION_FIELD": "location", "SORT_FIELD": "rank", "SORT_FIELD_ASC": "YES", "SRS": crs}
    facts["RESAMPLING"] = resampling.upper()
    facts |= {"RESX": repr(resolution), "RESY": repr(resolution)}
    facts |= {name: repr(value) for name, value in zip(("MINX", "MINY", "MAXX", "MAXY"), bounds, strict=True)}
    with written_whole(target) as temporary:
        temporary.unlink()  # GDAL would take the empty file for a broken GeoPackage
        pyogrio.write_dataframe(frame, temporary, layer="tiles", driver="GPKG", layer_metadata=facts)
    return target


def write_mosaic_cog(
    mosaic: Path,
    target: Path,
    *,
    band: int | None = None,
    crs: str | None = None,
    resolution: float | None = None,
    resampling: str = "nearest",
) -> Path:
    """Write a mosaic as one COG, in its own CRS and resolution or in others.

    Parameters
    ----------
    band
        Write this band only, from 1; all of them by default.
    crs, resolution
        Reproject to these; pixels then lie on whole multiples of ``resolution`` (units of ``crs``).
    resampling
        A name that GDAL knows, for that reprojection.
    """
    import rasterio
    from rasterio.shutil import copy

    with written_whole(target) as temporary, ExitStack() as stack:
        dataset = stack.enter_context(rasterio.open(_band_view(mosaic, band) if band else mosaic))
        floating = dataset.dtypes[0].startswith("float")
        if crs or resolution:
            dataset = stack.enter_context(_warped(dataset, crs, resolution, resampling))
        overviews = "AVERAGE" if floating else "NEAREST"
        options = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": 512, "OVERVIEW_RESAMPLING": overviews}
        copy(dataset, temporary, driver="COG", BIGTIFF="IF_SAFER", **options)
    return target


def _band_view(mosaic: Path, band: int) -> str:
    """Return a VRT, as text, that shows one band of a mosaic with all that is said of it."""
    from xml.etree import ElementTree

    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    with MemoryFile(ext=".vrt") as memory:
        copy(mosaic.resolve(), memory.name, driver="VRT")
        view = ElementTree.fromstring(memory.read())  # noqa: S314 -- GDAL wrote it
    for shown in view.findall("VRTRasterBand"):
        if shown.get("band") == str(band):
            shown.set("band", "1")
        else:
            view.remove(shown)
    return ElementTree.tostring(view, encoding="unicode")


def _warped(dataset: Any, crs: str | None, resolution: float | None, resampling: str) -> Any:
    """Return a view of a dataset in another CRS and on another lattice, anchored at zero."""
    import numpy as np
    from rasterio import Affine
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT
    from rasterio.warp import calculate_default_transform

    given = {"resolution": resolution} if resolution else {}
    system = crs or dataset.crs
    wide, width, height = calculate_default_transform(
        dataset.crs, system, dataset.width, dataset.height, *dataset.bounds, **given
    )
    pixel = resolution or wide.a
    low = np.floor(np.array([wide.c, wide.f - height * pixel]) / pixel + 1e-9)
    high = np.ceil(np.array([wide.c + width * pixel, wide.f]) / pixel - 1e-9)
    columns, rows = (high - low).astype(int).tolist()
    transform = Affine(pixel, 0, float(low[0]) * pixel, 0, -pixel, float(high[1]) * pixel)
    method = Resampling[resampling]
    return WarpedVRT(dataset, crs=system, transform=transform, width=columns, height=rows, resampling=method)


def write_quicklook(
    raster: Path, target: Path, *, size: int = 1024, colours: Mapping[int, tuple[int, int, int, int]] | None = None
) -> Path:
    """Write a PNG of a raster, no-data transparent: three bands or more as red, green, blue, else one in colours.

    Parameters
    ----------
    colours
        Value -> red, green, blue, opacity, for a first band of classes.
    size
        Pixels of the longer side, at most.
    """
    import numpy as np
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    with rasterio.open(raster) as dataset:
        width, height = float(dataset.width), float(dataset.height)
        if dataset.crs and dataset.crs.is_geographic:
            width *= float(np.cos(np.radians((dataset.bounds.top + dataset.bounds.bottom) / 2)))
        scale = min(1.0, size / max(width, height))
        shape = (max(1, round(height * scale)), max(1, round(width * scale)))
        bands = [1, 2, 3] if dataset.count >= 3 and not colours else [1]
        values = dataset.read(bands, out_shape=(len(bands), *shape), masked=True).astype("float64")
    valid = ~np.ma.getmaskarray(values).any(axis=0) & np.isfinite(values.data).all(axis=0)
    picture = np.zeros((4, *shape), "uint8")
    if colours:
        for value, colour in colours.items():
            picture[:, valid & (values[0].data == value)] = np.array(colour, "uint8")[:, np.newaxis]
    else:
        stretched = [_stretched(band.data, valid) for band in values]
        picture[:3] = np.array(stretched) * 255 if len(bands) == 3 else _coloured(stretched[0])
        picture[3] = valid * 255
    picture[:3, ~valid] = 0
    profile = {"driver": "PNG", "width": shape[1], "height": shape[0], "count": 4, "dtype": "uint8"}
    with written_whole(target) as temporary, MemoryFile() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a picture lies nowhere
        with memory.open(**profile) as png:
            png.write(picture)
        temporary.write_bytes(memory.read())
    return target


def _stretched(values: np.ndarray[Any, Any], valid: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Scale the range between the 2nd and the 98th percentile to 0…1."""
    import numpy as np

    if not valid.any():
        return np.zeros(values.shape)
    low, high = np.percentile(values[valid], [2, 98])
    stretched: np.ndarray[Any, Any] = np.clip((np.where(valid, values, low) - low) / ((high - low) or 1.0), 0, 1)
    return stretched


def _coloured(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    places = np.linspace(0, 1, len(RAMP))
    return np.array([np.interp(values, places, [colour[channel] for colour in RAMP]) for channel in range(3)])


def _in_units(part: Part, crs: str) -> float:
    """Return a tile's pixel size in units of another CRS, roughly."""
    import pyproj

    systems = [pyproj.CRS.from_user_input(part.crs), pyproj.CRS.from_user_input(crs)]
    own, wanted = map(metres_per_unit, systems)
    return part.resolution if systems[0] == systems[1] else part.resolution * own / wanted


def _outline(part: Part, crs: str) -> Any:
    import numpy as np
    import pyproj
    import shapely

    box = shapely.box(*part.bounds)
    if part.crs == crs:
        return box
    to_mosaic = pyproj.Transformer.from_crs(part.crs, crs, always_xy=True)
    dense = shapely.segmentize(
        box, max(part.bounds.east - part.bounds.west, part.bounds.north - part.bounds.south) / 20
    )
    return shapely.transform(dense, lambda points: np.column_stack(to_mosaic.transform(points[:, 0], points[:, 1])))


def _extent(outlines: list[Any], resolution: float, *, anchored: bool) -> Bounds:
    """Return the bounds of all; on whole pixels from zero where the tiles have no common lattice."""
    import numpy as np
    import shapely

    west, south, east, north = shapely.total_bounds(outlines).tolist()
    if anchored:
        return Bounds(west, south, east, north)
    low = np.floor(np.array([west, south]) / resolution) * resolution
    high = np.ceil(np.array([east, north]) / resolution) * resolution
    return Bounds(*low.tolist(), *high.tolist())


def _relative(path: Path, folder: Path) -> str:
    if str(path).startswith("/vsi"):  # elsewhere
        return str(path)
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _cut(part: Part, owner: str, target: Path) -> Part:
    """Write a VRT that shows only a tile's own part, and return it as a part that lies on top."""
    import rasterio

    with rasterio.open(part.path) as dataset:
        if dataset.nodata is None:
            raise UpscalingError(
                f"{part.path.name} has no nodata value, so its overlap with the next zone cannot be cut"
            )
        path = target.with_name(target.name.removesuffix(".gti.gpkg")) / f"{part.item}.vrt"
        text = _cut_vrt(dataset, owner, _relative(part.path, path.parent))
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return replace(part, path=path, rank=1)


def _cut_vrt(dataset: Any, owner: str, source: str) -> str:
    """Return a warped VRT on the same pixels with a cutline (format: gdal.org/drivers/raster/vrt.html)."""
    import numpy as np
    import shapely

    types = {"int8": "Int8", "uint8": "Byte", "int16": "Int16", "uint16": "UInt16", "int32": "Int32"}
    types |= {"uint32": "UInt32", "float32": "Float32", "float64": "Float64"}
    kind, nodata, transform = types[dataset.dtypes[0]], repr(dataset.nodata), dataset.transform
    inverse = ~transform
    forward = ",".join(repr(value) for value in transform.to_gdal())
    backward = ",".join(repr(value) for value in inverse.to_gdal())
    # the cutline is in pixels of the source
    steps, start = np.array([inverse.a, inverse.e]), np.array([inverse.c, inverse.f])
    pixels = shapely.transform(shapely.from_wkt(owner), lambda points: points * steps + start)
    bands = range(1, dataset.count + 1)
    raster_bands = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{band}" subClass="VRTWarpedRasterBand">'
        f"<NoDataValue>{nodata}</NoDataValue></VRTRasterBand>"
        for band in bands
    )
    mapping = "".join(
        f'<BandMapping src="{band}" dst="{band}"><SrcNoDataReal>{nodata}</SrcNoDataReal>'
        f"<DstNoDataReal>{nodata}</DstNoDataReal></BandMapping>"
        for band in bands
    )
    return (
        f'<VRTDataset rasterXSize="{dataset.width}" rasterYSize="{dataset.height}" subClass="VRTWarpedDataset">'
        f"<SRS>{escape(dataset.crs.to_wkt())}</SRS><GeoTransform>{forward}</GeoTransform>{raster_bands}"
        "<BlockXSize>512</BlockXSize><BlockYSize>512</BlockYSize>"
        "<GDALWarpOptions><ResampleAlg>NearestNeighbour</ResampleAlg>"
        f'<WorkingDataType>{kind}</WorkingDataType><Option name="INIT_DEST">NO_DATA</Option>'
        f'<SourceDataset relativeToVRT="1">{escape(source)}</SourceDataset>'
        "<Transformer><GenImgProjTransformer>"
        f"<SrcGeoTransform>{forward}</SrcGeoTransform><SrcInvGeoTransform>{backward}</SrcInvGeoTransform>"
        f"<DstGeoTransform>{forward}</DstGeoTransform><DstInvGeoTransform>{backward}</DstInvGeoTransform>"
        f"</GenImgProjTransformer></Transformer><BandList>{mapping}</BandList>"
        f"<Cutline>{pixels.wkt}</Cutline><CutlineBlendDist>0</CutlineBlendDist></GDALWarpOptions></VRTDataset>"
    )
