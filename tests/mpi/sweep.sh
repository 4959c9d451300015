#!/bin/bash
# Sweeps on phantom cells (synthetic): each point is the run that its configuration is alone, on any number
# of ranks and after any kill. One case a call:
#   sweep.sh PROGRAM CASE
# CYTOFOLD_TEST_CUTS: how often the job is cut off (4); CYTOFOLD_TEST_SEED: which times and ranks.
set -euo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
program="$1" name="$2"
here="$(cd "$(dirname "$0")" && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
. "$here/compare.sh"

options=(--set data.cells=cells.cells --set run.device=cpu --set "train.epochs=${CYTOFOLD_TEST_EPOCHS:-4}")
learning_rates=(0.002 0.005)
depths=("[1, 1]" "[1]")

make_cells() {
  "$program" synth -o phantoms --images 126 --size 32 --scheme bm7 --seed 5 >/dev/null
  "$program" pack phantoms --scheme bm7 -o cells.cells >/dev/null
  cp "$here/tiny.yaml" alone.yaml
  { cat "$here/tiny.yaml"
    printf 'sweep:\n  train.learning_rate: [2e-3, 5e-3]\n  model.depths: [[1, 1], [1]]\n'; } >sweep.yaml
}

# train CONFIG RUN WORKERS [OPTIONS...]
train() {
  local config="$1" run="$2" workers="$3"
  shift 3
  "$program" train "$config" --run "$run" --workers "$workers" "${options[@]}" "$@" >"${run//\//-}.out" \
    2>"${run//\//-}.log" || { cat "${run//\//-}.log" >&2; fail "train $run"; }
}

# The four points as runs of their own: alone/point-000 and so on.
train_alone() {
  local point=0 rate depth
  mkdir -p alone
  for rate in "${learning_rates[@]}"; do
    for depth in "${depths[@]}"; do
      train alone.yaml "alone/point-00$point" 2 --set "train.learning_rate=$rate" --set "model.depths=$depth" "$@"
      point=$((point + 1))
    done
  done
}

# same_points SWEEP OTHER
same_points() {
  local point
  for point in 0 1 2 3; do same "$1/point-00$point" "$2/point-00$point"; done
}

# Ranks of a job that we started: of Open MPI below mpirun, of MPICH below its proxy, too.
ranks_of() {
  local mpirun ranks
  mpirun="$(pgrep -P "$1")" || return 0
  ranks="$(pgrep -P "$mpirun" | sort -n)"
  if [ "$(wc -w <<<"$ranks")" = 1 ] && pgrep -P "$ranks" >/dev/null; then ranks="$(pgrep -P "$ranks" | sort -n)"; fi
  echo "$ranks"
}

epochs_of() { cat "$1"/point-*/log.jsonl 2>/dev/null | grep -c '"event": "epoch"' || true; }

