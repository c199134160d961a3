"""The collections of a back-end, from whatever its operator named."""

from __future__ import annotations

from pathlib import Path

from upscaling.errors import ConfigError
from upscaling.local_backend.data import Collection, load_yaml
from upscaling.local_backend.stac import load_catalogue

__all__ = ["load_data"]


_NAMES = ("collections.yaml", "collections.yml", "catalog.json", "collection.json")  # of a folder, in this order


def load_data(path: Path) -> dict[str, Collection]:
    """Read a YAML list or a local STAC catalogue into collections by id.

    Parameters
    ----------
    path
        A ``.yaml``/``.yml`` file, a STAC ``catalog.json`` / ``collection.json``, or a folder that holds one of them.

    Raises
    ------
    ConfigError
        The file or one it names is missing or broken; the message names file and key.
    """
    if path.is_dir():
        found = next((path / name for name in _NAMES if (path / name).is_file()), None)
        if found is None:
            raise ConfigError(f"this folder holds none of {', '.join(_NAMES)}; name the file", file=path)
        path = found
    if not path.is_file():
        raise ConfigError("there is no such file", file=path)
    if path.suffix.lower() == ".json":
        return load_catalogue(path)
    if path.suffix.lower() in {".yaml", ".yml"}:
        return load_yaml(path)
    raise ConfigError("data must be a .yaml list of collections, or a STAC catalog.json or collection.json", file=path)
