"""Container images of a package: pulled once where there is a network, and taken from a cache by every node."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upscaling.errors import ConfigError, UpscalingError
from upscaling.util.files import read_json, sha256_file, write_json, write_whole, written_whole
from upscaling.util.process import tool_path

if TYPE_CHECKING:
    from upscaling.config import CwlBackendConfig
    from upscaling.config.cwl import Container

__all__ = ["check_images", "digests_of", "end_orphans", "engine_of", "image_environment", "pull_images"]

ENGINES: dict[str, tuple[str, ...]] = {
    "docker": ("docker",),
    "podman": ("podman",),
    "singularity": ("singularity", "apptainer"),
}
LABEL = "eo-upscaling"  # which engines/engine.sh gives every container
CACHE_KEY = "backend.site.container_cache"
_SHIMS = Path(__file__).with_name("engines")
_OWN_CACHE = "CWL_SINGULARITY_CACHE"  # in which the runner looks, where the user set it
_INDEX = "images.json"


def engine_of(container: Container, path: str | None = None) -> str | None:
    """Return the program that runs containers, with its folder; None where there is none."""
    return next(filter(None, (shutil.which(name, path=path) for name in ENGINES.get(container, ()))), None)


def _engine_for(container: Container, path: str | None = None) -> str:
    engine = engine_of(container, path)
    if engine is None:
        raise ConfigError(f"there is no {' or '.join(ENGINES[container])} on PATH", key="backend.container")
    return engine


def image_environment(container: Container, cache: str | None, path: str) -> dict[str, str]:
    """Return what a runner needs in its environment to find cached images, PATH included."""
    folder = str(Path(os.path.expandvars(cache)).absolute()) if cache else ""
    if container == "singularity" and folder:
        found = dict.fromkeys((_OWN_CACHE, "APPTAINER_CACHEDIR", "SINGULARITY_CACHEDIR"), folder)
        return {"PATH": path, **found}
    if container in ("docker", "podman"):
        return {"PATH": f"{_SHIMS}{os.pathsep}{path}", "UPSCALING_IMAGES": folder}
    return {"PATH": path}


def check_images(container: Container, cache: str | None, names: Sequence[str], path: str, *, here: bool) -> None:
    """See that containers can run here, and that the images are there before the first tile asks for them.

    Where the site has a cache, they are in it. Without one, what is not in the store of this machine is pulled, if
    tiles run ``here``: all of them would, at the same time, and each would fail over a name that no registry knows.

    Raises
    ------
    ConfigError
        One line.
    """
    if container == "none":
        return
    engine = _engine_for(container, path)
    if container == "singularity" and names and not (cache or os.environ.get(_OWN_CACHE)):
        words = "is required for Singularity, which would pull the images anew for every tile: name a folder, and run"
        raise ConfigError(f"{words} `upscaling pull CONFIG`", key=CACHE_KEY)
    if not cache:
        for name in names if here and container != "singularity" else ():
            if not _image_id(engine, name):
                with _of_configuration():
                    _pull(engine, name)
        return
    folder = Path(os.path.expandvars(cache))
    for name in names:
        stored = container != "singularity" and _image_id(engine, name)
        if not stored and not _file_of(container, folder, name).is_file():
            raise ConfigError(
                f"{name} is not in {folder}: run `upscaling pull CONFIG` where there is a network", key=CACHE_KEY
            )


@contextmanager
def _of_configuration() -> Iterator[None]:
    try:
        yield
    except UpscalingError as error:
        raise ConfigError(str(error), key="backend.container") from None


@cache
def digests_of(container: Container, cached: str | None, package: Path, *, here: bool) -> dict[str, str]:
    """Return image → digest of the images that a package's tools ran in, as far as somebody tells.

    That is the site's cache, which every node takes its images from; of a ``.sif``, the digest of the file. Without it,
    the engine of this machine.

    Parameters
    ----------
    cached
        Folder of the cache.
    package
        The pinned package.
    here
        Whether the tools ran on this machine.
    """
    from upscaling.algorithms.cwl import images

    if container == "none":
        return {}
    engine = engine_of(container, tool_path()) if here and container != "singularity" else None
    index = _index_of(Path(os.path.expandvars(cached))) if cached else {}
    found = {}
    for name in images(read_json(package)):
        known = index.get(name, {})
        if container == "singularity" and known:
            found[name] = f"sha256:{known['sha256']}"
        elif known:
            found[name] = known["digest"]
        elif engine and _image_id(engine, name):
            found[name] = _digest(engine, name)
    return found


def end_orphans(container: Container, folders: Iterable[Path], path: str) -> None:
    """End the containers that killed runs in these folders left behind, on this machine."""
    engine = engine_of(container, path)
    if container not in ("docker", "podman") or engine is None:
        return
    for folder in folders:
        found = _run(engine, "ps", "--quiet", "--filter", f"label={LABEL}={folder}/").stdout.split()
        if found:
            _run(engine, "kill", *found)


def _index_of(cache: Path) -> dict[str, dict[str, str]]:
    """Return what was pulled into a cache: image → ``file``, ``sha256`` of the file, ``id`` and ``digest``."""
    try:
        return dict(read_json(cache / _INDEX))
    except (OSError, ValueError):
        return {}


def pull_images(
    config: CwlBackendConfig, names: Sequence[str], *, dry_run: bool = False, say: Callable[[str], None]
) -> None:
    """Pull a package's images into the cache of the site, or, without one, into this machine's own store.

    What is there already is checked against the sha256 that was written down when it was pulled. An image that was
    built on this machine, and is in no registry, is taken from its store.

    Raises
    ------
    UpscalingError
        In the words of the engine, if an image cannot be pulled; or if a file of the cache was changed.
    """
    container = config.container
    if container == "none":
        say("backend.container is none: the package runs without images")
        return
    engine = _engine_for(container)
    cache = Path(os.path.expandvars(config.site.container_cache)) if config.site.container_cache else None
    if cache is None and container == "singularity":
        raise ConfigError("is required for Singularity: the folder that images are pulled into", key=CACHE_KEY)
    if not names:
        say("the package names no image")
    for name in names:
        where = str(_file_of(container, cache, name)) if cache else f"the store of {Path(engine).name} on this machine"
        if dry_run:
            there = cache is not None and name in _index_of(cache)
            say(f"{name}: {'is' if there else 'would be pulled to'} {'there, ' if there else ''}{where}")
        elif cache is None:
            _pull(engine, name)
            say(f"{name}: {_digest(engine, name)}, in {where}")
        else:
            cache.mkdir(parents=True, exist_ok=True)
            say(f"{name}: {_into_cache(container, engine, cache, name)}, {where}")


def _into_cache(container: Container, engine: str, cache: Path, name: str) -> str:
    index, file = _index_of(cache), _file_of(container, cache, name)
    known = index.get(name)
    if known and file.is_file():
        if sha256_file(file) != known["sha256"]:
            raise UpscalingError(f"{file} is not what was pulled ({known['sha256'][:16]}…): delete it and pull again")
        return f"{known['digest']}, there already and unchanged"
    if container == "singularity":
        _pull_sif(engine, cache, name)
        facts = {"id": "", "digest": "as pulled"}
    else:
        _pull(engine, name)
        facts = {"id": _image_id(engine, name), "digest": _digest(engine, name)}
        with written_whole(file) as temporary:
            _engine(engine, "save", "-o", str(temporary), name)
        write_whole(file.with_suffix(".id"), f"{facts['id']}\n")
    write_json(cache / _INDEX, {**_index_of(cache), name: {"file": file.name, "sha256": sha256_file(file), **facts}})
    return facts["digest"]


def _file_of(container: Container, cache: Path, name: str) -> Path:
    if container == "singularity":
        from cwl_utils.image_puller import SingularityImagePuller

        return SingularityImagePuller(_with_tag(name), cache, "singularity", force_pull=False).find_destination_path()
    return cache / (name.translate(str.maketrans("/:@", "%+=")) + ".tar")


def _with_tag(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def _pull_sif(engine: str, cache: Path, name: str) -> None:
    from cwl_utils.image_puller import SingularityImagePuller

    try:
        SingularityImagePuller(_with_tag(name), cache, engine, force_pull=False).save_docker_image()
    except subprocess.SubprocessError as error:
        raise UpscalingError(f"{name} cannot be pulled: {_last_line(error.args[0])}") from None


def _pull(engine: str, name: str) -> None:
    """Pull an image; where no registry has it, the one in the engine's own store will do: it was built here."""
    try:
        _engine(engine, "pull", "--quiet", name)
    except UpscalingError:
        if not _image_id(engine, name):
            raise


def _image_id(engine: str, name: str) -> str:
    """Return the id of an image in the engine's store, which is a hash of all its content; empty if it is not there."""
    said = _run(engine, "image", "inspect", "--format", "{{.Id}}", name)
    return said.stdout.strip().removeprefix("sha256:") if said.returncode == 0 else ""


def _digest(engine: str, name: str) -> str:
    if "@" in name:
        return name.partition("@")[2]  # the engine has checked it
    said = _run(engine, "image", "inspect", "--format", "{{json .RepoDigests}}", name).stdout
    found = said.strip().strip("[]").split(",")[0].strip('"').partition("@")[2]
    return found or f"sha256:{_image_id(engine, name)}"


def _engine(engine: str, *arguments: str) -> None:
    said = _run(engine, *arguments)
    if said.returncode:
        verb, name = arguments[0], arguments[-1]
        raise UpscalingError(f"{name} cannot be {verb}{'ed' if verb == 'pull' else 'd'}: {_last_line(said.stderr)}")


def _run(engine: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([engine, *arguments], capture_output=True, text=True, check=False)


def _last_line(text: Any) -> str:
    words = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return (words.strip().splitlines() or ["it does not say why"])[-1]
