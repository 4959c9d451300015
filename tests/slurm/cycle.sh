#!/bin/bash
# Jobs as a user of a cluster has them, on a real Slurm that is started here (cluster.sh): run to the end, cut by the
# wall time, asked to save, cancelled, a rank killed, a node drained, a job array, a site that forbids requeueing.
# Whatever happened to a run, its files are those of a run under mpirun that nothing happened to.
#   cycle.sh PROGRAM [CYCLES]
# 77 where Slurm cannot be started: the packages slurmctld, slurmd, slurm-client and munge, as root.
set -uo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
program="$1" cycles="${2:-1}"
here="$(cd "$(dirname "$0")" && pwd)"
config="$here/../mpi/tiny.yaml"
. "$here/../mpi/compare.sh"
. "$here/cluster.sh"
missing="$(cluster_missing | paste -sd' ')"
[ -z "$missing" ] || { echo "skipped: not here: $missing"; exit 77; }
# Three nodes with one address: Open MPI must not look for memory that they share. And more ranks than cores.
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=tcp,self OMPI_MCA_mpi_yield_when_idle=1

work="$(mktemp -d)"
trap 'cluster_stop; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cd "$work" || exit 1

# ---- jobs ----

short=(--set data.cells=cells.cells --set train.epochs=60 --set "run.engine_cache=$work/engines.txt")
long=("${short[@]}" --set train.epochs=300)

