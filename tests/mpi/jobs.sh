#!/bin/bash
# Whole jobs on phantom cells (synthetic): the one law, resuming, and refusals. One case a call:
#   jobs.sh PROGRAM CASE
# Each case compares bytes. Needs mpirun. CYTOFOLD_TEST_DEVICE=cuda: on that device. Where an epoch takes
# long: CYTOFOLD_TEST_IMAGES (126), CYTOFOLD_TEST_EPOCHS, of each training (4), CYTOFOLD_TEST_LONG, of those that are
# killed (40), and CYTOFOLD_TEST_KILLS, how many are killed (2).
set -euo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
program="$1" name="$2"
config="$(cd "$(dirname "$0")" && pwd)/tiny.yaml"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"

# Which engine is faster is measured; the choice decides last bits, so all runs share the first one's.
device=(--set "run.device=${CYTOFOLD_TEST_DEVICE:-cpu}" --set "run.engine_cache=$work/engines.txt")
cells=(--set data.cells=cells.cells --set "train.epochs=${CYTOFOLD_TEST_EPOCHS:-4}" "${device[@]}")

. "$(dirname "$config")/compare.sh"

make_cells() {
  "$program" synth -o phantoms --images "${CYTOFOLD_TEST_IMAGES:-126}" --size 32 --scheme bm7 --seed 5 >/dev/null
  "$program" pack phantoms --scheme bm7 -o cells.cells >/dev/null
}

# train RUN WORKERS [OPTIONS...]
train() {
  local run="$1" workers="$2"
  shift 2
  "$program" train "$config" --run "$run" --workers "$workers" "${cells[@]}" "$@" \
    >"$run.out" 2>"$run.log" || { cat "$run.log" >&2; fail "train $run"; }
}

# True once the run has saved something; false when it ended before.
wait_for_checkpoint() {
  local run="$1" launcher="$2"
  for _ in $(seq 1 2000); do
    if compgen -G "$run/fold-*/checkpoint-*.ckpt" >/dev/null; then return 0; fi
    kill -0 "$launcher" 2>/dev/null || return 1
    read -r -t 0.01 <> <(:) || true
  done
  return 1
}

# Long enough that ranks notice a lost launcher before they are through.
long=(--set "train.epochs=${CYTOFOLD_TEST_LONG:-40}")

# kill_once RUN WHO: starts a job, kills a worker or the launcher after its first checkpoint.
kill_once() {
  local run="$1" who="$2" launcher victim child
  "$program" train "$config" --run "$run" --workers 2 "${cells[@]}" "${long[@]}" \
    >/dev/null 2>&1 &
  launcher=$!
  wait_for_checkpoint "$run" "$launcher" || fail "$run ended before it could be killed"
  victim="$launcher"
  if [ "$who" = worker ]; then
    # the last process of the last: below mpirun, of MPICH below its proxy too
    while child="$(pgrep -P "$victim" | sort -n | tail -n 1)" && [ -n "$child" ]; do victim="$child"; done
  fi
  kill -9 "$victim" || fail "nothing to kill"
  wait "$launcher" && fail "the killed job ended well"
  # The ranks of a killed launcher notice and leave; the next job must not meet them.
  for _ in $(seq 1 3000); do
    runs_here "$run" || break
    read -r -t 0.01 <> <(:) || true
  done
  runs_here "$run" && fail "processes of the killed job are left after 30 s"
  [ -f "$run/fold-0/predictions.csv" ] && [ -f "$run/fold-1/predictions.csv" ] &&
    [ -f "$run/fold-2/predictions.csv" ] && fail "the job had finished before it was killed"
  return 0
}

# Epoch lines of log.jsonl without times: each epoch of each fold once.
epochs() {
  grep '"event": "epoch"' "$1/log.jsonl" | sed 's/.*\("fold".*\), "images_per_second.*/\1/' | sort -V
}

# process_of LAUNCHER WHO: launcher, mpirun, coordinator or worker (the last) of a job that we started.
process_of() {
  local mpirun ranks
  if [ "$2" = launcher ]; then echo "$1"; return 0; fi
  mpirun="$(pgrep -P "$1")"
  ranks="$(pgrep -P "$mpirun" | sort -n)"
  # MPICH has a proxy between the two
  if [ "$(wc -w <<<"$ranks")" = 1 ] && pgrep -P "$ranks" >/dev/null; then ranks="$(pgrep -P "$ranks" | sort -n)"; fi
  case "$2" in
  mpirun) echo "$mpirun" ;;
  coordinator) echo "$ranks" | head -n 1 ;;
  worker) echo "$ranks" | tail -n 1 ;;
  esac
}

