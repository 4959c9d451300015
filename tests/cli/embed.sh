#!/bin/bash
# embed as a user meets it, on a tiny run of phantom cells (synthetic).   embed.sh PROGRAM
set -uo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
program="$1"
tiny="$(cd "$(dirname "$0")/../mpi" && pwd)/tiny.yaml"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
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
expect() { # CODE REGEX OPTIONS...: embed must end with CODE, and its output match
  local code="$1" pattern="$2" found=0
  shift 2
  tried=$((tried + 1))
  timeout 60 "$program" embed "$@" >out 2>err </dev/null || found=$?
  if [ "$found" != "$code" ] || ! grep -qE -- "$pattern" out err; then
    complain "embed $*: exit $found, expected $code; expected /$pattern/ in:"
    sed 's/^/    /' out err
  fi
}

"$program" synth -o phantoms --images 126 --size 40 --scheme bm7 --seed 5 >/dev/null || exit 1
"$program" pack phantoms --scheme bm7 --size 36 -o cells.cells >/dev/null || exit 1
"$program" train "$tiny" --run run --workers 1 --set data.cells=cells.cells >/dev/null 2>train.log ||
  { cat train.log; exit 1; }

# every test image, as its own fold predicted it
expect 0 "126 test images of 3 folds" run --features run/features.npy
check "header" [ "$(head -n 1 run/embed.csv)" = id,fold,label,predicted,x,y ]
check "rows as the run predicted them" cmp <(tail -n +2 run/embed.csv | cut -d, -f1-4 | sort) \
  <(for k in 0 1 2; do tail -n +2 "run/fold-$k/predictions.csv" | cut -d, -f1,3-5; done | sort)
check "PNG" [ "$(head -c 4 run/plots/embed.png | tail -c 3)" = PNG ]
check "SVG" grep -q "</svg>" run/plots/embed.svg
check "JSON and features" python3 -c "
import json, math, struct
e = json.load(open('run/embed.json'))
assert e['images'] == 126 and e['neighbors'] == 15 and e['components'] == 6 and e['metric'] == 'euclidean', e
assert [f['fold'] for f in e['folds']] == [0, 1, 2] and e['folds'][0]['agreement'] > 0.999999, e
assert all(f['trained_by_both'] and len(f['checkpoint']) == 16 for f in e['folds']), e
assert '# data and folds: ' + e['data'] + '\n' in open('run/run.yaml').read(), e
assert 0.5 < e['trustworthiness']['value'] <= 1 and e['trustworthiness']['images'] == 126, e
for where in ('space', 'picture'):
    assert 0 < e[where]['same_fold'] <= 1 and 0.3 < e[where]['chance'] < 0.36, e
b = open('run/features.npy', 'rb').read()
n = struct.unpack('<H', b[8:10])[0]
h = eval(b[10:10 + n])
assert b[:8] == b'\x93NUMPY\x01\x00' and (n + 10) % 64 == 0 and h['shape'] == (126, e['features']), h
values = struct.unpack('<%df' % (126 * e['features']), b[10 + n:])
assert all(map(math.isfinite, values)) and len(set(values)) > 1000
"

# the same bytes again; other bytes with another seed, metric, or fewer folds
mkdir first && cp run/embed.* run/features.npy run/plots/embed.* first/
expect 0 "trustworthiness" run --features run/features.npy --threads 2
for f in embed.csv embed.json features.npy plots/embed.png plots/embed.svg; do
  check "$f again" cmp "run/$f" "first/${f#plots/}"
done
expect 0 "trustworthiness" run --seed 2
check "another seed" bash -c '! cmp -s run/embed.csv first/embed.csv'
expect 0 '"metric": "cosine"' run --metric cosine --json
check "another metric" bash -c '! cmp -s run/embed.csv first/embed.csv'
expect 0 "42 test images of fold 1," run --fold 1 --neighbors 5 --min-dist 0.5
"$program" report run >/dev/null 2>&1
check "the page says how many there are" grep -q "<p>42 of the 126 images by" run/report.html
check "fold 1 alone" [ "$(tail -n +2 run/embed.csv | cut -d, -f2 | sort -u)" = 1 ]
expect 0 "84 test images of 2 folds" run --fold 2 --fold 0 --components 3

check "images that decide" grep -q "fold 2 turned onto fold 0 by 42 images that both were trained on: agreement" out

# the cells file elsewhere, gone, another
mv cells.cells away.cells
expect 3 "cells.cells: no such file; it holds the images that run was trained on" run
expect 0 "126 test images" run --cells away.cells
check "the same map" cmp run/embed.csv first/embed.csv
"$program" synth -o others --images 126 --size 40 --scheme bm7 --seed 6 >/dev/null
"$program" pack others --scheme bm7 --size 36 -o others.cells >/dev/null
expect 3 "others.cells: not the images and folds that run was trained on" run --cells others.cells
cp others.cells cells.cells
"$program" report run >/dev/null
check "a report without other images' pictures" grep -q \
  "No pictures: the run&#39;s cells file cells.cells is of other images" run/report.html
rm cells.cells
mkdir few && cp -r phantoms/BLA phantoms/EOS few/
"$program" pack few --scheme auto --size 36 -o few.cells >/dev/null
expect 3 "few.cells: not what run was trained on" run --cells few.cells

# refusals
expect 2 "run: 126 test images are too few for --neighbors 200" run --cells away.cells --neighbors 200
expect 2 "--neighbors" run --neighbors 1
expect 2 "--min-dist" run --min-dist 2
expect 2 "--metric takes euclidean or cosine, found 'angle'" run --metric angle
expect 2 "--fold takes" run --fold one
expect 4 "fold-7: no checkpoint" run --fold 7
expect 3 "nowhere: not a run folder" nowhere
expect 2 "found 0 operands" --json
expect 5 "no-such" run --cells away.cells --features no-such/f.npy
check "the map is left as it was" cmp run/embed.csv first/embed.csv

# a page that draws the map of weights that were trained further since says so
"$program" report run >/dev/null 2>&1
check "126 images" grep -q "<p>126 images by" run/report.html
check "the weights are these" bash -c '! grep -q "earlier weights" run/report.html'
cp "$(find run/fold-1 -name "*.ckpt" | sort -V | tail -n 1)" run/fold-0/checkpoint-999999.ckpt
"$program" report run >/dev/null 2>&1
check "the weights are others" grep -q "The map is of earlier weights" run/report.html
check "no temporaries" [ -z "$(find run -name '*.tmp-*')" ]

echo "$tried expectations, $failed failed"
[ "$failed" = 0 ]
