"""APEx's recommendations for STAC (STAC-REC-01 to 12) and what ESA's Project Results Repository asks for, as checks.

Sources: APEx documentation, "Data Provider Guidelines"; the PRR's registration client and the Open Science Catalog's
tools for the fields of a collection. Every message begins with the requirement that is broken and holds nothing of
one tile alone, so that a fault of ten thousand items is said once. They are plain code, as they run on every item
that is gathered: a JSON schema takes a thousand times as long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from upscaling.results.item import EXTENSIONS

__all__ = ["PRR_FIELDS", "collection_problems", "homogeneity_problems", "is_raster", "item_problems"]

PRR_FIELDS = (
    "osc:project",
    "osc:initiative",
    "osc:contract-number",
    "osc:project_website",
    "osc:project_description",
    "osc:variables",
    "osc:missions",
    "cf:parameter",
    "processing:datetime",
    "themes",
)
PRR_ID = re.compile(r"[A-Za-z0-9._-]+")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
VERSION = re.compile(r"1\.(?:[1-9]|\d\d+)\.\d+")
COLOUR = re.compile(r"[0-9A-Fa-f]{6}")
CUBES = ("application/netcdf", "application/x-netcdf", "application/x-hdf5", "application/vnd.zarr")
THUMBNAILS = {"image/jpeg", "image/png", "image/webp"}
AXES = {"x", "y", "z"}

Stac = Mapping[str, Any]


def is_raster(asset: Stac) -> bool:
    """Whether an asset is a GeoTIFF."""
    return str(asset.get("type", "")).startswith("image/tiff")


def item_problems(item: Stac) -> Iterator[str]:
    """Yield a line, beginning with its requirement, for each recommendation that an item does not follow."""
    properties, assets = item.get("properties", {}), item.get("assets", {})
    yield from _core(item)
    yield from _times(properties)
    if _needs_no_asset(item):
        return
    if not any("data" in asset.get("roles", ()) for asset in assets.values()):
        yield "STAC-REC-04: no asset has the role data"
    rasters = {key: asset for key, asset in assets.items() if is_raster(asset)}
    for key, asset in assets.items():
        lacking = [name for name in ("type", "roles", "title", "file:size") if not asset.get(name)]
        if lacking:
            yield f"STAC-REC-05: asset {key} has no {', '.join(lacking)}"
    for key, asset in rasters.items():
        fields = {**properties, **asset}
        yield from _projection(key, fields)
        yield from _bands(key, asset)
        yield from _raster(key, fields, item)
        yield from _classes(key, asset, item)
    yield from _cubes(item, properties, assets)
    if any(not column.get("name") for column in properties.get("table:columns", ())):
        yield "table extension: a column has no name"


def collection_problems(collection: Stac, *, prr: bool = False, pictured: bool = True) -> Iterator[str]:
    """Yield a line for each recommendation that a collection does not follow.

    Parameters
    ----------
    prr
        Ask for all that the PRR requires. Asked anyway of a collection with any ``osc:`` field.
    pictured
        False where its mosaics are not made yet, and so no thumbnail.
    """
    yield from _core(collection)
    lacking = [name for name in ("title", "description", "license", "extent") if not collection.get(name)]
    if lacking:
        yield f"STAC-REC-02: no {', '.join(lacking)}"
    yield from _relative(collection)
    if prr or any(name.startswith("osc:") for name in collection):
        yield from _prr(collection, pictured=pictured)
    for name, render in collection.get("renders", {}).items():
        yield from _render(name, render, collection)
    for key, asset in collection.get("item_assets", {}).items():
        yield from _classes(key, asset, collection)


def homogeneity_problems(item: Stac, keys: Iterable[str]) -> Iterator[str]:
    """Yield a line for each asset that an item with data has and the collection's ``item_assets`` has not, or v.v."""
    if _needs_no_asset(item):
        return
    assets, keys = set(item.get("assets", ())), set(keys)
    for key in sorted(keys - assets):
        yield f"STAC-REC-03: asset {key} of the collection's item_assets is not there"
    for key in sorted(assets - keys):
        yield f"STAC-REC-03: asset {key} is not in the collection's item_assets"