# stop_once RUN WORKERS WHO SIGNAL LINES: signals WHO once log.jsonl has LINES more lines. Sets code.
stop_once() {
  local run="$1" launcher before=0
  [ ! -f "$run/log.jsonl" ] || before="$(wc -l <"$run/log.jsonl")"
  # a script's & makes a program ignore INT
  env --default-signal=INT "$program" train "$config" --run "$run" --workers "$2" "${cells[@]}" "${long[@]}" \
    >"$run.out" 2>"$run.log" &
  launcher=$!
  for _ in $(seq 1 6000); do
    if [ -f "$run/log.jsonl" ] && [ "$(wc -l <"$run/log.jsonl")" -ge $((before + $5)) ]; then break; fi
    kill -0 "$launcher" 2>/dev/null || break
    read -r -t 0.005 <> <(:) || true
  done
  kill -"$4" "$(process_of "$launcher" "$3")" 2>/dev/null || true
  code=0
  wait "$launcher" || code=$?
}

case "$name" in
ranks)
  make_cells
  train one 1
  train two 2
  train three 3
  same one two
  same one three
  cmp one/report.html three/report.html || fail "the pages of one and three workers differ"
  ;;
thread)
  make_cells
  train rank 2
  train thread 2 --set run.coordinator=thread
  train alone 1 --set run.coordinator=thread
  same rank thread
  same rank alone
  ;;
groups)
  make_cells
  train one 3 --set run.groups=1
  train three 3 --set run.groups=3
  same one three
  ;;
group-norm) # no running moments: nothing but weights in checkpoints, averages and the step's sums
  make_cells
  group=(--set model.norm=group --set model.norm_groups=8)
  train one 1 "${group[@]}"
  train two 2 "${group[@]}"
  train three 3 "${group[@]}" --set run.groups=3
  same one two
  same one three
  train one 2 "${group[@]}" # finished: tests again what the checkpoints hold
  same one two
  plain=(--set model.network=sequential --set "model.widths=[8, 12]" --set model.variant=paper)
  train narrow 1 "${group[@]}" "${plain[@]}"
  train spread 3 "${group[@]}" "${plain[@]}"
  same narrow spread
  ;;
again)
  make_cells
  train first 2
  train second 2
  same first second
  train first 1 # finished: the same command again tests again and writes the same
  same first second
  ;;
encoded)
  "$program" synth -o phantoms --images 126 --size 32 --scheme bm7 --seed 5 --jpeg >/dev/null
  "$program" pack phantoms --scheme bm7 -o cells.cells >/dev/null
  train decoded 2
  "$program" pack phantoms --scheme bm7 --keep-encoded -o cells.cells >/dev/null
  "$program" inspect cells.cells --json | grep -q '"stored": "encoded"' || fail "nothing is encoded"
  train encoded 1
  same decoded encoded
  ;;
kill-worker | kill-launcher)
  make_cells
  train whole 2 "${long[@]}"
  for ((try = 1; try <= ${CYTOFOLD_TEST_KILLS:-2}; try++)); do
    kill_once "cut$try" "${name#kill-}"
    train "cut$try" 3 "${long[@]}"
    grep -q "goes on at step" "cut$try.log" || fail "cut$try did not resume"
    same whole "cut$try"
  done
  ;;
stop-step) # again and again, by any signal to anybody, on any number of workers
  make_cells
  long=(--set "train.epochs=${CYTOFOLD_TEST_STOP_EPOCHS:-12}")
  train whole 2 "${long[@]}"
  seed="${CYTOFOLD_TEST_SEED:-$RANDOM}"
  say "seed $seed"
  RANDOM="$seed"
  who=(launcher worker coordinator mpirun) signals=(USR1 TERM INT) stopped=0
  for ((try = 0; try < ${CYTOFOLD_TEST_STOPS:-5}; try++)); do
    signal="${signals[RANDOM % 3]}" victim="${who[try % 4]}"
    [ "$victim" != mpirun ] || signal=USR1 # mpirun kills its ranks on the others
    stop_once cut $((1 + RANDOM % 3)) "$victim" "$signal" $((1 + RANDOM % 6))
    say "$signal to $victim: exit $code, $(grep -o 'stopped (.*' cut.log || true)"
    [ "$code" != 0 ] || break
    [ "$code" = 85 ] || { cat cut.log >&2; fail "exit $code, expected 85"; }
    stopped=$((stopped + 1))
    grep -q '"event": "stop"' cut/log.jsonl || fail "the stop is not in log.jsonl"
    grep -q "the same command" cut.log || fail "nobody says how to go on"
  done
  [ "$stopped" -ge 2 ] || fail "only $stopped stops before the end"
  train cut 2 "${long[@]}"
  same whole cut
  epochs whole >whole.epochs
  epochs cut >cut.epochs
  diff whole.epochs cut.epochs || fail "the epochs of a stopped run have other means"
  say "$stopped stops, $(wc -l <whole.epochs) epochs with the same means"
  ;;
