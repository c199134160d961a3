#!/usr/bin/env bash
# Says by which cgroups SLURM can keep jobs to their memory here: "v1", "v2", or "none" and what is missing, in one line.
#   slurm_cgroups.sh [mount point] [folder of SLURM's plugins]
set -uo pipefail
root=${1:-/sys/fs/cgroup}
plugins=${2:-}

none() {
  echo "none: $*"
  exit 0
}
can_make() { # a folder, which is what a group is
  mkdir "$1/eo-upscaling-probe" 2>/dev/null && rmdir "$1/eo-upscaling-probe"
}
has() { grep -qw "$2" "$1" 2>/dev/null; }

[ -d "$root" ] || none "there is no $root"
if [ -d "$root/memory" ] && [ -d "$root/freezer" ]; then
  can_make "$root/memory" && can_make "$root/freezer" || none "cgroups v1 cannot be written ($root/memory, $root/freezer)"
  kind=v1
elif [ -f "$root/cgroup.controllers" ]; then
  has "$root/cgroup.controllers" memory || none "cgroups v2 have no memory controller here ($root/cgroup.controllers)"
  can_make "$root" || none "cgroups v2 cannot be written ($root)"
  # Groups below get a controller only if it is switched on; a group with processes of its own cannot do that.
  has "$root/cgroup.subtree_control" memory || echo '+memory +cpu +cpuset' 2>/dev/null >"$root/cgroup.subtree_control"
  has "$root/cgroup.subtree_control" memory ||
    none "cgroups v2 do not hand on the memory controller: processes stand in $root itself (move them into a group of it)"
  kind=v2
else
  none "there are no cgroups with a memory controller in $root"
fi
[ -z "$plugins" ] || [ -f "$plugins/cgroup_$kind.so" ] || none "this SLURM has no plugin for cgroups $kind ($plugins)"
echo $kind
