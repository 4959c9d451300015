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

# refuse CODE WORDS ARGUMENTS...
refuse() {
  local expected="$1" words="$2" code=0
  shift 2
  "$program" train "$@" >out 2>err || code=$?
  [ "$code" = "$expected" ] || { cat err >&2; fail "train $*: exit $code, expected $expected"; }
  grep -qF -- "$words" err || { cat err >&2; fail "train $*: no word of: $words"; }
}

case "$name" in
points)
  make_cells
  train_alone
  for workers in 1 2 3 4 5; do
    train sweep.yaml "on$workers" "$workers"
    same_points alone "on$workers"
    [ "$workers" = 1 ] || cmp on1/sweep.json "on$workers/sweep.json" || fail "another report on $workers workers"
  done
  train sweep.yaml beside 2 --set run.coordinator=thread
  same_points alone beside
  grep -q "in 2 lanes" on2.log || fail "two workers do not share the points out: $(grep lane on2.log)"
  # a point is a run: the same command again trains nothing, a verb takes its folder
  lines="$(cat on2/point-*/log.jsonl | wc -l)"
  train sweep.yaml on2 3
  [ "$(cat on2/point-*/log.jsonl | wc -l)" = "$lines" ] || fail "a finished point was trained again"
  "$program" report on2/point-003 | cmp - on2/point-003/table.md || fail "report of a point"
  "$program" report on2 | cmp - on2/sweep.md || fail "report of a sweep"
  ;;
array) # job arrays: a point a task, and a fold of a point a task; the last one writes the report
  make_cells
  train sweep.yaml whole 2
  for point in 0 2 3; do train sweep.yaml array 1 --point "$point"; done
  [ ! -e array/sweep.json ] || fail "a report before all points are there"
  "$program" report array | grep -q "Not finished: point-001 of 4" || fail "the missing point is not named"
  for fold in 2 0 1; do train sweep.yaml array 1 --point 1 --fold "$fold"; done
  same_points whole array
  cmp whole/sweep.json array/sweep.json || fail "another report of the array"
  ;;
*) fail "no case $name" ;;
esac
say "$name ok"
