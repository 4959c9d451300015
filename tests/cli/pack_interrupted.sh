#!/bin/bash
# A signal in the middle of packing: the program dies of it, nothing new is left behind and what was there
# before stays.   pack_interrupted.sh PROGRAM
set -uo pipefail
export LC_ALL=C
program="$1"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

# A manifest of 100,000 cells in one field: written in no time, packed in many seconds.
"$program" synth -o phantoms --images 7 --size 400 >/dev/null || exit 1
mkdir out
seq 100000 | awk 'BEGIN { print "path,label,x,y" }
  { print "phantoms/BLA/BLA_00001.png,BLA," int($1 / 400) "," $1 % 400 }' >cells.csv
"$program" pack phantoms --scheme bm7 --size 16 -o out/x.cells >/dev/null || exit 1
before="$(sha256sum out/x.cells)"

failed=0
for signal in INT TERM HUP; do
  # bash starts background jobs with SIGINT ignored
  env --default-signal="$signal" "$program" pack cells.csv --scheme bm7 --size 64 -o out/x.cells >log 2>&1 &
  pid=$!
  # its temporary file stands as soon as the first image is through
  until compgen -G 'out/x.cells.tmp*' >/dev/null; do
    kill -0 "$pid" 2>/dev/null || break
  done
  kill -"$signal" "$pid"
  wait "$pid"
  code=$?
  if [ "$code" != $((128 + $(kill -l "$signal"))) ] || ! grep -q "interrupted after .* was not written" log; then
    echo "FAILED: SIG$signal: exit $code, expected $((128 + $(kill -l "$signal"))); it said:"
    sed 's/^/    /' log
    failed=1
  fi
  left="$(echo out/*)"
  if [ "$left" != out/x.cells ] || [ "$(sha256sum out/x.cells)" != "$before" ]; then
    echo "FAILED: SIG$signal left: $left"
    failed=1
  fi
done
exit "$failed"
