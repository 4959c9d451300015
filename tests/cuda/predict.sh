#!/bin/bash
# predict with the GPU backend on the host shim: the run's own test bit by bit, moments of the norms as the CPU
# takes them.   predict.sh PROGRAM
set -euo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
program="$1" config="$(cd "$(dirname "$0")/../mpi" && pwd)/tiny.yaml"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() { echo "FAILED: $*" >&2; exit 1; }
quietly() { "$program" "$@" >out 2>err || { cat err >&2; fail "$*"; }; }

quietly synth -o phantoms --images 42 --size 32 --scheme bm7 --seed 5
quietly pack phantoms --scheme bm7 -o cells.cells
quietly train "$config" --run run --workers 1 --fold 0 --set data.cells=cells.cells --set run.device=cuda \
  --set train.epochs=1 --set train.batch=8 --set train.warmup_epochs=0 --set train.evaluate_every=0
quietly predict run cells.cells --device cuda -o own.csv
awk -F, 'NR == FNR { own[$1] = $0; next } { print own[$1] }' own.csv run/fold-0/predictions.csv |
  cmp - run/fold-0/predictions.csv || fail "not the run's own test"
quietly predict run cells.cells --device cuda --adapt-norm -o gpu.csv
quietly predict run cells.cells --device cpu --adapt-norm -o cpu.csv
# bf16: activations have eight bits, which the two round in unlike orders
awk -F, 'FNR == 1 { next } NR == FNR { for (c = 6; c <= NF; c++) p[$1, c] = $c; next }
  { for (c = 6; c <= NF; c++) { d = $c - p[$1, c]; if (d < 0) d = -d; if (d > worst) worst = d; n++ } }
  END { print "largest difference", worst, "of", n; exit !(n == 294 && worst < 0.01) }' cpu.csv gpu.csv ||
  fail "other moments than on the CPU"
awk -F, 'FNR == 1 { next } NR == FNR { p[$1] = $6; next } p[$1] - $6 > 0.02 || $6 - p[$1] > 0.02 { n++ }
  END { exit n == 0 }' own.csv gpu.csv || fail "the moments change nothing"