# cut_off RUN WORKERS SIGNAL EPOCHS: sends SIGNAL to a random rank once EPOCHS more are logged. Sets code.
cut_off() {
  local run="$1" launcher before ranks victim
  before="$(epochs_of "$run")"
  "$program" train sweep.yaml --run "$run" --workers "$2" "${options[@]}" >"$run.out" 2>"$run.log" &
  launcher=$!
  for _ in $(seq 1 6000); do
    [ "$(epochs_of "$run")" -lt $((before + $4)) ] || break
    kill -0 "$launcher" 2>/dev/null || break
    read -r -t 0.01 <> <(:) || true
  done
  read -ra ranks <<<"$(ranks_of "$launcher" | tr '\n' ' ')"
  if [ "${#ranks[@]}" -gt 0 ]; then
    victim=$((RANDOM % ${#ranks[@]}))
    kill "-$3" "${ranks[victim]}" 2>/dev/null || true
  fi
  code=0
  wait "$launcher" || code=$?
  # what is left of a killed job leaves; the next one must not meet it
  for _ in $(seq 1 3000); do
    runs_here "$run" || return 0
    read -r -t 0.01 <> <(:) || true
  done
  fail "processes of the job that was cut off are left after 30 s"
}

# refuse CODE WORDS ARGUMENTS...
refuse() {
  local expected="$1" words="$2" code=0
  shift 2
  "$program" train "$@" >out 2>err || code=$?
  [ "$code" = "$expected" ] || { cat err >&2; fail "train $*: exit $code, expected $expected"; }
  grep -qF -- "$words" err || { cat err >&2; fail "train $*: no word of: $words"; }
}

case "$name" in # what is cut off on purpose need not be waited for
through | killed | fails) export OMPI_MCA_odls_base_sigkill_timeout=0 ;;
esac

case "$name" in
points)
  make_cells
  train_alone
  for workers in 1 3 5; do
    train sweep.yaml "on$workers" "$workers"
    same_points alone "on$workers"
    [ "$workers" = 1 ] || cmp on1/sweep.json "on$workers/sweep.json" || fail "another report on $workers workers"
  done
  train sweep.yaml beside 2 --set run.coordinator=thread
  same_points alone beside
  grep -q "in 2 lanes" beside.log || fail "two workers do not share the points out: $(grep lane beside.log)"
  # a point is a run: the same command again trains nothing, a verb takes its folder
  lines="$(cat on3/point-*/log.jsonl | wc -l)"
  train sweep.yaml on3 2
  [ "$(cat on3/point-*/log.jsonl | wc -l)" = "$lines" ] || fail "a finished point was trained again"
  "$program" report on3/point-003 | cmp - on3/point-003/table.md || fail "report of a point"
  "$program" report on3 | cmp - on3/sweep.md || fail "report of a sweep"
  cmp on1/sweep.html on5/sweep.html || fail "another page on 5 workers"
  for point in 0 1 2 3; do
    [ "$(grep -c "point-00$point/report.html" on1/sweep.html)" = 2 ] || fail "the page has not point $point twice"
    [ -s "on1/point-00$point/report.html" ] || fail "no page of point $point"
  done
  [ -s on1/sweep.png ] && [ -s on1/sweep.svg ] || fail "no figure"
  ;;
array) # job arrays: a point a task, and a fold of a point a task; the last one writes the report
  make_cells
  train sweep.yaml whole 2
  train sweep.yaml array 1 --point 1 --fold 2 # before any point is whole
  for point in 0 2 3; do train sweep.yaml array 1 --point "$point"; done
  [ ! -e array/sweep.json ] || fail "a report before all points are there"
  "$program" report array | grep -q "Not finished: point-001 of 4" || fail "the missing point is not named"
  for fold in 0 1; do train sweep.yaml array 1 --point 1 --fold "$fold"; done
  same_points whole array
  cmp whole/sweep.json array/sweep.json || fail "another report of the array"
  ;;
cut) # killed or told to stop at any time and rank, resumed on another number of ranks
  make_cells
  options+=(--set train.epochs=10)
  seed="${CYTOFOLD_TEST_SEED:-$RANDOM}"
  say "seed $seed"
  RANDOM="$seed"
  train sweep.yaml whole 2
  stopped=0
  for ((try = 0; try < ${CYTOFOLD_TEST_CUTS:-4}; try++)); do
    signal=KILL
    [ $((try % 2)) = 0 ] || signal=TERM
    cut_off cut $((1 + (RANDOM + try) % 5)) "$signal" $((1 + RANDOM % 24))
    say "$signal: exit $code, $(ls -d cut/point-*/metrics.json 2>/dev/null | wc -l) points done"
    [ "$code" != 0 ] || break
    if [ "$signal" = TERM ] && [ "$code" = 85 ]; then
      stopped=$((stopped + 1))
      grep -q "stopped; the same command goes on with what is left" cut.log || { cat cut.log >&2; fail "nobody says how to go on"; }
    elif [ "$signal" = TERM ]; then
      { cat cut.log >&2; fail "TERM: exit $code, expected 85"; }
    fi
  done
  [ "$try" -ge 2 ] || fail "only $try cuts before the end"
  train sweep.yaml cut 3
  same_points whole cut
  cmp whole/sweep.json cut/sweep.json || fail "another report after $try cuts"
  say "$try cuts, $stopped of them orderly"
  ;;
