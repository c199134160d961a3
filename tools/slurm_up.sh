#!/usr/bin/env bash
# A real SLURM of four nodes on this one machine, for tests and for trying things out: munge, slurmdbd with MariaDB,
# slurmctld, four slurmd. All of it lives in one folder, with a munge of its own, and listens on ports of its own; the
# only thing outside is a link to its configuration in /etc/slurm. As root on Debian only; without systemd.
#   slurm_up.sh [folder]        then: export SLURM_CONF=<folder>/slurm.conf
set -euo pipefail
home=${1:-/var/tmp/eo-upscaling-slurm}
nodes=4
host=$(uname -n)
host=${host%%.*}

say() { echo "slurm-up: $*"; }
stop() {
  echo "slurm-up: $*" >&2
  exit 1
}
trap 'echo "slurm-up: \`$BASH_COMMAND\` failed (line $LINENO); see $home/log" >&2' ERR
# wait_for SECONDS WHAT COMMAND...: until the command succeeds, or give up and say what did not come
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || stop "$what did not come up; see $home/log"
    sleep 0.2
  done
}
running() { # whether any program of this name runs
  local comm
  for comm in /proc/[0-9]*/comm; do
    [ "$(cat "$comm" 2>/dev/null)" = "$1" ] && return 0
  done
  return 1
}
idle() { [ "$(sinfo -h -o %T | sort -u)" = idle ]; }
answers() { timeout 10 scontrol ping 2>/dev/null | grep -q 'is UP'; }

[ "$(id -u)" = 0 ] || stop "needs root: slurmd and MariaDB change users"
if [ -f "$home/slurm.conf" ] && SLURM_CONF=$home/slurm.conf answers; then
  say "already up; export SLURM_CONF=$home/slurm.conf"
  exit 0
fi
for program in slurmctld slurmd slurmdbd; do
  ! running "$program" || stop "$program runs on this machine, and is not ours; it is left as it is, use that SLURM"
done
for file in "${SLURM_CONF:-}" /etc/slurm/slurm.conf /etc/slurm-llnl/slurm.conf; do
  if [ -f "$file" ] && [ "$(readlink -f "$file")" != "$home/slurm.conf" ]; then
    stop "this machine belongs to a SLURM already ($file); it is left as it is, use that one"
  fi
done

packages=(slurmctld slurmd slurm-client slurmdbd munge mariadb-server)
for program in munged slurmctld slurmd slurmdbd mariadbd mariadb-install-db sacct sacctmgr sbatch; do
  command -v "$program" >/dev/null || install=yes
done
if [ "${install:-no}" = yes ]; then
  command -v apt-get >/dev/null || stop "needs ${packages[*]} (the names of Debian's packages)"
  say "installing Debian's ${packages[*]}"
  # Their own services are not wanted: without this, the packages would start them.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  log=$(mktemp)
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"; } \
    >"$log" 2>&1 || stop "the packages cannot be installed: $(grep -E '^E:' "$log" | tail -n 1)"
  rm -f "$log"
fi

"$(dirname "$0")/slurm_down.sh" "$home" >/dev/null # what an earlier start may have left
mkdir -p "$home"/{log,state,mysql}
chmod 755 "$home"
cpus=${SLURM_UP_CPUS:-$(nproc)} # of a node; more than there are is allowed, for jobs that only wait
memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)

# --- munge: a key and a socket of our own ---
head -c 1024 /dev/urandom >"$home/munge.key"
chmod 400 "$home/munge.key"
munged --force --key-file="$home/munge.key" --socket="$home/munge.socket" --pid-file="$home/munged.pid" \
  --log-file="$home/log/munged.log" --seed-file="$home/munge.seed" 2>>"$home/log/munged.log"

# --- MariaDB: only for slurmdbd, on a port of 127.0.0.1 ---
chown mysql "$home/mysql"
mariadb-install-db --no-defaults --user=mysql --datadir="$home/mysql" --auth-root-authentication-method=normal \
  --skip-test-db >"$home/log/mariadb-install.log" 2>&1 || stop "MariaDB: see $home/log/mariadb-install.log"
