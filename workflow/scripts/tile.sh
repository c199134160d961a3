#!/usr/bin/env bash
# See one tile of an openEO run through: usage tile.sh ITEM TILE LOG KEY
# The run's waiter does it for all slots in one process (upscaling/waiter.py); without one, or if it dies, it is done
# here. Receipts keep both from doing it twice.
set -u
item=$1 tile=$2 log=$3 key=$4
run=${item%/tiles/*}

if read -r port token 2>/dev/null <"$run/.waiter" && { exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null; then
  printf '%s %s %s\n' "$token" "$tile" "$key" >&3
  if read -r status message <&3; then
    [ "$status" = 0 ] || printf 'error: tile %s: %s\n' "$tile" "$message" >&2
    exit "$status"
  fi
  exec 3>&-
fi
exec upscaling run-tile "$run" "$tile" --log "$log" --key "$key"
