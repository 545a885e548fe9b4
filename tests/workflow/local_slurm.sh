#!/usr/bin/env bash
# A Slurm of two nodes on this machine, for tests: every daemon runs as the caller, on loopback
# addresses, with all state in one folder; nothing under /etc is read or written.
#
#   local_slurm.sh start FOLDER PORT   start and wait for both nodes; PORT and the next two are used
#   local_slurm.sh stop FOLDER         cancel what runs and end the daemons, by their recorded pids
#
# Clients find it with PATH=FOLDER/bin:$PATH.  Exit status 77: Slurm is not there and not to be had.
set -euo pipefail

COMMAND=$1
DIR=$2
PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$DIR/slurm.conf
CPUS=1 # a node, so that two jobs at once need both; whatever the machine has: config_overrides

present() { command -v munged mungekey slurmctld slurmd sbatch >/dev/null; }

install() { # only in a container, where a package starts no service
  [ "$(id -u)" = 0 ] && [ ! -d /run/systemd/system ] && command -v apt-get >/dev/null || return 1
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge; } \
    >"$DIR/apt.log" 2>&1
}

alive() { # NAME PIDFILE
  local pid
  pid=$(cat "$2" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ]
}

configure() { # PORT
  local memory
  memory=$(awk '/^MemTotal:/ {print int($2 / 1024)}' /proc/meminfo)
  cat >"$SLURM_CONF" <<EOF
ClusterName=local
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$1
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$DIR/munge/munge.socket
CredType=cred/munge
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool.%n
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmdPidFile=$DIR/slurmd.%n.pid
SlurmctldLogFile=$DIR/slurmctld.log
SlurmdLogFile=$DIR/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
# squeue is how the state of finished jobs is read
MinJobAge=600
ReturnToService=2
KillWait=5
NodeName=node1 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$(($1 + 1)) CPUs=$CPUS RealMemory=$memory
NodeName=node2 NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$(($1 + 2)) CPUs=$CPUS RealMemory=$memory
PartitionName=main Nodes=node1,node2 Default=YES MaxTime=UNLIMITED State=UP
EOF
  printf 'CgroupAutomount=no\n' >"$DIR/cgroup.conf"
}

# Snakemake's job steps take SLURM_CONF from the environment of their srun: clients must know it.
wrap_clients() {
  local tool path
  mkdir -p "$DIR/bin"
  for tool in srun sbatch squeue scancel sinfo scontrol; do
    path=$(command -v "$tool")
    printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$SLURM_CONF" "$path" >"$DIR/bin/$tool"
    chmod 755 "$DIR/bin/$tool"
  done
}

start() { # PORT
  mkdir -p "$DIR/munge" "$DIR/state" "$DIR/spool.node1" "$DIR/spool.node2"
  chmod 700 "$DIR/munge"
  present || install || exit 77
  mungekey --create --keyfile="$DIR/munge/munge.key"
  chmod 755 "$DIR/munge" # clients reach the socket through it; the key is the caller's alone
  munged --key-file="$DIR/munge/munge.key" --socket="$DIR/munge/munge.socket" \
    --pid-file="$DIR/munge/munged.pid" --log-file="$DIR/munge/munged.log" \
    --seed-file="$DIR/munge/munged.seed" --num-threads=2
  configure "$1"
  wrap_clients
  slurmctld -i
  slurmd -N node1
  slurmd -N node2
  for _ in $(seq 240); do
    [ "$(sinfo -h -N -o %t 2>/dev/null | grep -c '^idle$')" = 2 ] && return 0
    sleep 0.5
  done
  tail -n 5 "$DIR"/*.log >&2
  return 1
}

stop_one() { # NAME PIDFILE
  alive "$1" "$2" || return 0
  local pid
  pid=$(cat "$2")
  kill "$pid"
  for _ in $(seq 50); do
    [ -d "/proc/$pid" ] || return 0
    sleep 0.2
  done
  kill -9 "$pid"
}

stop() {
  if alive slurmctld "$DIR/slurmctld.pid"; then
    timeout 10 scancel --user="$(id -un)" || true
    for _ in $(seq 40); do
      [ -z "$(timeout 5 squeue -h -t running,completing)" ] && break
      sleep 0.5
    done
  fi
  for node in node1 node2; do stop_one slurmd "$DIR/slurmd.$node.pid"; done
  stop_one slurmctld "$DIR/slurmctld.pid"
  stop_one munged "$DIR/munge/munged.pid"
}

case $COMMAND in
  start) start "$3" ;;
  stop) stop ;;
esac
