#!/bin/bash
# Whole jobs on the shim with NCCL played by MPI (nccl_fake.c): a device for each rank, one fold, whose sums travel
# range by range; the bytes of one rank. Then ranks that share a device, which NCCL refuses.
#   jobs_nccl.sh PROGRAM
set -euo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 CYTOFOLD_VERBOSE=1
program="$1" config="$(cd "$(dirname "$0")/../mpi" && pwd)/tiny.yaml"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() { echo "FAILED: $*" >&2; exit 1; }

"$program" synth -o phantoms --images 126 --size 32 --scheme bm7 --seed 5 >/dev/null
"$program" pack phantoms --scheme bm7 -o cells.cells >/dev/null

# train RUN DEVICES WORKERS [OPTIONS...]
train() {
  local run="$1" devices="$2" workers="$3"
  shift 3
  CF_SHIM_DEVICES="$devices" "$program" train "$config" --run "$run" --workers "$workers" --fold 0 \
    --set data.cells=cells.cells --set run.device=cuda --set train.epochs=2 --set train.evaluate_every=0 "$@" \
    >"$run.out" 2>"$run.log"
}

said() { grep -q "$2" "$1.log" || { cat "$1.log" >&2; fail "$1 did not say: $2"; }; }

train one 1 1 || { cat one.log >&2; fail "one"; }
train three 3 3 || { cat three.log >&2; fail "three"; }
said three "gradients of 3 ranks are summed over NCCL"
said three "range by range"
for file in predictions.csv checkpoint-4.ckpt; do
  [ -s "one/fold-0/$file" ] || fail "one/fold-0/$file is missing: $(ls one/fold-0)"
  cmp "one/fold-0/$file" "three/fold-0/$file" || fail "$file differs"
done
echo "-- one rank and three over NCCL: the same bytes"

code=0
train shared 1 2 --set run.comm=nccl || code=$?
[ "$code" = 6 ] || { cat shared.log >&2; fail "shared: exit $code, expected 6"; }
said shared "ranks 1 and 2 share GPU"
echo "-- two ranks on one device: refused"