through) # a rank whose lane is through: a signal to it stops the others, and it is missed when it hangs
  make_cells
  options+=(--set train.epochs=40 --set "sweep.model.depths=[[1]]")
  train sweep.yaml told 2 --point 0
  rm told/point-000/metrics.json # nothing is left to be trained, but its lane does not know that
  cp -r told stuck
  # begin RUN: until point 0 is through, and its worker, rank 1, has nothing more to do. Sets job and ranks.
  begin() {
    "$program" train sweep.yaml --run "$1" --workers 2 "${options[@]}" >out 2>"$1.log" &
    job=$!
    for _ in $(seq 1 6000); do
      [ ! -s "$1/point-000/metrics.json" ] || [ ! -e "$1/point-001/fold-0" ] || break
      kill -0 "$job" 2>/dev/null || break
      read -r -t 0.01 <> <(:) || true
    done
    read -ra ranks <<<"$(ranks_of "$job" | tr '\n' ' ')"
    [ "${#ranks[@]}" = 3 ] || { cat "$1.log" >&2; fail "no point is through"; }
  }
  begin told
  code=0
  kill -TERM "${ranks[1]}"
  wait "$job" || code=$?
  [ "$code" = 85 ] || { cat told.log >&2; fail "TERM to a rank whose lane is through: exit $code, expected 85"; }
  grep -q "stopping: signal TERM at rank 1" told.log || { cat told.log >&2; fail "who was asked is not named"; }
  grep -q '"event": "stop"' told/point-001/log.jsonl || fail "the other lane has not saved"
  options+=(--set run.hang_timeout=2)
  begin stuck
  code=0
  kill -STOP "${ranks[1]}"
  wait "$job" || code=$?
  [ "$code" = 8 ] || { cat stuck.log >&2; fail "SIGSTOP of a rank whose lane is through: exit $code, expected 8"; }
  grep -q "rank 1 on host .* stopped answering: last heard" stuck.log || { cat stuck.log >&2; fail "it is not named"; }
  grep -q '"event": "hang"' stuck/point-000/log.jsonl || fail "it is not in the point's log"
  [ ! -e stuck/point-000/run.lock ] || fail "a point that is through has kept its lock"
  options+=(--set run.hang_timeout=600)
  train sweep.yaml stuck 2
  grep -q "2 points, 1 done" stuck.log || { cat stuck.log >&2; fail "the point that was through is trained again"; }
  ;;
killed) # a point that is under way when the coordinator dies: its next turn is behind the others'
  make_cells
  options+=(--set train.epochs=20 --set "sweep.model.depths=[[1]]")
  train sweep.yaml whole 2
  "$program" train sweep.yaml --run run --workers 1 "${options[@]}" --set run.coordinator=rank >out 2>run.log &
  job=$!
  for _ in $(seq 1 6000); do
    [ ! -e run/point-000/fold-0 ] || break
    kill -0 "$job" 2>/dev/null || break
    read -r -t 0.01 <> <(:) || true
  done
  read -ra ranks <<<"$(ranks_of "$job" | tr '\n' ' ')"
  [ "${#ranks[@]}" = 2 ] || { cat run.log >&2; fail "the first point was not begun"; }
  kill -KILL "${ranks[0]}"
  code=0
  wait "$job" || code=$?
  [ "$code" = 137 ] || { cat run.log >&2; fail "KILL of the coordinator: exit $code, expected 137"; }
  for _ in $(seq 1 3000); do
    runs_here run || break
    read -r -t 0.01 <> <(:) || true
  done
  train sweep.yaml run 1
  turns="$(grep -o 'point-00[01]: train.learning_rate' run.log | grep -o '00[01]' | tr '\n' ' ')"
  [ "$turns" = "001 000 " ] || fail "the points' turns: $turns"
  for point in 0 1; do same "whole/point-00$point" "run/point-00$point"; done
  cmp whole/sweep.json run/sweep.json || fail "another report"
  ;;
