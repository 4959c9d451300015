# A Slurm cluster of its own on this machine, for tests: a controller and three node daemons, all in one
# temporary folder. Sourced, not run. Needs root, slurmctld, slurmd, srun and munged.
#
#   cluster_missing            prints what is not there; empty: all is
#   cluster_start FOLDER       starts it and waits until all nodes are idle
#   cluster_stop               stops every process of it; safe to call at any time
#
# Node daemons are told apart by port and name (n1, n2, n3) and have folders of their own; all have this
# machine's address. No control groups: proctrack/linuxproc follows processes by their parents.

cluster_nodes=3

cluster_missing() {
  local program
  [ "$EUID" = 0 ] || echo "root"
  for program in slurmctld slurmd srun sbatch munged mungekey; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || echo "$program"
  done
}

# free_ports N: numbers that nobody listens on now. All are held open together, so that they differ.
free_ports() {
  python3 -c '
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*[s.getsockname()[1] for s in held])' "$1"
}

# until_true SECONDS COMMAND...: polls; 1 when the time is over.
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    read -r -t 0.1 <> <(:) || true
  done
}

# slurm.conf. cred_expire is what a requeued job waits for before it may start again: 120 s by default, lest
# the node still honours the credential of the start before. Here no node is ever that late.
cluster_config() {
  local folder="$1" control="$2" i
  shift 2
  cat <<END
ClusterName=cytofoldtest
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$control
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmctldPidFile=$folder/slurmctld.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmdLogFile=$folder/slurmd.%n.log
SlurmdParameters=config_overrides
SlurmdSpoolDir=$folder/spool.%n
TmpFS=$folder/tmp.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=pmix
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2,batch_sched_delay=0,sched_min_interval=100000
ReturnToService=2
JobRequeue=1
KillWait=5
MinJobAge=3600
SlurmdTimeout=30
GresTypes=gpu
END
  for i in $(seq 1 "$cluster_nodes"); do
    echo "NodeName=n$i NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=${!i} CPUs=8 Gres=gpu:2"
  done
  echo "PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO"
}

cluster_start() {
  local folder="$1" ports i
  cluster_folder="$folder" cluster_pids=()
  export PATH="$PATH:/usr/sbin:/sbin" SLURM_CONF="$folder/slurm.conf"
  mkdir -p "$folder"/state
  # munged will not serve from folders that others cannot pass through
  chmod 755 "$folder" "$(dirname "$folder")"
  for i in $(seq 1 "$cluster_nodes"); do mkdir -p "$folder/spool.n$i" "$folder/tmp.n$i"; done
  read -r -a ports <<<"$(free_ports $((cluster_nodes + 1)))"
  cluster_config "$folder" "${ports[@]}" >"$folder/slurm.conf"
  # Cards that are /dev/null: Slurm hands them out and sets CUDA_VISIBLE_DEVICES, and nothing opens them.
  for i in 0 1; do mknod "$folder/card$i" c 1 3 || return 1; done
  echo "Name=gpu File=$folder/card[0-1]" >"$folder/gres.conf"
  mungekey --create --keyfile="$folder/munge.key" || return 1
  cluster_daemon munged --foreground --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munge.pid" --log-file="$folder/munge.log" --seed-file="$folder/munge.seed" || return 1
  until_true 10 test -S "$folder/munge.socket" || { cluster_logs; return 1; }
  cluster_daemon slurmctld -D -c
  for i in $(seq 1 "$cluster_nodes"); do cluster_daemon slurmd -D -c -N "n$i"; done
  cluster_guard
  until_true 30 cluster_is_idle || { cluster_logs; return 1; }
}

# Ends the cluster when this script is gone without having done so (kill -9, a time-out of ctest).
cluster_guard() {
  (setsid bash -c '
    while kill -0 "$1" 2>/dev/null; do sleep 1; done
    [ -e "$SLURM_CONF" ] || exit # it was stopped: these numbers may be others by now
    shift
    scancel --user="$(id -un)" --full && sleep 5
    kill "$@"; sleep 5; kill -9 "$@"' guard "$$" "${cluster_pids[@]}" >/dev/null 2>&1 </dev/null &)
}

# In sessions of their own, so that a signal for the test is none for them.
cluster_daemon() {
  setsid "$@" >>"$cluster_folder/daemons.out" 2>&1 </dev/null &
  cluster_pids+=("$!")
}

cluster_is_idle() {
  [ "$(sinfo -h -N -o '%t' | grep -c '^idle$')" = "$cluster_nodes" ]
}

cluster_logs() {
  tail -n 20 "$cluster_folder"/*.log "$cluster_folder/daemons.out" >&2
}

cluster_stop() {
  [ -n "${cluster_folder:-}" ] || return 0
  scancel --user="$(id -un)" --full >/dev/null 2>&1
  until_true 15 cluster_is_idle
  local pid
  for pid in $(printf '%s\n' "${cluster_pids[@]}" | tac); do
    kill "$pid" 2>/dev/null || continue
    until_true 10 eval "! kill -0 $pid" || kill -9 "$pid" 2>/dev/null
  done
  wait "${cluster_pids[@]}" 2>/dev/null
  rm -f "$SLURM_CONF" # nothing is left for the guard to do
  cluster_folder=""
}
