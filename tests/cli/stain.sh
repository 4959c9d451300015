#!/bin/bash
# Stains on the command line, with synthetic cells: a contact sheet of augmentation, training that changes
# stains with the same bits on one worker and two, and what is said where a cells file has none.
#   stain.sh PROGRAM
set -uo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
program="$1"
root="$(cd "$(dirname "$0")/../.." && pwd)"
tiny="$root/tests/mpi/tiny.yaml" paper="$root/configs/matek2021.yaml"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0

check() { # WHAT COMMAND...
  local what="$1"
  shift
  if ! "$@" >out 2>&1; then
    failed=$((failed + 1))
    echo "FAILED: $what"
    sed 's/^/    /' out
  fi
}
refused() { # CODE REGEX ARGUMENTS...: the program's exit code and one message
  local code="$1" pattern="$2" found=0
  shift 2
  timeout 60 "$program" "$@" >out 2>&1 </dev/null || found=$?
  [ "$found" = "$code" ] && grep -qE -- "$pattern" out && return
  failed=$((failed + 1))
  echo "FAILED: cytofold $*: exit $found, expected $code and /$pattern/:"
  sed 's/^/    /' out
}
is_png() { [ "$(head -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ]; }
differ() { ! cmp -s "$1" "$2"; }

"$program" synth -o phantoms --images 70 --size 48 --scheme bm7 >/dev/null || exit 1
"$program" pack phantoms --scheme bm7 -o with.cells >/dev/null || exit 1
"$program" pack phantoms --scheme bm7 --threads 1 -o again.cells >/dev/null || exit 1
"$program" pack phantoms --scheme bm7 --no-stain -o without.cells >/dev/null || exit 1
check "stains are the same whatever the threads" cmp with.cells again.cells
check "--no-stain leaves something out" differ with.cells without.cells

for profile in none strong; do
  for run in 1 2; do
    check "a sheet with $profile" "$program" inspect "$paper" --augment with.cells -o "$profile-$run.png" \
      --set augment.stain=$profile --set model.image_size=48 --set model.variant=standard
    check "it is a PNG" is_png "$profile-$run.png"
  done
  check "the same sheet twice with $profile" cmp "$profile-1.png" "$profile-2.png"
done
check "stains change the sheet" differ none-1.png strong-1.png
refused 3 'without.cells: packed without stains.*augment.stain' inspect "$paper" --augment without.cells -o x.png
refused 2 'come together' inspect "$paper" --augment with.cells
refused 2 'come together' inspect "$paper" -o x.png
refused 2 'takes a configuration' inspect with.cells --augment with.cells -o x.png
check "refusals write nothing" test ! -e x.png

refused 3 'without.cells: packed without stains.*augment.stain' train "$tiny" --run r0 \
  --set data.cells=without.cells --set augment.stain=light
check "a refused run leaves no folder" test ! -e r0
for workers in 1 2; do
  check "training on $workers" "$program" train "$tiny" --run "r$workers" --workers $workers --fold 0 \
    --set data.cells=with.cells --set augment.stain=medium --set augment.stain_share=0.8 --set train.epochs=2
done
check "the same bits on 1 and 2 workers" cmp r1/fold-0/predictions.csv r2/fold-0/predictions.csv
check "training without" "$program" train "$tiny" --run plain --workers 1 --fold 0 \
  --set data.cells=with.cells --set train.epochs=2
check "stains reach the network" differ r1/fold-0/predictions.csv plain/fold-0/predictions.csv

[ "$failed" = 0 ] && echo "stains on the command line: all as expected"
exit $((failed > 0))