fails) # a point that diverges: named, with its code; the others keep what they have
  make_cells
  diverging=(--set "sweep.train.learning_rate=[2e-3, 1e30]" --set train.schedule=constant)
  code=0
  "$program" train sweep.yaml --run run --workers 2 "${options[@]}" "${diverging[@]}" >out 2>err || code=$?
  [ "$code" = 7 ] || { cat err >&2; fail "a learning rate of 1e30: exit $code, expected 7"; }
  grep -q "point-00[23]: (train.learning_rate 1e+30, model.depths .* rank [0-9]* on .*: fold [0-2], step" err ||
    { cat err >&2; fail "the point and the step are not named"; }
  [ -z "$(find run -name '*.lock' ! -name .lock)" ] || fail "a lock is left"
  # the same command tries it last: what the others had reached is there, they go on from it and end well
  first="$(ls run/*.error)"
  code=0
  "$program" train sweep.yaml --run run --workers 1 "${options[@]}" "${diverging[@]}" >out 2>err || code=$?
  [ "$code" = 7 ] || { cat err >&2; fail "again: exit $code, expected 7"; }
  for point in 0 1; do [ -f "run/point-00$point/metrics.json" ] || fail "point $point was not trained before"; done
  grep -q '"event": "resume"' run/point-000/log.jsonl || fail "point 0 did not go on from where it was"
  train alone.yaml alone 2 "${diverging[@]:2}"
  same alone run/point-000
  "$program" report run >report.out
  grep -q "Not finished: point-002, point-003 of 4" report.out || fail "who is missing is not named"
  grep -q "$(basename "$first" .error) failed: .*step" report.out || fail "why it is missing is not told: $(cat report.out)"
  # a task of an array that fails says so, too, and what a later one mends is forgotten
  rm "$first" run/point-002.error run/point-003.error 2>/dev/null || true
  refuse 7 "fold" sweep.yaml --run run --workers 1 "${options[@]}" "${diverging[@]}" --point 3
  grep -q "rank [0-9] on .*: fold" run/point-003.error || fail "why the point of a task failed is not noted"
  "$program" report run | grep -q "point-003 failed: .*fold" || fail "the report does not tell of it"
  echo "a full disk" >run/point-001.error
  train sweep.yaml run 1 "${diverging[@]}" --point 1
  [ ! -e run/point-001.error ] || fail "the error of a finished point is left"
  for n in 1 2 3; do # both lanes diverge at about the same time: one of them ends the job
    code=0
    "$program" train sweep.yaml --run "both$n" --workers 2 "${options[@]}" --set train.schedule=constant \
      --set 'sweep.train.learning_rate=[1e30, 9e29]' >out 2>err || code=$?
    [ "$code" = 7 ] || { cat err >&2; fail "two points that diverge: exit $code, expected 7"; }
    [ ! -e "both$n/run.lock" ] || fail "the lock is left"
  done
  ;;
busy) # a job of all points and one of a single point do not meet
  make_cells
  long=(--set train.epochs=400)
  begun() { # FILE LAUNCHER
    for _ in $(seq 1 6000); do
      [ ! -e "$1" ] || return 0
      kill -0 "$2" 2>/dev/null || break
      read -r -t 0.01 <> <(:) || true
    done
    fail "no $1"
  }
  leave() { # LAUNCHER
    code=0
    kill -USR1 "$1"
    wait "$1" || code=$?
    [ "$code" = 85 ] || fail "USR1: exit $code, expected 85"
  }
  "$program" train sweep.yaml --run run --workers 1 "${options[@]}" "${long[@]}" >/dev/null 2>whole.log &
  job=$!
  begun run/point-000/fold-0 "$job"
  refuse 9 "run/run.lock" sweep.yaml --run run --workers 1 "${options[@]}" "${long[@]}" --point 3
  refuse 9 "run/run.lock" sweep.yaml --run run --workers 1 "${options[@]}" "${long[@]}"
  leave "$job"
  "$program" train sweep.yaml --run run --workers 1 "${options[@]}" "${long[@]}" --point 3 >/dev/null 2>point.log &
  job=$!
  begun run/point-003/fold-0 "$job"
  refuse 9 "run/point-003/run.lock" sweep.yaml --run run --workers 1 "${options[@]}" "${long[@]}"
  leave "$job"
  ;;
