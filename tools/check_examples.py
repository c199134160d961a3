"""Check the types of all Python in README, docs and notebooks with mypy --strict, each program by itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PROGRAM = re.compile(r'^```python(?: title="\S+")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def programs() -> dict[str, str]:
    """Return the programs by a name that says where each stands."""
    found = {}
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]:
        name = re.sub(r"\W", "_", str(path.relative_to(ROOT)))
        found |= {f"{name}_{number}": text for number, text in enumerate(_PROGRAM.findall(path.read_text()), 1)}
    for path in sorted(ROOT.glob("docs/notebooks/*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        found[re.sub(r"\W", "_", path.name)] = "\n".join(code)
    return found


def main() -> int:
    """Write them down and run mypy; return its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, text in programs().items():
            files.append(Path(folder, f"{name}.py"))
            files[-1].write_text(text + "\n")
        command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")]
        done = subprocess.run([*command, *map(str, files)], cwd=ROOT, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
