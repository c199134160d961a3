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
packages=$(grep -c '^[A-Za-z0-9]' requirements.lock)
echo "installing $packages packages into $venv (once; about 2.1 GB; two minutes, or more on a slow line) …"
rm -rf "$venv"
log=$(mktemp)

# How far it is, as pip is silent for minutes: one line that changes on a terminal, else a line each ten seconds.
tell() {
  local before='' now end='\n' pause=10
  [ ! -t 1 ] || { end='\r' pause=1; }
  while sleep $pause; do
    now="  fetched $(grep -cE '^ *(Collecting|Requirement already)' "$log" || true) of $packages packages"
    ! grep -q '^Installing collected' "$log" && ! grep -q uv "$log" ||
      now="  unpacked $(find "$venv" -maxdepth 5 -name '*.dist-info' | wc -l) of $packages packages "
    [ "$now" = "$before" ] && [ $pause = 10 ] || printf "%s$end" "$now"
    before=$now
  done
}
run() { # with its words in $log, of which only errors matter: what pip says of how others package is no newcomer's to fix
  "$@" >>"$log" 2>&1 || {
    echo "not installed: $*" >&2
    { grep -iE '^ *(error|×)' "$log" || tail -5 "$log"; } | head -20 >&2
    exit 1
  }
}

if command -v uv >/dev/null 2>&1; then
  uv venv --quiet --seed --python "$(command -v "$python")" "$venv"
  echo "uv" >"$log"
  install=(uv pip install --quiet --python "$venv/bin/python")
else
  if ! "$python" -m venv "$venv" 2>/dev/null; then
    rm -rf "$venv"
    echo "cannot make a virtual environment: install Debian's package python3-venv" >&2
    exit 1
  fi
  install=("$venv/bin/pip" install --disable-pip-version-check --progress-bar off)
fi
tell &
teller=$!
trap 'kill $teller 2>/dev/null; rm -f "$log"' EXIT
run "${install[@]}" --require-hashes --no-deps -r requirements.lock
echo "installed                                  "
