#!/bin/bash
# run.stage in whole jobs: one copy for all workers of a node, kept for the next job, never a reason to fail, and no
# part of a result.   stage.sh PROGRAM
set -uo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
program="$1"
config="$(cd "$(dirname "$0")/../mpi" && pwd)/tiny.yaml"
. "$(dirname "$config")/compare.sh"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

"$program" synth -o phantoms --images 126 --size 32 --scheme bm7 --seed 5 >/dev/null || fail synth
"$program" pack phantoms --scheme bm7 -o cells.cells >/dev/null || fail pack
# train RUN STAGE
train() {
  "$program" train "$config" --run "$1" --workers 2 --set data.cells=cells.cells --set train.epochs=2 \
    --set "run.stage=$2" >/dev/null 2>"$1.log" || { cat "$1.log" >&2; fail "train $1"; }
}
# says RUN N REGEX: on N lines
says() { [ "$(grep -cE "$3" "$1.log")" = "$2" ] || { cat "$1.log" >&2; fail "$1: expected $2 lines like /$3/"; }; }

mkdir node
train plain ""
says plain 0 "cells file"
train first "$work/node"
says first 1 "cells file copied to $work/node/"
same plain first
train second "$work/node"
says second 1 "cells file found in $work/node/"
same plain second

printf 'xx' | dd of="$(echo node/*/*.cells)" bs=1 seek=5000 conv=notrunc 2>/dev/null
train third "$work/node"
says third 1 "warning: .* is damaged: copied again"
says third 1 "cells file copied to"
same plain third

train fourth "$work/nowhere"
says fourth 1 "warning: .* is read where it is, run.stage is $work/nowhere: .*No such file"
same plain fourth
mkdir -m 755 open "open/cytofold-$EUID"
train fifth "$work/open"
says fifth 1 "warning: .*expected a folder of user .* found an open one"
same plain fifth
[ -z "$(ls "open/cytofold-$EUID")" ] || fail "something was written into an open folder"
say "staging ok"
