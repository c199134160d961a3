#!/bin/sh
# What docker and podman of this folder do: usage engine.sh NAME ARGUMENTS...
# They stand before the real ones on the PATH of a CWL runner, on whatever node a step runs, and add three things:
# an image that is in the cache (`upscaling pull`) is loaded into the node's own store before the runner asks for it, so
# that no node needs a network; and root may use podman, which refuses the runner's --userns=keep-id to root.
set -u
name=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
rest=
IFS=:
for folder in $PATH; do
  [ "$folder" = "$here" ] || rest=$rest${rest:+:}$folder
done
unset IFS
PATH=$rest
export PATH

# cached IMAGE: whether the cache has it; sets `id`, a hash of the image's content, and `file`
cached() {
  file=${UPSCALING_IMAGES:-/nowhere}/$(printf %s "$1" | tr '/:@' '%+=').tar
  [ -f "$file" ] && read -r id <"${file%.tar}.id"
}
id_of() { "$name" image inspect --format '{{.Id}}' "$1" 2>/dev/null | sed 's/^sha256://'; }

# The runner looks for an image first, with `inspect IMAGE`.
if [ $# = 2 ] && [ "$1" = inspect ] && cached "$2"; then
  if [ "$(id_of "$id")" != "$id" ]; then
    exec 9>>"/tmp/eo-upscaling-images-$(id -u).lock"
    command -v flock >/dev/null && flock 9 # on a node many tiles begin at once
    [ "$(id_of "$id")" = "$id" ] || "$name" load -i "$file" >&2 9>&-
    exec 9>&-
  fi
  if [ "$(id_of "$id")" != "$id" ]; then
    echo "ERROR $file does not hold the image $2 that was pulled; delete it and pull again" >&2
    exit 1
  fi
  case $2 in
    *@*) ;;
    *) [ "$(id_of "$2")" = "$id" ] || "$name" tag "$id" "$2" ;; # the node had another one of this name
  esac
fi

for argument do
  shift
  case $argument in
    --userns=keep-id) [ "$name" = podman ] && [ "$(id -u)" = 0 ] && continue ;;
    *@sha256:*) cached "$argument" && argument=$id ;; # an archive does not keep such names
  esac
  set -- "$@" "$argument"
done
if [ "${1:-}" = run ] && [ -n "${UPSCALING_CWL_RUN:-}" ]; then
  shift
  set -- run "--label=eo-upscaling=$UPSCALING_CWL_RUN" "$@"
fi
exec "$name" "$@"
