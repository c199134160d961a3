"""One COG of many tiles beside `gdalwarp -of COG`, and a tile's file to a COG beside `rio cogeo create`, in one run.

    python benchmarks/mosaic/run.py [--tiles 400] [--pixels 2000] [--files 10]

Needs `gdalwarp` (Debian: gdal-bin). Every way runs in a process of its own, so that its time and peak memory
are its own; all ask for the same compression, predictor, blocks and overviews. ``identical`` says that both mosaics
have the same values. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OPTIONS = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": "512", "OVERVIEW_RESAMPLING": "NEAREST"}
PIXEL = 10.0


def make_tiles(folder: Path, tiles: int, pixels: int) -> list[Path]:
    """Write square tiles of uint16 that are as hard to compress as reflectances, side by side, as COGs."""
    import numpy as np
    import rasterio
    from rasterio import Affine
    from rasterio.shutil import copy

    random = np.random.default_rng(1)
    side = round(tiles**0.5)
    paths = []
    for number in range(side * side):
        row, column = divmod(number, side)
        west, north = 500_000 + column * pixels * PIXEL, 5_400_000 - row * pixels * PIXEL
        coarse = random.integers(300, 3000, (pixels // 50 + 1, pixels // 50 + 1))
        values = np.kron(coarse, np.ones((50, 50)))[:pixels, :pixels] + random.normal(0, 40, (pixels, pixels))
        plain = folder / "plain.tif"
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint16", "crs": "EPSG:32632", "nodata": 0}
        transform = Affine(PIXEL, 0, west, 0, -PIXEL, north)
        with rasterio.open(plain, "w", width=pixels, height=pixels, transform=transform, **profile) as target:
            target.write(values.clip(1).astype("uint16"), 1)
        paths.append(folder / f"tile_{number:05d}.tif")
        copy(plain, paths[-1], driver="COG", **OPTIONS)
        plain.unlink()
    return paths


def plain_copy(path: Path, target: Path) -> Path:
    """Write a tile as a platform does: strips, not compressed."""
    import rasterio

    with rasterio.open(path) as source:
        profile = source.profile | {"driver": "GTiff", "tiled": False, "compress": None, "interleave": "band"}
        for name in ("blockxsize", "blockysize", "predictor"):
            profile.pop(name, None)
        with rasterio.open(target, "w", **profile) as out:
            out.write(source.read())
    return target


def our_mosaic(folder: Path) -> None:
    import rasterio

    from upscaling.model import Bounds
    from upscaling.results.mosaic import mosaic_parts
    from upscaling.results.mosaic_cog import write_mosaic_cog
    from upscaling.results.parts import Part

    parts = []
    for path in sorted(folder.glob("tile_*.tif")):
        with rasterio.open(path) as tile:
            bounds = Bounds(*tile.bounds)
        parts.append(Part(path.stem, path.stem, path, "EPSG:32632", bounds, PIXEL, bands=(("uint16", 0),)))
    write_mosaic_cog(mosaic_parts(parts, folder / "ours.gti.gpkg"), folder / "ours.tif")


def our_cogs(folder: Path) -> None:
    from upscaling.results.cog import ensure_cog

    for path in sorted(folder.glob("plain_*.tif")):
        ensure_cog(path, folder / f"ours_{path.name}", expect=None)


def measured(command: list[str], **environment: str) -> dict[str, float]:
    """Run a command; return its seconds, CPU seconds and peak memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{command[0]} failed with status {status}")
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def identical(first: Path, second: Path) -> bool:
    import numpy as np
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(first) as one, rasterio.open(second) as other:
        if (one.shape, one.transform) != (other.shape, other.transform):
            return False
        windows = [Window(0, row, one.width, min(512, one.height - row)) for row in range(0, one.height, 512)]
        return all(np.array_equal(one.read(window=window), other.read(window=window)) for window in windows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Mosaics and COGs, against gdalwarp and rio cogeo.")
    parser.add_argument("--tiles", type=int, default=400)
    parser.add_argument("--pixels", type=int, default=2000)
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--way", choices=["mosaic", "cogs"])
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.way:
        {"mosaic": our_mosaic, "cogs": our_cogs}[arguments.way](arguments.folder)
        return
    if not shutil.which("gdalwarp"):
        raise SystemExit("gdalwarp is not here; Debian has it in gdal-bin")
    with tempfile.TemporaryDirectory() as name:
        results = compare(Path(name), arguments)
    print(f"{'way':<32}{'seconds':>10}{'CPU s':>10}{'peak MB':>10}")
    for way, result in results.items():
        if isinstance(result, dict):
            print(f"{way:<32}{result['seconds']:>10.2f}{result['cpu_seconds']:>10.2f}{result['peak_mb']:>10}")
    print(json.dumps(results))


def compare(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    paths = make_tiles(folder, arguments.tiles, arguments.pixels)
    ourselves = [sys.executable, __file__, "--folder", str(folder), "--way"]
    creation = [part for name, value in OPTIONS.items() for part in ("-co", f"{name}={value}")]
    warp = [
        "gdalwarp",
        "-q",
        "-multi",
        "-wo",
        "NUM_THREADS=ALL_CPUS",
        "-of",
        "COG",
        *creation,
        "-co",
        "NUM_THREADS=ALL_CPUS",
    ]
    listed = folder / "tiles.txt"
    listed.write_text("\n".join(map(str, paths)))
    results: dict[str, Any] = {"tiles": len(paths), "pixels": arguments.pixels, "load": os.getloadavg()[0]}
    results["gdalwarp"] = measured([*warp, "--optfile", str(listed), str(folder / "peer.tif")])
    results["eo-upscaling"] = measured([*ourselves, "mosaic"])
    results["identical"] = identical(folder / "ours.tif", folder / "peer.tif")
    plain = [
        plain_copy(path, folder / f"plain_{number:03d}.tif") for number, path in enumerate(paths[: arguments.files])
    ]
    rio = [str(Path(sys.executable).with_name("rio")), "cogeo", "create", "--cog-profile", "deflate", "--quiet"]
    rio += ["--blocksize", "512", "--overview-resampling", "nearest", "--co", "PREDICTOR=2"]
    # one process for all, as ours: else the start of Python would be compared
    script = "import sys\nfrom rio_cogeo.scripts.cli import cogeo\n"
    script += (
        "for path in sys.argv[2:]:\n    cogeo(['create', path, path + sys.argv[1], *OPTIONS], standalone_mode=False)\n"
    )
    script = script.replace("OPTIONS", repr(rio[3:]))
    results["rio cogeo create"] = measured([sys.executable, "-c", script, ".peer", *map(str, plain)])
    results["eo-upscaling, tiles"] = measured([*ourselves, "cogs"])
    for ours, peer in (("eo-upscaling", "gdalwarp"), ("eo-upscaling, tiles", "rio cogeo create")):
        for measure in ("seconds", "cpu_seconds"):
            results[f"{ours} / {peer}, {measure}"] = round(results[ours][measure] / results[peer][measure], 2)
    results["self_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return results


if __name__ == "__main__":
    main()
