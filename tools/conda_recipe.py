"""Write conda.recipe/meta.yaml from pyproject.toml: one list of dependencies for pip and conda.

``python tools/conda_recipe.py``; ``--check`` only says whether it is up to date.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "conda.recipe" / "meta.yaml"
# conda-forge's name where it is another
NAMES = {"snakemake": "snakemake-minimal"}


def recipe() -> str:
    """Return the recipe's text."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = []
    for entry in project["dependencies"]:
        name, bounds = re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?(.*)", entry).groups()  # type: ignore[union-attr]
        names.append(f"    - {NAMES.get(name, name)} {bounds}".rstrip())
    return f"""# Written by tools/conda_recipe.py from pyproject.toml
# conda build conda.recipe -c conda-forge -c bioconda   (bioconda has Snakemake and its plugins)
{{% set version = "{project["version"]}" %}}

package:
  name: {project["name"]}
  version: {{{{ version }}}}

source:
  path: ..

build:
  number: 0
  noarch: python
  script: {{{{ PYTHON }}}} -m pip install . -vv --no-deps --no-build-isolation
  entry_points:
    - upscaling = {project["scripts"]["upscaling"]}

requirements:
  host:
    - python {project["requires-python"]}
    - pip
    - setuptools >=77
  run:
    - python {project["requires-python"]}
{chr(10).join(names)}

test:
  imports:
    - upscaling
    - snakemake_logger_plugin_upscaling
  commands:
    - upscaling --help
    - upscaling grids

about:
  summary: "{project["description"]}"
  license: {project["license"]}
  license_file: LICENSE
"""


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if RECIPE.is_file() and RECIPE.read_text() == recipe() else f"{RECIPE} differs from pyproject.toml")
    RECIPE.parent.mkdir(exist_ok=True)
    RECIPE.write_text(recipe())