plan)
  make_cells
  "$program" plan sweep.yaml --workers 5 "${options[@]}" --json >plan.json
  lanes="$(grep -o '"lane": [0-9]*' plan.json | sort -u | wc -l)"
  train sweep.yaml run 5
  grep -q "5 workers in $lanes lane" run.log || fail "planned for $lanes lanes: $(grep lane run.log)"
  "$program" plan sweep.yaml --workers 5 "${options[@]}" >plan.txt
  grep -q "for 5 workers: 4 points in $lanes lane" plan.txt || fail "plan: $(cat plan.txt)"
  for point in 0 1 2 3; do
    [ "$(grep -c "^lane .*point-00$point" plan.txt)" = 1 ] || fail "point $point is not in one lane: $(cat plan.txt)"
  done
  code=0
  "$program" plan sweep.yaml --workers 2 "${options[@]}" --set 'sweep.train.batch=[32, 20]' >out 2>err || code=$?
  [ "$code" = 2 ] && grep -q "point-001: sweep.yaml: train.batch is 20" err || fail "exit $code: $(cat err)"
  code=0
  "$program" plan sweep.yaml --simulate --workers 2,4 "${options[@]}" >out 2>err || code=$?
  [ "$code" = 2 ] && grep -q "simulate is of one run, sweep.yaml has a sweep of 4 points" err || fail "exit $code: $(cat err)"
  ;;
refused)
  make_cells
  printf 'sweep:\n  train.learning_rate: [1e-3, -1]\n' >bad.yaml
  refuse 2 "bad.yaml:2:31: train.learning_rate is" bad.yaml --run run "${options[@]}"
  printf 'sweep:\n  data.folds: [3, 5]\n' >bad.yaml
  refuse 2 "bad.yaml:2:3: data.folds cannot be in a sweep" bad.yaml --run run "${options[@]}"
  printf 'sweep:\n  model.init: [a.safetensors, b.safetensors]\n' >bad.yaml
  refuse 2 "bad.yaml:2:3: model.init cannot be in a sweep: it is a text" bad.yaml --run run "${options[@]}"
  printf 'train:\n  micro_batch: 8\nsweep:\n  train.batch: [16, 32, 20]\n' >bad.yaml
  refuse 2 "point-002 (train.batch 20): bad.yaml: train.batch is 20; expected a multiple" bad.yaml --run run \
    "${options[@]}" --set data.pack_size=64
  [ "$(grep -c "holds images of 32 px" err)" = 1 ] || { cat err >&2; fail "what concerns all points is not said once"; }
  refuse 2 "--set sweep.train.epochs:1:2: train.epochs is" sweep.yaml --run run "${options[@]}" --set 'sweep.train.epochs=[0]'
  refuse 2 "the sweep gives train.learning_rate its values" sweep.yaml --run run "${options[@]}" --set train.learning_rate=1
  refuse 2 "expected --point N with it" sweep.yaml --run run "${options[@]}" --fold 0
  refuse 2 "has points 0 to 3" sweep.yaml --run run "${options[@]}" --point 4
  refuse 2 "has no section sweep" alone.yaml --run run "${options[@]}" --point 0
  [ -e /dev/nvidia0 ] || refuse 6 "cuda" sweep.yaml --run run "${options[@]}" --point 0 --set run.device=cuda
  [ ! -e run ] || fail "a refused sweep has made a folder"
  train alone.yaml single 1
  refuse 2 "the folder of a single run" sweep.yaml --run single "${options[@]}"
  # a sweep of which nothing was trained gives way to another one
  mkdir run
  printf 'sweep:\n  train.epochs: [3, 4]\n' >run/sweep.yaml
  echo "a step of another sweep" >run/point-000.error
  train sweep.yaml run 2
  grep -q "run: nothing was trained there yet, it starts anew" run.log || fail "nobody says that it starts anew"
  [ ! -e run/point-000.error ] || fail "an error of another sweep is left"
  refuse 2 "the folder of a sweep" alone.yaml --run run "${options[@]}"
  code=0
  "$program" report run --scheme bm7 >out 2>err || code=$?
  [ "$code" = 2 ] && grep -q "its points keep the scheme" err || fail "report --scheme: exit $code: $(cat err)"
  refuse 2 "'  train.learning_rate: [0.002, 0.005]' there, '  train.learning_rate: [0.002, 0.004]' now" \
    sweep.yaml --run run "${options[@]}" --set 'sweep.train.learning_rate=[2e-3, 4e-3]'
  refuse 2 "'  weight_decay: 0.01' there, '  weight_decay: 0.02' now" \
    sweep.yaml --run run "${options[@]}" --set train.weight_decay=0.02
  ;;
*) fail "no case $name" ;;
esac
say "$name ok"