def _core(stac: Stac) -> Iterator[str]:
    if not VERSION.fullmatch(str(stac.get("stac_version"))):
        yield "STAC-REC-01: stac_version is older than 1.1"
    if not PRR_ID.fullmatch(str(stac.get("id"))):
        yield "STAC-REC-02: id has other characters than letters, digits, '.', '_' and '-'"


def _needs_no_asset(item: Stac) -> bool:
    properties = item.get("properties", {})
    return not item.get("assets") and bool(properties.get("upscaling:nodata") or properties.get("upscaling:outputs"))


def _times(properties: Stac) -> Iterator[str]:
    names = ("datetime", "start_datetime", "end_datetime")
    lacking = [name for name in names if not properties.get(name)]
    if lacking:
        yield f"STAC-REC-07: no {', '.join(lacking)}"
        return
    for name in names:
        if not MOMENT.fullmatch(str(properties[name])):
            yield f"STAC-REC-07: {name} is not of the form YYYY-MM-DDTHH:MM:SSZ"
            return
    if properties["start_datetime"] > properties["end_datetime"]:
        yield "STAC-REC-07: start_datetime is after end_datetime"


def _projection(key: str, fields: Stac) -> Iterator[str]:
    lacking = [name for name, size in (("proj:bbox", 4), ("proj:shape", 2)) if len(fields.get(name) or ()) != size]
    # A CRS without a code is null, and then given whole (projection extension 2.0).
    if not any(fields.get(name) for name in ("proj:code", "proj:wkt2", "proj:projjson")):
        lacking.insert(0, "proj:code")
    if lacking:
        yield f"STAC-REC-06: asset {key} has no {', '.join(lacking)}"


def _bands(key: str, asset: Stac) -> Iterator[str]:
    bands = asset.get("bands") or []
    names = [band.get("name") for band in bands]
    if not bands or not all(names):
        yield f"STAC-REC-08: asset {key} has no bands with a name each"
    elif len(set(names)) != len(names):
        yield f"STAC-REC-08: two bands of asset {key} have the same name"
    if len({band.get("data_type") for band in bands}) > 1:
        yield f"STAC-REC-08: bands of asset {key} have different data types"


def _raster(key: str, fields: Stac, item: Stac) -> Iterator[str]:
    if EXTENSIONS["raster"] not in item.get("stac_extensions", ()):
        yield f"STAC-REC-10: the raster extension is not declared, but asset {key} is a raster"
    if not fields.get("raster:spatial_resolution"):
        yield f"STAC-REC-10: asset {key} has no raster:spatial_resolution"
    for band in fields.get("bands") or ():
        has_nodata = "nodata" in band or "nodata" in fields
        if not has_nodata and str(band.get("data_type", "float")).startswith("float"):
            yield f"STAC-REC-10: a band of asset {key} has no nodata"
            break
    for name in ("raster:scale", "raster:offset"):
        if any(not _is_number(band.get(name, 0)) for band in (fields, *(fields.get("bands") or ()))):
            yield f"STAC-REC-10: {name} of asset {key} is not a number"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _classes(key: str, asset: Stac, owner: Stac) -> Iterator[str]:
    for band in (asset, *(asset.get("bands") or ())):
        classes = band.get("classification:classes")
        if classes is None:
            continue
        if not any("/classification/" in uri for uri in owner.get("stac_extensions", ())):
            yield f"STAC-REC-12: the classification extension is not declared, but asset {key} has classes"
        if not classes or any(not isinstance(entry.get("value"), int) or not entry.get("name") for entry in classes):
            yield f"STAC-REC-12: a class of asset {key} has no value or name"
        elif len({entry["value"] for entry in classes}) != len(classes):
            yield f"STAC-REC-12: two classes of asset {key} have the same value"
        if any(not entry.get("title") or not COLOUR.fullmatch(str(entry.get("color_hint"))) for entry in classes):
            yield f"STAC-REC-12: a class of asset {key} has no title or color_hint"


