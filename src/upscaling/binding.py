"""Fill an openEO process's parameters from a tile and the configuration, and refuse what would go wrong silently."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from upscaling.errors import ConfigError
from upscaling.tiles import Algorithm, Parameter, Tile
from upscaling.udp import subtypes

__all__ = ["FORMS", "Binder", "temporal_extent"]


def _bbox(tile: Tile) -> dict[str, Any]:
    # Projected bounds with their CRS: a lon/lat box of a UTM tile grows by up to a fifth when it is projected back.
    west, south, east, north = tile.bounds
    return {"west": west, "south": south, "east": east, "north": north, "crs": tile.epsg or tile.crs}


def _bbox_lonlat(tile: Tile) -> dict[str, Any]:
    from pyproj import Transformer

    transformer = Transformer.from_crs(tile.crs, "EPSG:4326", always_xy=True)
    west, south, east, north = transformer.transform_bounds(*tile.bounds, densify_pts=21)
    return {"west": west, "south": south, "east": east, "north": north, "crs": 4326}


def _geojson(tile: Tile) -> dict[str, Any]:
    if tile.geometry is None:
        raise ConfigError(f"tile {tile.id} has no outline", key="area.grid")
    return tile.geometry


FORMS: dict[str, Callable[[Tile], Any]] = {
    "bbox": _bbox,
    "bbox-lonlat": _bbox_lonlat,
    "geojson": _geojson,
    "epsg": lambda tile: tile.epsg or tile.crs,
    "tile-id": lambda tile: tile.id,
}
"""Form of a tile -> the value a parameter gets; ``algorithm.bind`` chooses by these names."""

_BY_SUBTYPE = {"bounding-box": "bbox", "geojson": "geojson"}  # in order of preference


class Binder:
    """The arguments of every tile of a run.

    Parameters
    ----------
    algorithm
        A pinned openEO process.
    parameters
        The values from the configuration.
    bind
        Parameter -> form, for what the schema's subtype leaves open.

    Raises
    ------
    ConfigError
        If the configuration names a parameter that the process does not have, a value does not fit its schema, a
        required one is missing, or no parameter takes the tile. All of it before anything is sent: 21 processes of
        the APEx catalogue run silently over their default area if their spatial parameter is misspelled.
    """

    def __init__(self, algorithm: Algorithm, parameters: Mapping[str, Any], bind: Mapping[str, str]) -> None:
        known = {parameter.name: parameter for parameter in algorithm.parameters}
        _refuse_unknown(algorithm, parameters, known, "algorithm.parameters")
        _refuse_unknown(algorithm, bind, known, "algorithm.bind")
        for name, form in bind.items():
            if form not in FORMS:
                raise ConfigError(
                    f"form must be one of {', '.join(FORMS)} (found {form!r})", key=f"algorithm.bind.{name}"
                )
            if name in parameters:
                raise ConfigError(
                    "stands in algorithm.bind and in algorithm.parameters; keep one", key=f"algorithm.bind.{name}"
                )
        for name, value in parameters.items():
            _check_value(known[name], value)
        self._fixed = dict(parameters)
        self.forms = {**_spatial_forms(algorithm, parameters), **bind}
        if not self.forms:
            raise ConfigError(_no_spatial(algorithm, parameters), key="algorithm.parameters")
        for parameter in algorithm.parameters:
            if parameter.required and parameter.name not in self._fixed and parameter.name not in self.forms:
                hint = f" ({parameter.description.strip()})" if parameter.description.strip() else ""
                raise ConfigError(f"is required by {algorithm.id}{hint}", key=f"algorithm.parameters.{parameter.name}")

    def arguments(self, tile: Tile) -> dict[str, Any]:
        """Return the arguments for one tile: what is sent, and what its key is made of."""
        return {**self._fixed, **{name: FORMS[form](tile) for name, form in self.forms.items()}}


def _refuse_unknown(algorithm: Algorithm, given: Mapping[str, Any], known: Mapping[str, Parameter], key: str) -> None:
    import difflib

    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(known) or 'none'}"
            raise ConfigError(f"{algorithm.id} has no such parameter; {hint}", key=f"{key}.{name}")


def _check_value(parameter: Parameter, value: Any) -> None:
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import best_match

    schemas = parameter.schema if isinstance(parameter.schema, list) else [parameter.schema]
    error = best_match(Draft7Validator({"anyOf": schemas}).iter_errors(value))
    if error is not None:
        path = "".join(f"[{part!r}]" for part in error.absolute_path)
        raise ConfigError(
            f"{error.message}{f' (at {path})' if path else ''}", key=f"algorithm.parameters.{parameter.name}"
        )


def _spatial_forms(algorithm: Algorithm, parameters: Mapping[str, Any]) -> dict[str, str]:
    forms = {}
    for parameter in algorithm.parameters:
        admitted = subtypes(parameter.schema)
        form = next((form for subtype, form in _BY_SUBTYPE.items() if subtype in admitted), None)
        if form and parameter.name not in parameters:
            forms[parameter.name] = form
    return forms


def _no_spatial(algorithm: Algorithm, parameters: Mapping[str, Any]) -> str:
    fixed = [p.name for p in algorithm.parameters if p.name in parameters and subtypes(p.schema) & set(_BY_SUBTYPE)]
    if fixed:
        return f"{fixed[0]} is the area of {algorithm.id} and comes from the tile: leave it out here"
    return f"{algorithm.id} has no spatial parameter (bounding-box or geojson) that a tile could fill"


def temporal_extent(algorithm: Algorithm, arguments: Mapping[str, Any]) -> tuple[str | None, str | None] | None:
    """Return the first temporal interval among the arguments and defaults, as the item's time where nothing better is.

    Returns
    -------
    (start, end) as openEO has them (half-open), or None if the process has no temporal interval.
    """
    for parameter in algorithm.parameters:
        if "temporal-interval" in subtypes(parameter.schema):
            value = arguments.get(parameter.name, parameter.default)
            if isinstance(value, list) and len(value) == 2:
                return value[0], value[1]
    return None