# The job script of RUN, written and not submitted: prints its name.
script_of() {
  local run="$1"
  shift
  "$program" submit "$config" --run "$run" --time 5 --json "$@" 2>"$run.err" |
    sed -n 's/^ *"script": "\(.*\)",$/\1/p'
}
# Prints the job's number.
hand_in() { sbatch --parsable "$@" || fail "sbatch $*"; }
field() { scontrol show job "$1" -o | sed -n "s/.* $2=\([^ ]*\).*/\1/p" | head -n 1; }
has_state() { [[ "$(field "$1" JobState)" =~ ^($2)$ ]]; }
log_of() { cat "$1"/slurm/*.log 2>/dev/null; }
has_saved() { compgen -G "$1/fold-*/checkpoint-*.ckpt" >/dev/null; }
says() { grep -qE -- "$2" <(log_of "$1"); }
expect_log() { says "$1" "$2" || { log_of "$1" | tail -n 40 >&2; fail "$1: nothing in the log like /$2/"; }; }
wait_for() { # SECONDS RUN WHAT COMMAND...
  local seconds="$1" run="$2" what="$3"
  shift 3
  until_true "$seconds" "$@" && return
  log_of "$run" | tail -n 40 >&2
  squeue >&2
  fail "$run: $what: not within $seconds s"
}
finish() { # RUN JOB: its good end
  wait_for 150 "$1" "end of job $2" has_state "$2" 'COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|OUT_OF_MEMORY'
  has_state "$2" COMPLETED || { log_of "$1" | tail -n 40 >&2; fail "$1: job $2 is $(field "$2" JobState)"; }
}
no_process_left() { ! pgrep -f -- "--run $work/$1 " >/dev/null; }

# ---- cases: each in a subshell of its own; all at once ----

# One node with two GPUs, all visible to both tasks; then one GPU a task. A probe stands in the program's place,
# notes what each task sees, and becomes the program.
case_gpus() {
  local script job
  cat >probe <<END
#!/bin/bash
echo "task \$SLURM_LOCALID of \$SLURM_STEP_NUM_TASKS sees \$CUDA_VISIBLE_DEVICES" >>"$work/seen.\$SLURM_JOB_ID"
exec "$program" "\$@"
END
  chmod +x probe
  script="$(script_of gpus "${short[@]}" --gpus-per-node 2 --cpus-per-task 1)"
  sed -i "s,^cytofold=.*,cytofold=$work/probe," "$script"
  job="$(hand_in "$script")" && finish gpus "$job"
  diff <(sort "seen.$job") - <<<$'task 0 of 2 sees 0,1\ntask 1 of 2 sees 0,1' || fail "all GPUs of a node"
  same "$1" gpus
  script="$(script_of apart "${short[@]}" --gpus-per-node 2 --cpus-per-task 1)"
  sed -i "s,^cytofold=.*,cytofold=$work/probe,; s/--gpus-per-node=2/--gpus-per-task=1/" "$script"
  job="$(hand_in "$script")" && finish apart "$job"
  diff <(sort "seen.$job") - <<<$'task 0 of 2 sees 0\ntask 1 of 2 sees 1' || fail "a GPU for each task"
  same "$1" apart
}

# Which card the program itself takes, without cards: its build on the host shim of CUDA, which is told how many there
# are. It is slow, so the jobs end once the ranks have said what they have.
case_cards() {
  local script job run want
  cat >host <<END
#!/bin/bash
commas="\${CUDA_VISIBLE_DEVICES//[^,]/}"
export CF_SHIM_DEVICES=\$((\${#commas} + 1))
exec "$CYTOFOLD_HOST_PROGRAM" "\$@"
END
  chmod +x host
  for run in cards-all cards-own; do
    script="$(script_of "$run" "${short[@]}" --gpus-per-node 2 --cpus-per-task 1 --set run.device=cuda)"
    sed -i "s,^cytofold=.*,cytofold=$work/host," "$script"
    want="1 2" # of a node's two cards each rank has its own; of one that it alone sees, the first
    [ "$run" = cards-all ] || { want="1 1"; sed -i "s/--gpus-per-node=2/--gpus-per-task=1/" "$script"; }
    job="$(hand_in "$script")"
    wait_for 60 "$run" "rank 0's card" says "$run" "rank 0 on host .*: GPU 0000:0${want% *}:00"
    wait_for 60 "$run" "rank 1's card" says "$run" "rank 1 on host .*: GPU 0000:0${want#* }:00"
    scancel "$job"
    wait_for 30 "$run" "its end" has_state "$job" CANCELLED
  done
}

# A job for each fold, then the table. All tasks of the array may be on nodes of one disk: one of them copies the cells
# file there, the others find it. The last task, whose job has the number of the array, is asked to save: it alone goes
# back into the queue.
case_array() {
  local answer job table
  mkdir node
  answer="$("$program" submit "$config" --run array --time 5 "${short[@]}" --array --stage "$work/node" --yes \
    --json)" || fail "submit --array"
  table="$(sed -n 's/^ *"report_job": "\(.*\)"$/\1/p' <<<"$answer")"
  job="$(sed -n 's/^ *"job": "\(.*\)",$/\1/p' <<<"$answer")"
  wait_for 60 array "a checkpoint of the last task" compgen -G "array/fold-2/checkpoint-*.ckpt"
  scancel --signal=USR1 "${job}_2"
  finish array "$table"
  diff <(scontrol show job "$job" -o | grep -o ' Restarts=[0-9]*' | sort) - \
    <<<$' Restarts=0\n Restarts=0\n Restarts=1' || fail "array: not one task alone was started again"
  [ "$(log_of array | grep -c 'cells file copied to')" = 1 ] || fail "array: $(log_of array | grep 'cells file')"
  [ "$(log_of array | grep -c 'cells file found in')" = 3 ] || fail "array: $(log_of array | grep 'cells file')"
  expect_log array "macro F1"
  same "$1" array
}

# The wall time is near, the job saves and is requeued; then a user asks for the same; then it ends.
case_wall() {
  local script job starts
  script="$(script_of wall "${long[@]}" --nodes 2 --tasks-per-node 1 --time 2 --lead 100 --set run.stop_margin=0)"
  # Slurm looks at wall times every 30 s. Asked for 100 s before the end of 120 s, the signal comes when it looks next:
  # some seconds from here, and 30 s after that to a job that was not training yet.
  wait_for 40 wall "the right moment" at_second_of_30 25
  job="$(hand_in "$script")"
  wait_for 120 wall "the signal, and what was saved" says wall "exit code 85: restart"
  starts="$(starts_of wall)"
  wait_for 60 wall "another start" says wall "start $((starts + 1))"
  wait_for 60 wall "training again" says wall "goes on at step"
  scancel --signal=USR1 "$job" || fail "scancel --signal"
  wait_for 60 wall "the second requeue" says wall "exit code 85: restart $((starts + 1)) of at most 50"
  finish wall "$job"
  starts="$(starts_of wall)"
  [ "$starts" -ge 3 ] || fail "wall: started $starts times"
  [ "$(field "$job" Restarts)" = $((starts - 1)) ] || fail "wall: Slurm counts $(field "$job" Restarts) restarts"
  same "$1" wall
}
starts_of() { log_of "$1" | grep -c 'cytofold: job .* start '; }
at_second_of_30() {
  local now
  now=$(($(date +%s%3N) - started_ms))
  [ $((now / 1000 % 30)) = "$1" ]
}

case_killed() {
  local script job rank
  script="$(script_of killed "${short[@]}" --nodes 2 --tasks-per-node 1)"
  sed -i 's/--wait=20/--wait=2/' "$script" # how long srun looks on
  job="$(hand_in "$script")"
  wait_for 60 killed "a checkpoint" has_saved killed
  rank="$(pgrep -f -- "^$program train .*--run $work/killed " | tail -n 1)"
  kill -9 "$rank" || fail "no rank to kill"
  wait_for 60 killed "the requeue" says killed "exit code [0-9]+: restart 1 of"
  finish killed "$job"
  [ "$(wc -l <"killed/slurm/lost-$job")" = 1 ] || fail "killed: the loss was not counted"
  expect_log killed "goes on at step"
  same "$1" killed
}

# An administrator empties a node: the job goes on on others.
case_drained() {
  local script job node
  script="$(script_of drained "${short[@]}" --nodes 1 --tasks-per-node 2)"
  job="$(hand_in "$script")"
  wait_for 60 drained "a checkpoint" has_saved drained
  node="$(field "$job" BatchHost)"
  scontrol update NodeName="$node" State=DRAIN Reason=test || fail "drain"
  scontrol requeue "$job" || fail "requeue"
  wait_for 60 drained "the second start" says drained "start 2"
  [ "$(field "$job" BatchHost)" != "$node" ] || fail "drained: back on $node"
  scontrol update NodeName="$node" State=RESUME
  finish drained "$job"
  expect_log drained "goes on at step"
  same "$1" drained
}

# A node is lost, and Slurm itself starts the job again.
case_down() {
  local script job node
  script="$(script_of down "${short[@]}" --nodes 1 --tasks-per-node 2)"
  job="$(hand_in "$script")"
  wait_for 60 down "a checkpoint" has_saved down
  node="$(field "$job" BatchHost)"
  scontrol update NodeName="$node" State=DOWN Reason=test || fail "down"
  wait_for 60 down "the second start" says down "start 2"
  scontrol update NodeName="$node" State=RESUME 2>/dev/null # it may have come back by itself
  finish down "$job"
  expect_log down "goes on at step"
  same "$1" down
}

# What a person has to see to is not tried again, and keeps its exit code, though srun kills the other ranks.
case_hopeless() {
  local script job
  script="$(script_of hopeless "${short[@]}" --nodes 2 --tasks-per-node 1 --set train.learning_rate=1e30)"
  job="$(hand_in "$script")"
  wait_for 60 hopeless "its end" has_state "$job" FAILED
  [ "$(field "$job" ExitCode) $(field "$job" Restarts)" = "7:0 0" ] ||
    fail "hopeless: exit code $(field "$job" ExitCode), $(field "$job" Restarts) restarts"
}

case_cancelled() {
  local script job
  script="$(script_of cancelled "${short[@]}" --nodes 1 --tasks-per-node 2)"
  job="$(hand_in "$script")"
  wait_for 60 cancelled "a checkpoint" has_saved cancelled
  scancel "$job"
  wait_for 30 cancelled "its end" has_state "$job" CANCELLED
  wait_for 30 cancelled "processes gone" no_process_left cancelled
  [ "$(field "$job" Restarts)" = 0 ] || fail "cancelled: started again"
  job="$(hand_in "$script")" && finish cancelled "$job"
  expect_log cancelled "goes on at step"
  same "$1" cancelled
}

# A site that does not let jobs be requeued: a new job goes on after this one.
case_again() {
  local script job next
  script="$(script_of again "${short[@]}" --nodes 1 --tasks-per-node 2)"
  sed -i 's/^#SBATCH --requeue/#SBATCH --no-requeue/' "$script"
  job="$(hand_in "$script")"
  wait_for 60 again "a checkpoint" has_saved again
  scancel --signal=USR1 "$job"
  wait_for 60 again "the next job" says again "Submitted batch job [0-9]+"
  next="$(log_of again | sed -n 's/^Submitted batch job //p')"
  finish again "$next"
  wait_for 10 again "the first job's end" has_state "$job" FAILED
  [ "$(field "$job" ExitCode)" = 85:0 ] || fail "again: exit code $(field "$job" ExitCode)"
  same "$1" again
}

# ---- all ----

started_ms="$(date +%s%3N)"
cluster_start "$work/cluster" || fail "Slurm did not start"
say "Slurm $(sinfo -V | cut -d' ' -f2) with $cluster_nodes nodes, after $SECONDS s"
"$program" synth -o phantoms --images 126 --size 32 --scheme bm7 --seed 5 >/dev/null || fail synth
"$program" pack phantoms --scheme bm7 -o cells.cells >/dev/null || fail pack
for length in short long; do
  declare -n settings="$length"
  "$program" train "$config" --run "whole-$length" --workers 2 "${settings[@]}" >/dev/null 2>"whole.log" ||
    { cat whole.log >&2; fail "the run under mpirun"; }
done
say "two runs under mpirun, after $SECONDS s"

failed=0
cases=(gpus array killed drained hopeless cancelled again)
[ -z "${CYTOFOLD_HOST_PROGRAM:-}" ] || cases+=(cards)
for ((cycle = 1; cycle <= cycles; cycle++)); do
  pids=()
  for name in "${cases[@]}"; do
    cp -r whole-short "ref-$name" # compare.sh writes beside what it compares
    (begin=$SECONDS; "case_$name" "ref-$name"; say "$name ok in $((SECONDS - begin)) s") >"$name.said" 2>&1 &
    pids+=("$!:$name")
  done
  (begin=$SECONDS; case_wall whole-long; say "wall ok in $((SECONDS - begin)) s") >"wall.said" 2>&1 &
  pids+=("$!:wall")
  for entry in "${pids[@]}"; do
    wait "${entry%%:*}" || { failed=$((failed + 1)); echo "FAILED: cycle $cycle: ${entry#*:}"; }
    cat "${entry#*:}.said"
  done
  # Takes every job of its node with it, so it comes alone, where there is time for it.
  if [ "$cycles" -gt 1 ] && ! (cp -r whole-short ref-down && case_down ref-down && say "down ok"); then
    failed=$((failed + 1))
    echo "FAILED: cycle $cycle: down"
  fi
  say "cycle $cycle of $cycles: $SECONDS s"
  [ "$failed" = 0 ] || break
  rm -rf gpus apart cards-* array wall killed drained down hopeless cancelled again ref-* node probe host seen.*
done
[ "$failed" = 0 ] || { cluster_logs; exit 1; }
