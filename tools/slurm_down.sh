#!/usr/bin/env bash
# Stop what slurm_up.sh started, by the process ids it wrote, and remove its folder.
set -euo pipefail
home=${1:-/var/tmp/eo-upscaling-slurm}
[ -d "$home" ] || {
  echo "slurm-down: nothing to stop in $home"
  exit 0
}
[ -f "$home/munge.key" ] || {
  echo "slurm-down: $home was not made by slurm_up.sh; it is left as it is" >&2
  exit 1
}
export SLURM_CONF=$home/slurm.conf

# pids PIDFILE...: of our own processes only; a stale file may name another's by now
pids() {
  local file pid
  for file in "$@"; do
    pid=$(cat "$file" 2>/dev/null) || continue
    case $(cat "/proc/$pid/comm" 2>/dev/null) in
    munged | mariadbd | slurmdbd | slurmctld | slurmd) echo "$pid" ;;
    esac
  done
}
# end SECONDS PIDFILE...: stop them and wait until none is there any more, then end what is left the hard way
end() {
  local deadline=$((SECONDS + $1)) pid left
  shift
  local ours=($(pids "$@")) # at once, as they remove their files before they are gone
  [ ${#ours[@]} = 0 ] || kill "${ours[@]}" 2>/dev/null || true
  while ((SECONDS < deadline)); do
    left=()
    for pid in "${ours[@]}"; do
      [ ! -d "/proc/$pid" ] || left+=("$pid")
    done
    [ ${#left[@]} -gt 0 ] || return 0
    sleep 0.1
  done
  kill -KILL "${left[@]}" 2>/dev/null || true
}

if [ -f "$home/slurmctld.pid" ] && timeout 10 scontrol ping 2>/dev/null | grep -q 'is UP'; then
  timeout 10 scancel --full --signal=KILL --user="$(id -un)" 2>/dev/null || true
  timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
  deadline=$((SECONDS + 15))
  while ((SECONDS < deadline)) && [ -n "$(timeout 5 squeue -h 2>/dev/null)" ]; do sleep 0.2; done
fi
shopt -s nullglob
daemons=("$home"/slurmd.*.pid "$home/slurmctld.pid")
end 10 "${daemons[@]}"
for file in "$home/slurmdbd.pid" "$home/mysql/pid" "$home/munged.pid"; do # each needs the next to end well
  end 10 "$file"
done
[ "$(readlink /etc/slurm/slurm.conf 2>/dev/null)" != "$home/slurm.conf" ] || rm /etc/slurm/slurm.conf
rm -rf "$home"
echo "slurm-down: stopped"
