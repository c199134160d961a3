#!/usr/bin/env bash
# Make the virtual environment $1 from requirements.lock: exactly those versions, checked by hash. uv is used if there.
set -euo pipefail
venv=$1
python=${PYTHON:-python3}

"$python" - <<'PY' || exit 1
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 12):
    sys.exit(f"Python 3.11 or 3.12 is needed, this is {sys.version.split()[0]}: make PYTHON=python3.12 …")
PY
echo "installing into $venv (once; about 2.1 GB, one to three minutes) …"
rm -rf "$venv"
if command -v uv >/dev/null 2>&1; then
  uv venv --quiet --seed --python "$(command -v "$python")" "$venv"
  uv pip install --quiet --python "$venv/bin/python" --require-hashes --no-deps -r requirements.lock
else
  if ! "$python" -m venv "$venv" 2>/dev/null; then
    rm -rf "$venv"
    echo "cannot make a virtual environment: install Debian's package python3-venv" >&2
    exit 1
  fi
  # errors only: what pip says of how others package is nothing that a newcomer can mend
  "$venv/bin/pip" install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
fi
echo "installed"
