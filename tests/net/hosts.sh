#!/bin/bash
# Jobs over several hosts, made of network namespaces (lab.sh): ranks talk over TCP, each host has its own address
# and name. usage: hosts.sh PROGRAM COUNT CASE...
#   undisturbed       three hosts: the same bytes as one
#   slowed            a link slowed in mid-step, again and again: the same bytes
#   cut-worker        a worker's link cut in mid-step: exit 6 or 8, rank and host named, nothing left on either
#                     side after 30 s, the same command gives the same bytes
#   cut-coordinator   the same with the coordinator's own link
# Each COUNT times. Exit 77: no network namespaces here. SEED=N repeats the choices of hosts, rates and times.
set -euo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
program="$(realpath "$1")" count="$2"
shift 2
here="$(cd "$(dirname "$0")" && pwd)"
. "$here/lab.sh"
why="$(lab_missing)"
[ -z "$why" ] || { echo "skipped: $why"; exit 77; }

work="$(mktemp -d)"
LAB_FOLDER="$work" LAB_HOSTS=0
trap 'lab_down 2>/dev/null; rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAILED: $*" >&2; [ ! -f "${run:-none}.log" ] || tail -n 30 "$run.log" >&2; exit 1; }
say() { echo "-- $*"; }
RANDOM="${SEED:=$((10#$(date +%N) % 32768))}"
say "seed $SEED"

config=("$here/../mpi/tiny.yaml" --set data.cells="$work/cells.cells" --set run.device=cpu --set run.groups=1
  --set train.epochs=30)

# on_hosts RUN: coordinator and a worker on host 0, one worker on each of the others.
on_hosts() {
  local list k
  list="$(lab_address 0):2"
  for ((k = 1; k < LAB_HOSTS; k++)); do list+=",$(lab_address "$k"):1"; done
  lab_on 0 mpirun --quiet --oversubscribe --bind-to none --mca plm_rsh_agent "$work/agent" \
    --mca btl tcp,self --host "$list" -n $((LAB_HOSTS + 1)) \
    "$program" train "${config[@]}" --run "$work/$1" --set run.hang_timeout="$timeout" </dev/null >"$1.out" 2>"$1.log"
}

checksums() {
  (cd "$1" && sha256sum fold-*/predictions.csv fold-*/metrics.json metrics.json table.csv table.md &&
    for f in fold-*; do sha256sum "$(ls "$f"/checkpoint-*.ckpt | sort -V | tail -n 1)"; done)
}
same() {
  checksums local >local.sums
  checksums "$1" >"$1.sums"
  [ "$(wc -l <local.sums)" = 12 ] || fail "$(wc -l <local.sums) files to compare, expected 12"
  diff local.sums "$1.sums" || fail "$1 differs from a run on one host"
}

# until SECONDS COMMAND...: asks again until it is true
until_true() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    read -r -t 0.05 <> <(:) || true
  done
}
has_checkpoint() { compgen -G "$run/fold-*/checkpoint-*.ckpt" >/dev/null; }
is_over() { ! kill -0 "$1" 2>/dev/null; }
nothing_left() { [ -z "$(lab_processes)" ]; }
a_moment() { read -r -t "0.$((100 + RANDOM % 400))" <> <(:) || true; }

start() {
  on_hosts "$run" &
  job=$!
  until_true 60 has_checkpoint || fail "$run has saved nothing after 60 s"
  a_moment
}

"$program" synth -o phantoms --images 126 --size 32 --scheme bm7 --seed 5 >/dev/null
"$program" pack phantoms --scheme bm7 -o cells.cells >/dev/null
"$program" train "${config[@]}" --run local --workers 2 >local.out 2>local.log || fail "$(cat local.log)"

# cut_off HOST LOST: the link of a host is cut in mid-step; LOST are the hosts that the coordinator misses, one of which
# it names. Host K has rank K + 1.
cut_off() {
  local code=0 began k named=""
  start
  is_over "$job" && fail "the job was over before its link could be cut"
  began=$SECONDS
  lab_cut "$1"
  until_true 60 is_over "$job" || fail "the job still runs 60 s after host $1 was cut off"
  wait "$job" || code=$?
  say "exit $code after $((SECONDS - began)) s: $(grep -E 'rank [0-9]+' "$run.log" | head -n 1)"
  [ "$code" = 6 ] || [ "$code" = 8 ] || fail "exit $code, expected 6 or 8"
  for k in $2; do
    ! grep -qF "rank $((k + 1)) on host node$k (process " "$run.log" || named=$k
  done
  [ -n "$named" ] || fail "no rank of hosts $2 is named"
  until_true 30 nothing_left || fail "left after 30 s: $(ps -o pid,args -p "$(lab_processes | paste -sd,)")"
  lab_mend "$1" || fail "host $1 cannot be reached again"
  on_hosts "$run" || fail "$run does not resume"
  grep -q "goes on at step" "$run.log" || fail "$run began anew"
}

one_try() {
  timeout=60 # s; a slow link is no hang
  case "$1" in
  undisturbed)
    on_hosts "$run" || fail "$run"
    for k in 0 1 2; do grep -q "node$k" "$run/log.jsonl" || fail "log.jsonl does not know node$k"; done
    ;;
  slowed)
    start
    slowed=""
    for rate in 20mbit 2mbit 50mbit; do
      is_over "$job" && break
      slowed=$rate
      lab_slow $((RANDOM % LAB_HOSTS)) "$rate"
      a_moment
    done
    [ -n "$slowed" ] || fail "the job was over before its link could be slowed"
    for k in 0 1 2; do lab_slow "$k" ""; done
    wait "$job" || fail "$run"
    ;;
  cut-worker)
    timeout=3 k=$((1 + RANDOM % (LAB_HOSTS - 1)))
    cut_off "$k" "$k"
    ;;
  cut-coordinator) timeout=3 && cut_off 0 "1 2" ;;
  *) fail "no case $1" ;;
  esac
  same "$run"
}

lab_up 3
for name; do
  for ((try = 1; try <= count; try++)); do
    run="$name-$try"
    one_try "$name"
    rm -rf "$run" "$run".*
  done
  say "row 23, $name: $count of $count with the same bytes, $(sha256sum <local.sums | cut -c1-16); $SECONDS s"
done
