#!/bin/bash
# Bad input for every verb: the documented exit code, one message that names the culprit, nothing left behind
# and nothing lost.   bad_input.sh PROGRAM
set -uo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
program="$1"
configs="$(cd "$(dirname "$0")/../../configs" && pwd)"
tiny="$(cd "$(dirname "$0")/../mpi" && pwd)/tiny.yaml"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0 tried=0

# expect CODE 'REGEX' VERB...: stderr must match the regex, which names what is wrong.
expect() {
  local code="$1" pattern="$2" found=0
  shift 2
  tried=$((tried + 1))
  timeout 60 "$program" "$@" >out 2>err </dev/null || found=$?
  if [ "$found" != "$code" ] || ! grep -qE -- "$pattern" err; then
    failed=$((failed + 1))
    echo "FAILED: cytofold $*: exit $found, expected $code; expected /$pattern/ in:"
    sed 's/^/    /' err
  elif [ "$(wc -l <err)" -gt "${lines:-3}" ]; then
    failed=$((failed + 1))
    echo "FAILED: cytofold $*: $(wc -l <err) lines where one message was expected:"
    sed 's/^/    /' err
  fi
}
absent() {
  tried=$((tried + 1))
  if compgen -G "$1" >/dev/null; then
    failed=$((failed + 1))
    echo "FAILED: $1 was left behind: $(compgen -G "$1")"
  fi
}

"$program" synth -o phantoms --images 35 --size 32 >/dev/null || exit 1
"$program" pack phantoms --scheme bm7 -o good.cells >/dev/null || exit 1
sum="$(sha256sum good.cells)"
"$program" train "$tiny" --run run --workers 1 --set data.cells=good.cells --set train.epochs=2 \
  >/dev/null 2>train.log || { cat train.log; exit 1; }

# the program
expect 2 "unknown verb 'trian'" trian
expect 2 "unknown option --sede" synth -o x --sede 4
expect 2 "--size .*eight" synth -o x --size eight

# pack
mkdir empty one one/BLA truncated foreign foreign/XYZ
cp phantoms/BLA/BLA_0000[1-3].png one/BLA/
cp -r phantoms/. truncated/
head -c 300 phantoms/EOS/EOS_00002.png >truncated/EOS/EOS_00002.png
cp phantoms/BLA/BLA_00001.png foreign/XYZ/
touch plain
expect 3 "nowhere" pack nowhere --scheme bm7 -o x.cells
expect 3 "empty" pack empty --scheme bm7 -o x.cells
expect 3 "EOS_00002.png" pack truncated --scheme bm7 -o x.cells
expect 3 "XYZ \(1\)" pack foreign --scheme bm7 -o x.cells
expect 3 "no-such.csv" pack no-such.csv --scheme bm7 -o x.cells
printf 'path,label\nphantoms/BLA/BLA_00001.png,BLA\nphantoms/BLA/BLA_00001.png,EOS\n' >twice.csv
expect 3 "twice.csv:3:1: phantoms/BLA/BLA_00001.png is on line 2 too" pack twice.csv --scheme bm7 -o x.cells
expect 3 "both phantoms and one" pack phantoms one --scheme bm7 -o x.cells
expect 2 "--um-per-px .*found 'A=0'" pack A=phantoms B=one --scheme bm7 -o x.cells --um-per-px A=0
expect 2 "--um-per-px C=1: no source of that site" pack A=phantoms B=one --scheme bm7 -o x.cells --um-per-px C=1
expect 2 "one/BLA/BLA_00001.png has none" pack A=phantoms B=one --scheme bm7 -o x.cells --um-per-px A=1 --crop-um 9
lines=4 expect 3 "a field of 99 um is 99 px at 1 um/px, more than the image's 32 x 32" \
  pack one --scheme bm7 -o x.cells --um-per-px 1 --crop-um 99
expect 2 "nosuchscheme" pack phantoms --scheme nosuchscheme -o x.cells
expect 2 "scheme" pack phantoms -o x.cells
expect 5 "plain/x.cells|plain" pack phantoms --scheme bm7 -o plain/x.cells
expect 5 "/proc" pack phantoms --scheme bm7 -o /proc/x.cells
absent "x.cells*"
absent "*.tmp-*"
tried=$((tried + 1))
"$program" pack A=phantoms B=one --scheme bm7 -o pooled.cells --um-per-px A=.5 --um-per-px 1 --crop-um 10 \
  --size 16 --json >out || failed=$((failed + 1))