setsid mariadbd --no-defaults --user=mysql --datadir="$home/mysql" --socket="$home/mysql/socket" \
  --bind-address=127.0.0.1 --port=17306 --pid-file="$home/mysql/pid" --innodb-buffer-pool-size=64M \
  --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0 \
  </dev/null >"$home/log/mariadb.log" 2>&1 &
database=(mariadb --no-defaults --user=root --socket="$home/mysql/socket")
wait_for 30 MariaDB "${database[@]}" -e 'select 1'
password=$(head -c 18 /dev/urandom | base64 | tr -d '/+=')
"${database[@]}" -e "create database slurm; create user slurm@'127.0.0.1' identified by '$password';
  create user slurm@localhost identified by '$password'; grant all on slurm.* to slurm@'127.0.0.1';
  grant all on slurm.* to slurm@localhost;"

# --- SLURM ---
(umask 077 && cat >"$home/slurmdbd.conf") <<CONF
AuthType=auth/munge
AuthInfo=socket=$home/munge.socket
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=17819
SlurmUser=root
LogFile=$home/log/slurmdbd.log
PidFile=$home/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=17306
StorageUser=slurm
StoragePass=$password
StorageLoc=slurm
CONF

# Memory limits are real where cgroups can be written; elsewhere a job over its memory is killed, but fails unnamed.
plugins=$(dirname "$(find /usr/lib -name auth_munge.so -path '*slurm*' -print -quit)")
cgroups=$("$(dirname "$0")/slurm_cgroups.sh" /sys/fs/cgroup "$plugins")
process=proctrack/linuxproc task=task/none gather=OverMemoryKill limits="by polling"
case $cgroups in
  v1) version="CgroupAutomount=yes" ;;
  v2) version="IgnoreSystemd=yes" ;; # slurmd makes its groups itself
  *) say "memory limits by polling only: ${cgroups#none: }" ;;
esac
if [ -n "${version:-}" ]; then
  process=proctrack/cgroup task=task/cgroup gather=UsePss limits="cgroups $cgroups"
  cat >"$home/cgroup.conf" <<CONF
CgroupPlugin=cgroup/$cgroups
CgroupMountpoint=/sys/fs/cgroup
$version
ConstrainRAMSpace=yes
ConstrainSwapSpace=yes
AllowedSwapSpace=0
CONF
else
  rm -f "$home/cgroup.conf"
fi
cat >"$home/slurm.conf" <<CONF
ClusterName=eo
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=17817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$home/munge.socket,cred_expire=10
CredType=cred/munge
ProctrackType=$process
TaskPlugin=$task
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=$gather
JobAcctGatherFrequency=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
SlurmctldTimeout=300
SlurmdTimeout=30
ReturnToService=2
KillWait=5
MinJobAge=300
MpiDefault=none
PluginDir=$plugins
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/slurmd.%n
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.%n.pid
SlurmctldLogFile=$home/log/slurmctld.log
SlurmdLogFile=$home/log/slurmd.%n.log
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=17819
AccountingStoragePass=$home/munge.socket
AccountingStorageEnforce=associations
NodeName=n[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=[17001-$((17000 + nodes))] CPUs=$cpus RealMemory=$((memory / nodes))
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=500 OverTimeLimit=0 State=UP
CONF
export SLURM_CONF=$home/slurm.conf
# srun inside a job of Snakemake's executor gets no SLURM_CONF (its jobstep plugin drops it): it looks here.
mkdir -p /etc/slurm
ln -sfn "$home/slurm.conf" /etc/slurm/slurm.conf

slurmdbd
wait_for 30 slurmdbd timeout 5 sacctmgr -n list cluster
sacctmgr -i add cluster eo >"$home/log/sacctmgr.log"
sacctmgr -i add account eo Cluster=eo >>"$home/log/sacctmgr.log"
sacctmgr -i add user root account=eo >>"$home/log/sacctmgr.log"
slurmctld
for number in $(seq $nodes); do
  mkdir -p "$home/slurmd.n$number"
  slurmd -N "n$number"
done
wait_for 60 "a node" idle
say "up in $SECONDS s: $nodes nodes of $cpus CPUs and $((memory / nodes)) MB, memory limits $limits;" \
  "partition main, account eo"
echo "export SLURM_CONF=$home/slurm.conf"