def _cubes(item: Stac, properties: Stac, assets: Stac) -> Iterator[str]:
    declared = any("/datacube/v2" in uri for uri in item.get("stac_extensions", ()))
    if "cube:dimensions" in properties and not declared and any(map(is_raster, assets.values())):
        yield "STAC-REC-09: has cube:dimensions, but does not declare the datacube extension"
    for key, asset in assets.items():
        if not str(asset.get("type", "")).startswith(CUBES):
            continue
        fields = {**properties, **asset}
        dimensions, variables = fields.get("cube:dimensions"), fields.get("cube:variables", {})
        if not dimensions or not declared:
            yield f"STAC-REC-11: asset {key} is a datacube without cube:dimensions and the datacube extension"
            continue
        for name, dimension in dimensions.items():
            yield from _dimension(f"dimension {name} of asset {key}", dimension)
        for name, variable in variables.items():
            if not set(variable.get("dimensions", ["?"])) <= set(dimensions) or variable.get("type") not in {
                "data",
                "auxiliary",
            }:
                yield f"STAC-REC-11: variable {name} of asset {key} has no type, or dimensions that are not described"


def _dimension(what: str, dimension: Stac) -> Iterator[str]:
    kind, extent = dimension.get("type"), dimension.get("extent")
    if not kind:
        yield f"STAC-REC-11: {what} has no type"
    elif kind == "spatial" and (dimension.get("axis") not in AXES or len(extent or ()) != 2):
        yield f"STAC-REC-11: {what} is spatial, but has no axis or no extent"
    elif kind == "temporal" and len(extent or ()) != 2:
        yield f"STAC-REC-11: {what} is temporal, but has no extent"
    elif kind not in {"spatial", "temporal", "geometry"} and extent is None and "values" not in dimension:
        yield f"STAC-REC-11: {what} has neither extent nor values"


def _relative(collection: Stac) -> Iterator[str]:
    """See that what a collection is made of lies in its own folder, as that is what is handed over."""
    own = [link for link in collection.get("links", ()) if link.get("rel") in {"item", "child"}]
    if any(str(entry.get("href", "")).startswith(("/", "file:")) for entry in (*own, *_assets(collection))):
        yield "STAC-REC-02: an href is a path of one machine"


def _assets(stac: Stac) -> Iterable[Any]:
    return dict(stac.get("assets", {})).values()


def _prr(collection: Stac, *, pictured: bool) -> Iterator[str]:
    lacking = [name for name in PRR_FIELDS if not collection.get(name)]
    if lacking:
        yield f"STAC-REC-02: the PRR asks for {', '.join(lacking)}"
    thumbnails = [asset for asset in _assets(collection) if "thumbnail" in asset.get("roles", ())]
    if pictured and not any(asset.get("type") in THUMBNAILS for asset in thumbnails):
        yield "STAC-REC-02: the PRR asks for an asset with the role thumbnail (JPEG, PNG or WebP)"
    licences = [link for link in collection.get("links", ()) if link.get("rel") == "license"]
    if collection.get("license") in {"other", "various", "proprietary"} and not licences:
        yield f"STAC-REC-02: license is {collection['license']}, but there is no link with rel license"


def _render(name: str, render: Stac, collection: Stac) -> Iterator[str]:
    if not any("/render/" in uri for uri in collection.get("stac_extensions", ())):
        yield f"METADATA-REC-07: the render extension is not declared, but there is a render {name}"
    unknown = sorted(set(render.get("assets", ())) - set(collection.get("item_assets", {})))
    if unknown or not render.get("assets"):
        yield f"METADATA-REC-07: render {name} shows assets that are not there: {', '.join(unknown) or 'none named'}"
    if any(len(pair) != 2 for pair in render.get("rescale", ())):
        yield f"METADATA-REC-07: rescale of render {name} is not a list of [lowest, highest]"
