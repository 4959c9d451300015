#!/bin/bash
# explain as a user meets it, on phantom cells (synthetic): whose network, which layer and class, the files it
# leaves, the same bits again and with other threads, and refusals.   explain.sh PROGRAM
set -uo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
program="$1"
tiny="$(cd "$(dirname "$0")/../mpi" && pwd)/tiny.yaml"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
mkdir tmp
export TMPDIR="$work/tmp"
failed=0 tried=0

complain() {
  failed=$((failed + 1))
  echo "FAILED: $*"
}
check() { # WHAT COMMAND...: the command must end well
  local what="$1"
  shift
  tried=$((tried + 1))
  "$@" || complain "$what"
}
expect() { # CODE REGEX OPTIONS...: explain must end with CODE, and what it says match
  local code="$1" pattern="$2" found=0
  shift 2
  tried=$((tried + 1))
  timeout 60 "$program" explain "$@" >out 2>err </dev/null || found=$?
  if [ "$found" != "$code" ] || ! grep -qE -- "$pattern" out err; then
    complain "explain $*: exit $found, expected $code; expected /$pattern/ in:"
    sed 's/^/    /' out err
  fi
}
tested_in() { # FOLD: the first id that this fold tests
  awk -F, -v fold="$1" '$2 == fold { print $1; exit }' run/folds.csv
}
shape() { # NPY: what its header says
  head -c 128 "$1" | grep -a -o "'shape': ([^)]*)"
}

"$program" synth -o phantoms --images 126 --size 40 --scheme bm7 --seed 5 >/dev/null || exit 1
"$program" pack phantoms --scheme bm7 --size 36 -o cells.cells >/dev/null || exit 1
"$program" train "$tiny" --run run --workers 1 --set data.cells=cells.cells >/dev/null 2>train.log ||
  { cat train.log; exit 1; }

# layers: those of the configuration, the last convolution among them
expect 0 "^stem  .* channels$" run --layer list
last="$(awk '{ print $1 }' out | tail -n 1)"
side="$(sed -n 's/^  *image_size: *\([0-9]*\).*/\1/p' run/run.yaml)"

# each image by the fold that tested it, as that fold's own predictions say
a="$(tested_in 1)" b="$(tested_in 2)"
expect 0 "sheet-1.png" run cells.cells --id "$b" --id "$a" -o maps --raw --samples 5
for k in 1 2; do
  id="$(tested_in "$k")"
  row="$(grep "^$id," "run/fold-$k/predictions.csv")"
  check "fold of $id" grep -q "$id predicted $(cut -d, -f5 <<<"$row") .*, fold $k$" out
done
check "an image a picture, and the sheet" [ "$(find maps -name '*.png' | wc -l)" = 3 ]
check "pictures are PNG" [ "$(head -c 4 maps/sheet-1.png | tail -c 3)" = PNG ]
one="$(find maps -name '*.gradcam.npy' | sort | head -n 1)"
check "shape of SmoothGrad" [ "$(shape "${one/gradcam/smoothgrad}")" = "'shape': ($side, $side, 3)" ]
check "bytes of SmoothGrad" [ "$(wc -c <"${one/gradcam/smoothgrad}")" = $((128 + 12 * side * side)) ]

# the same bits again, one image by itself, in another order of the sources and with another number of threads
expect 0 "predicted" run cells.cells --id "$a" -o alone --raw --samples 5
check "one image, no sheet" [ ! -e alone/sheet-1.png ]
for file in alone/*; do check "$file by itself" cmp "$file" "maps/${file#alone/}"; done
expect 0 "predicted" run cells.cells --id "$a" -o threads --raw --samples 5 --threads 2
for file in alone/*.npy; do check "$file with two threads" cmp "$file" "threads/${file#alone/}"; done

# other noise, another fold, one method, a layer, a class
expect 0 "predicted" run cells.cells --id "$a" -o seed --raw --samples 5 --seed 2
check "another seed, other noise" [ "$(cmp seed/*.smoothgrad.npy alone/*.smoothgrad.npy >/dev/null; echo $?)" = 1 ]
check "the same Grad-CAM" cmp seed/*.gradcam.npy alone/*.gradcam.npy
expect 0 "fold 0" run cells.cells --id "$a" -o fold --fold 0 --method gradcam
expect 0 '"layer": "stem"' run cells.cells --id "$a" -o stem --layer stem --method gradcam --raw --json
check "no SmoothGrad was asked for" [ -z "$(find stem -name '*smooth*')" ]
expect 0 "explained LYT" run cells.cells --id "$(grep '^EOS' run/folds.csv | head -n 1 | cut -d, -f1)" -o class \
  --class LYT --method gradcam
expect 0 "fold 1" run "$work/phantoms/$a" -o file --method gradcam # by the end of its path
cp "phantoms/$a" other.png
expect 0 "1 of 1 images are not in the run's folds.csv: fold 0" run other.png -o file --method gradcam
mv run/fold-2 fold-2
expect 0 "1 of 1 images are explained by fold 0, which was trained on them: no fold" run cells.cells --id "$b" \
  -o file --method gradcam
check "it is not unknown" bash -c '! grep -q "not in the run" err'
mv fold-2 run/

# names that come to one: a picture each, beside the sheet
mkdir odd
for name in a-2.png a.jpg a.png sheet-1.png; do cp other.png "odd/$name"; done
expect 0 "^sheet-1.png: all of them" run odd -o names --method gradcam --raw
check "four pictures and the sheet" [ "$(find names -name '*.png' | wc -l)" = 5 ]
check "four arrays" [ "$(find names -name '*.npy' | wc -l)" = 4 ]
check "a name each" [ "$(grep -o '^[^ ]*\.png: [^ ]* predicted' out | cut -d: -f1 | sort -u | wc -l)" = 4 ]

# refusals, before anything is written
expect 2 "layer 'stage9' is none of the network's: stem, .*$last" run cells.cells --id "$a" -o no --layer stage9
expect 2 "layer 'fc' is none" run cells.cells --id "$a" -o no --layer fc
expect 2 "class XYZ: scheme bm7 has .*LYT" run cells.cells -o no --class XYZ
expect 2 "id nobody.png: no such image among the 126; ids are like" run cells.cells -o no --id nobody.png
expect 2 "is given twice" run cells.cells -o no --id "$a" --id "$a"
expect 2 "method takes gradcam, smoothgrad or both" run cells.cells -o no --method lime
expect 2 "layer is Grad-CAM's" run cells.cells -o no --layer stem --method smoothgrad
expect 2 "samples" run cells.cells -o no --samples 0
expect 2 "-o FOLDER is missing" run cells.cells
expect 2 "images are missing" run -o no
expect 3 "not a run folder" phantoms cells.cells -o no
expect 4 "fold-7: no checkpoint" run cells.cells -o no --fold 7
check "nothing was written" [ -z "$(find no -type f 2>/dev/null)" ]
check "nothing is left in TMPDIR" [ -z "$(ls tmp)" ]

echo "$tried tried, $failed failed"
[ "$failed" = 0 ]