stop-rules)
  make_cells
  alone=(--set run.coordinator=thread)
  train whole 1 "${alone[@]}"
  # no signals: the default action, at once
  code=0
  CYTOFOLD_VERBOSE=1 "$program" train "$config" --run off --workers 1 "${cells[@]}" "${long[@]}" "${alone[@]}" \
    --set run.save_on= >/dev/null 2>off.log &
  launcher=$!
  wait_for_checkpoint off "$launcher" || fail "no checkpoint"
  kill -TERM "$launcher"
  wait "$launcher" || code=$?
  [ "$code" = 143 ] || fail "TERM without run.save_on: exit $code, expected 143"
  # saved at other times than the ends of epochs, as often as can be
  train often 2 --set train.checkpoint_minutes=1e-6
  same whole often
  # wrong words are found before anything is started
  code=0
  "$program" train "$config" --run none "${cells[@]}" --set run.save_on=KILL >/dev/null 2>none.log || code=$?
  [ "$code" = 2 ] && [ ! -e none ] || fail "run.save_on=KILL: exit $code, expected 2"
  ;;
replica) # a bit that changes on its way from one rank to another
  make_cells
  [ -n "${CYTOFOLD_FLIP_SENT:-}" ] || fail "CYTOFOLD_FLIP_SENT: the library that flips a bit"
  often=(--set run.replica_check=5 --set train.checkpoint_every=10 --set run.groups=1)
  # three ranks: the one that is alone is named; two: both
  for workers in 3 2; do
    code=0
    LD_PRELOAD="$CYTOFOLD_FLIP_SENT" CYTOFOLD_FLIP_RANK=1 CYTOFOLD_FLIP_AFTER=$((24 * (workers - 1))) \
      "$program" train "$config" --run "flip$workers" --workers "$workers" "${cells[@]}" "${long[@]}" "${often[@]}" \
      >out 2>"flip$workers.log" || code=$?
    [ "$code" = 7 ] || { cat "flip$workers.log" >&2; fail "a flipped bit: exit $code, expected 7"; }
    said="$(grep -o 'fold [0-9]*, step [0-9]*: weights or moments are not the same.*' "flip$workers.log")" ||
      { cat "flip$workers.log" >&2; fail "the fault is not named"; }
    say "$said"
    n="$(grep -o 'rank [0-9]* on' <<<"$said" | wc -l)"
    [ "$n" = $((workers == 3 ? 1 : 2)) ] || fail "$n ranks are named of $workers"
    step="$(sed 's/.*step \([0-9]*\):.*/\1/' <<<"$said")"
    [ "$step" -le 20 ] || fail "found only at step $step, sent wrong at about step 8"
  done
  # what was saved is from before: the same command mends it
  train flip3 2 "${long[@]}" "${often[@]}"
  train whole 1 "${long[@]}" "${often[@]}"
  same whole flip3
  ;;
wall-time)
  make_cells
  alone=(--set run.coordinator=thread)
  train whole 1 "${alone[@]}"
  mkdir bin
  stopped() { # RUN: by its time, and goes on to the same end
    grep -q "stopping: the job's time ends" "$1.log" || { cat "$1.log" >&2; fail "$1 was not stopped by its time"; }
    train "$1" 1 "${alone[@]}"
    same whole "$1"
  }
  run_timed() { # RUN CODE OPTIONS...
    local run="$1" expected="$2" code=0
    shift 2
    "$program" train "$config" --run "$run" --workers 1 "${cells[@]}" "${alone[@]}" "$@" \
      >"$run.out" 2>"$run.log" || code=$?
    [ "$code" = "$expected" ] || { cat "$run.log" >&2; fail "$run: exit $code, expected $expected"; }
  }
  # the margin begins a moment after the start
  run_timed limit 85 --set run.time_limit=0:01:00 --set run.stop_margin=60
  stopped limit
  printf '#!/bin/sh\necho 0:05\n' >bin/squeue
  chmod +x bin/squeue
  (PATH="$work/bin:$PATH" SLURM_JOB_ID=7 run_timed squeue 85 --set "train.epochs=4000" --set train.learning_rate=0)
  grep -q "stopping: the job's time ends" squeue.log || fail "squeue is not asked"
  (SLURM_JOB_END_TIME=$(($(date +%s) + 30)) run_timed newer 85)
  stopped newer
  # what says nothing of use does no harm: past by this clock, unlimited, failing, silent for ever
  (SLURM_JOB_END_TIME=1000 run_timed past 0)
  grep -q "not heeded" past.log || fail "an end in the past is not told"
  same whole past
  for answer in "echo UNLIMITED" "exit 1" "exec sleep 1003.5"; do
    printf '#!/bin/sh\n%s\n' "$answer" >bin/squeue
    rm -rf quiet
    (PATH="$work/bin:$PATH" SLURM_JOB_ID=7 run_timed quiet 0)
    same whole quiet
  done
  ! pgrep -f "^sleep 1003.5$" >/dev/null || fail "a squeue is left"
  ;;