grep -q '"um_per_px": 0.625' out || { failed=$((failed + 1)); echo "FAILED: 10 um in 16 px:"; cat out; }
expect 0 "XYZ \(1\)" pack foreign one --scheme bm7 -o dropped.cells --drop-unmapped
expect 0 "EOS_00002.png" pack truncated --scheme bm7 -o skipped.cells --skip-damaged

# synth
expect 2 "phantoms" synth -o phantoms
expect 5 "plain" synth -o plain/x

# split
expect 3 "nothere" split nothere.cells --folds 5 -o folds.csv
expect 3 "plain" split plain --folds 5 -o folds.csv
expect 3 "BLA" split good.cells --folds 9 -o folds.csv
expect 2 "folds" split good.cells --folds 1 -o folds.csv
expect 2 "leave-out nose, expected site" split good.cells --leave-out nose -o folds.csv
expect 2 "group hospital, expected none or patient or site" split good.cells --group hospital -o folds.csv
expect 2 "test-share" split good.cells --test-share 1.5 -o folds.csv
expect 2 "no --folds with it" split good.cells --test-share 0.2 --folds 5 -o folds.csv
expect 3 "images have no patient" split good.cells --group patient -o folds.csv
expect 3 "one site" split good.cells --leave-out site -o folds.csv
head -c 4000 good.cells >cut.cells
expect 3 "cut.cells" split cut.cells --folds 5 -o folds.csv
absent "folds.csv*"
"$program" pack one --scheme bm7 -o one.cells >/dev/null
expect 3 "class" split one.cells --folds 3 -o folds.csv

# configuration
printf 'train:\n  epochs: 90abc\n' >number.yaml
printf 'train:\n  epocs: 3\n' >unknown.yaml
printf 'train:\n  batch: 30\n  micro_batch: 8\n' >rule.yaml
expect 2 "number.yaml:2:11" train number.yaml --run new --set data.cells=good.cells
expect 2 "unknown.yaml:2:3" train unknown.yaml --run new --set data.cells=good.cells
expect 2 "micro_batch" train rule.yaml --run new --set data.cells=good.cells
expect 2 "train.epochs" train "$tiny" --run new --set data.cells=good.cells --set train.epochs=0
expect 2 "colour" train "$tiny" --run new --set data.cells=good.cells --set augment.colour=0.1
expect 2 "nothere.yaml" train nothere.yaml --run new
expect 2 "data.cells" train "$tiny" --run new
expect 3 "nothere.cells" train "$tiny" --run new --set data.cells=nothere.cells
expect 3 "cut.cells" train "$tiny" --run new --set data.cells=cut.cells
expect 2 "matek2021" train "$tiny" --run new --set data.cells=good.cells --set data.scheme=matek2021
expect 3 "class" train "$tiny" --run new --workers 1 --set data.cells=one.cells
absent "new"
expect 3 "BLA" train "$tiny" --run new2 --workers 1 --set data.cells=good.cells --set data.folds=9
expect 5 "plain" train "$tiny" --run plain/run --workers 1 --set data.cells=good.cells --set data.folds=3
expect 2 "folds 0 to 2" train "$tiny" --run new3 --workers 1 --set data.cells=good.cells --fold 7
expect 2 "epochs" train "$tiny" --run run --workers 1 --set data.cells=good.cells
[ "$(sha256sum good.cells)" = "$sum" ] || { failed=$((failed + 1)); echo "FAILED: good.cells was changed"; }

# plan, inspect, report, score
expect 2 "workers" plan "$tiny" --images 100 --set data.scheme=bm7
expect 2 "auto, cpu or cuda" plan "$tiny" --workers 2 --images 100 --set data.scheme=bm7 --device gpu
expect 2 "nothere" plan nothere.yaml --workers 2
expect 3 "nothere" inspect nothere.ckpt
newest="$(ls run/fold-0/checkpoint-*.ckpt | sort -V | tail -n 1)"
head -c 5000 "$newest" >cut.ckpt
expect 4 "cut.ckpt" inspect cut.ckpt
expect 3 "nowhere" report nowhere
expect 3 "empty|predictions" report empty
cp run/fold-0/predictions.csv p.csv
expect 2 "nosuchscheme" score p.csv --scheme nosuchscheme
expect 3 "nothere.csv" score nothere.csv --scheme bm7
sed 's/,BLA,/,QQQ,/' p.csv >label.csv
expect 3 "label.csv:[0-9]+:[0-9]+" score label.csv --scheme bm7
cut -d, -f1-5 p.csv >columns.csv
expect 3 "columns.csv:1" score columns.csv --scheme bm7
expect 5 "plain" score p.csv --scheme bm7 -o plain/m.json

echo "$tried expectations, $failed failed"
[ "$failed" = 0 ]