folds)
  make_cells
  train whole 2
  for k in 0 1 2; do train array 1 --fold "$k"; done
  "$program" report array >/dev/null
  same whole array
  ;;
splits)
  "$program" synth -o phantoms --images 126 --size 32 --scheme bm7 --seed 5 >/dev/null
  # 21 patients of six images, seven at each of three sites
  find phantoms -name '*.png' | sort | awk -F/ '
    BEGIN { print "path,label,site,patient" }
    { p = NR % 21; printf "%s,%s,site %d,patient %d\n", $0, $(NF - 1), p % 3, p }' >manifest.csv
  "$program" pack manifest.csv --scheme bm7 -o cells.cells >/dev/null
  train left 2 --set data.split=leave-site-out --set data.group=patient
  "$program" split cells.cells --leave-out site -o left.csv >/dev/null
  cmp left.csv left/folds.csv || fail "split and train leave sites out in different ways"
  for site in 0 1 2; do
    [ "$(cut -d, -f2 left/fold-$site/predictions.csv | sort -u | grep -v '^site$')" = "site $site" ] ||
      fail "fold $site tests other sites"
  done
  train held 2 --set data.split=holdout --set data.group=patient
  "$program" split cells.cells --test-share 0.2 --group patient -o held.csv >/dev/null
  cmp held.csv held/folds.csv || fail "split and train hold out other images"
  # what cannot be promised is said once, and only where it cannot
  "$program" split cells.cells -o torn.csv 2>torn.log >/dev/null
  [ "$(grep -c "21 of 21 patients have images in more than one fold" torn.log)" = 1 ] || fail "$(cat torn.log)"
  ! grep -q "patient" left.log held.log || fail "$(grep patient left.log held.log)"
  # no patient on both sides: each has one word for all its images
  torn="$(awk -F, 'NR == FNR { patient[$1] = $4; next }
    FNR > 1 { if (patient[$1] in seen && seen[patient[$1]] != $2) n++; seen[patient[$1]] = $2 }
    END { print length(seen) == 21 ? n + 0 : "no" }' manifest.csv held.csv)"
  [ "$torn" = 0 ] || fail "$torn patients are torn apart"
  [ ! -e held/fold-1 ] || fail "a hold-out trained two folds"
  train given 1 --set data.folds_file=held.csv
  for file in fold-0/predictions.csv metrics.json table.md; do
    cmp "held/$file" "given/$file" || fail "the folds file gives another $file"
  done
  ;;
refused)
  make_cells
  # A run that a worker refuses before it begins leaves a folder that takes the mended command.
  code=0
  "$program" train "$config" --run run --workers 1 "${cells[@]}" --set train.precision=fp16 \
    --set run.device=cpu >out 2>err || code=$?
  [ "$code" = 6 ] || fail "fp16 on the CPU: exit $code, expected 6"
  train run 1
  code=0
  "$program" train "$config" --run run --workers 1 "${cells[@]}" --set train.epochs=9 \
    >out 2>err || code=$?
  [ "$code" = 2 ] || fail "another configuration: exit $code, expected 2"
  grep -q "epochs" err || fail "the difference is not named: $(cat err)"
  "$program" synth -o others --images 126 --size 32 --scheme bm7 --seed 6 >/dev/null
  "$program" pack others --scheme bm7 -o others.cells >/dev/null
  code=0
  "$program" train "$config" --run run --workers 1 --set data.cells=others.cells "${device[@]}" >out 2>err || code=$?
  [ "$code" = 2 ] || fail "other data: exit $code, expected 2"
  ;;
numeric)
  make_cells
  code=0
  "$program" train "$config" --run run --workers 2 "${cells[@]}" --set train.learning_rate=1e30 \
    --set train.schedule=constant >out 2>err || code=$?
  [ "$code" = 7 ] || { cat err; fail "learning rate 1e30: exit $code, expected 7"; }
  grep -qE "fold [0-9]+, step [0-9]+" err || fail "the step is not named: $(cat err)"
  ;;
*) fail "no case $name" ;;
esac
say "$name ok"
