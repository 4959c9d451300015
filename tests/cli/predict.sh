#!/bin/bash
# predict as a user meets it, on phantom cells (synthetic): the run's own test again bit by bit, sources of
# every kind, labels, and refusals.   predict.sh PROGRAM
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
expect() { # CODE REGEX OPTIONS...: predict must end with CODE, and its standard error match
  local code="$1" pattern="$2" found=0
  shift 2
  tried=$((tried + 1))
  timeout 60 "$program" predict "$@" >out 2>err </dev/null || found=$?
  if [ "$found" != "$code" ] || ! grep -qE -- "$pattern" err; then
    complain "predict $*: exit $found, expected $code; expected /$pattern/ in:"
    sed 's/^/    /' err
  fi
}
rows() { # FILE: all but the header, without the column fold
  tail -n +2 "$1" | cut -d, -f1,2,4-
}

"$program" synth -o phantoms --images 126 --size 40 --scheme bm7 --seed 5 >/dev/null || exit 1
"$program" pack phantoms --scheme bm7 --size 36 -o cells.cells >/dev/null || exit 1
"$program" train "$tiny" --run run --workers 1 --set data.cells=cells.cells >/dev/null 2>train.log ||
  { cat train.log; exit 1; }

# the run's own test, bit by bit
for k in 0 1 2; do
  expect 0 "images/s" run cells.cells --fold "$k" -o own.csv
  check "header of fold $k" cmp <(head -n 1 own.csv) <(head -n 1 "run/fold-$k/predictions.csv")
  check "rows of fold $k" cmp "run/fold-$k/predictions.csv" \
    <(awk -F, 'NR == FNR { own[$1] = $0; next } { print own[$1] }' own.csv "run/fold-$k/predictions.csv")
done

# the ensemble is the mean of its folds; no fold is named
expect 0 "cells.cells is what the run was trained on" run cells.cells -o all.csv
check "no fold named" [ "$(cut -d, -f3 all.csv | sort -u | paste -sd' ')" = " fold" ]
for k in 0 1 2; do "$program" predict run cells.cells --fold "$k" -o "f$k.csv" >/dev/null 2>&1; done
check "mean of three" awk -F, 'FNR == 1 { next } { n = NF; for (c = 6; c <= n; c++) if (FILENAME == "all.csv") {
    d = $c - sum[$1, c] / 3; if (d > 1e-8 || d < -1e-8) exit 1 } else sum[$1, c] += $c }' f0.csv f1.csv f2.csv all.csv
expect 0 "images/s" run cells.cells --fold 2 --fold 0 -o two.csv
expect 0 "images/s" run cells.cells --fold 0 --fold 2 -o owt.csv
check "order of folds" cmp two.csv owt.csv

# sources of every kind: what was packed for the run, from the files themselves, with no cells file left
mv cells.cells away.cells
expect 0 "images/s" run phantoms -o files.csv
check "folder as the cells file" cmp all.csv files.csv
mv away.cells cells.cells
(cd phantoms && find . -name '*.png' | sed 's,^\./,,' | sort >../names)
{ echo path,split && sed 's,.*,phantoms/&,; s/$/,test/' names; } >manifest.csv
expect 0 "images/s" run manifest.csv -o manifest-p.csv
check "manifest without labels" cmp <(rows all.csv | awk -F, -v OFS=, '{ $1 = "phantoms/" $1; $3 = ""; print }') \
  <(rows manifest-p.csv)
mkdir flat
sed 's,.*,cp phantoms/& flat/,' names | head -n 30 | sh
expect 0 "images/s" run flat -o flat.csv
check "flat folder" [ "$(rows flat.csv | cut -d, -f3 | sort -u)" = "" ]
check "as many rows" [ "$(rows flat.csv | wc -l)" = 30 ]
first="phantoms/$(head -n 1 names)" last="phantoms/$(tail -n 1 names)"
expect 0 "images/s" run "$first" "$last" -o single.csv
check "single files" cmp <(rows single.csv | cut -d, -f4-) <(rows manifest-p.csv | sed -n '1p;$p' | cut -d, -f4-)
"$program" pack phantoms --scheme bm7 --unlabelled --size 36 -o u.cells >/dev/null
expect 0 "images/s" run u.cells -o u.csv
check "packed for prediction" cmp all.csv u.csv
check "nothing left in TMPDIR" [ -z "$(ls -A tmp)" ]

# the run's field is cut where a source or a manifest knows all scales; where not, it is said
cp -r run scaled
sed -i 's,^# images: 36 x 36 px.*,# images: 36 x 36 px\, 0.1 um/px,' scaled/run.yaml
expect 0 "not cut to the run's field of 3.6 um" scaled phantoms -o whole.csv
check "whole without scales" cmp all.csv whole.csv
expect 0 "images/s" scaled phantoms --crop-um 0 -o whole.csv
check "whole on request" bash -c '! grep -q "the run.s field" err'
expect 0 "cut to the run's field of 3.6 um" scaled phantoms --um-per-px 0.1 -o cut.csv
check "a field changes probabilities" bash -c '! cmp -s all.csv cut.csv'
sed 's/$/,0.1/; 1s/0.1$/um_per_px/' manifest.csv >scales.csv
expect 0 "cut to the run's field of 3.6 um" scaled scales.csv -o scales-p.csv
check "scales of a manifest" cmp <(rows cut.csv | cut -d, -f4-) <(rows scales-p.csv | cut -d, -f4-)
expect 0 "images/s" scaled phantoms --um-per-px 0.088 -o pixel.csv # 41 of 40 px
check "a field larger by a pixel" cmp all.csv pixel.csv
expect 3 "--crop-um 0 takes images whole" scaled phantoms --um-per-px 0.08 -o x.csv

# labels: the class map goes first, the scheme's aliases next; the rest stays without a class
cp -r phantoms named
mv named/NGS named/Neutrophil
mv named/MON named/Basophil # left out by the scheme
mv named/EOS named/pink
printf 'pink: EOS\nBLA: ~\nblue: NIF\n' >map.yaml
expect 0 "map.yaml: no image has the label blue" run named --class-map map.yaml -o named.csv
check "labels by map and scheme" [ "$(tail -n +2 named.csv | sed 's,/[^,]*,,' | cut -d, -f1,4 | sort -u |
  paste -sd' ')" = "BLA, Basophil, LYT,LYT NIF,NIF Neutrophil,NGS PMO,PMO pink,EOS" ]
"$program" score named.csv --scheme bm7 --json >score.json 2>score.log || complain "score of unlabelled rows"
check "score says over how many" grep -q "named.csv: over 90 of 126 images" score.log
check "score counts them" grep -q '"images": 90' score.json
"$program" predict run named --class-map map.yaml -o named.csv --json >named.json 2>/dev/null
check "JSON" python3 -c "
import json
s = json.load(open('named.json'))
assert s['images'] == 126 and s['labelled'] == 90 and s['mapped']['classes'] == 5, s
assert s['no_confident']['classes'] == ['NIF'], s
given = {g['label']: g for g in s['given']}
assert given['Basophil']['class'] == '' and given['pink']['class'] == 'EOS'
assert all(sum(g['predicted'].values()) == g['images'] == 18 for g in s['given'])
assert abs(s['accuracy'] - json.load(open('score.json'))['pooled']['accuracy']) < 1e-12
assert s['no_confident']['images'] == sum(g['predicted']['NIF'] for g in s['given'])
"
sed 's/^name: bm7/name: other/; s/code: \([A-Z]*\)/code: X\1/; s/\[[A-Z, ]*\]/[XNIF]/; /^tolerance/,/^$/d; /^aliases/,/^$/d' \
  run/scheme.yaml | sed 's/name: [BELMNSP].*/name: /; /^    name: $/d' >other.yaml
(cd phantoms && for c in *; do mkdir -p "../other/X$c" && cp "$c"/*_0000[1-3].png "../other/X$c/"; done)
"$program" pack other --scheme other.yaml --size 36 -o other.cells >/dev/null || complain "packing with another scheme"
expect 2 "scheme other, none of whose classes scheme bm7" run other.cells -o x.csv
printf 'XBLA: BLA\n' >x.yaml
expect 0 "images/s" run other.cells --class-map x.yaml -o x.csv
check "cells of another scheme" [ "$(cut -d, -f4 x.csv | sort -u | paste -sd' ')" = " BLA label" ]
rm x.csv

# several turns, moments of the images, stains
expect 0 "images/s" run cells.cells --tta 8 -o tta.csv
check "turns change probabilities" bash -c '! cmp -s all.csv tta.csv'
expect 0 "moments of the norms" run cells.cells --adapt-norm -o adapt.csv
check "moments change probabilities" bash -c '! cmp -s all.csv adapt.csv'
find phantoms -name '*[1-4].png' | xargs dirname | sort -u | sed 's,phantoms,north,' | xargs mkdir -p
(cd phantoms && find . -name '*[1-4].png' -exec cp {} ../north/{} \;)
expect 0 "moments of the norms" run a=phantoms b=north --adapt-norm -o sites.csv
check "a table of sites" grep -q "| b  *|" out
expect 0 "moments of the norms" run a=phantoms --adapt-norm -o site-a.csv
expect 0 "moments of the norms" run b=north --adapt-norm -o site-b.csv
check "a site's moments are its own" cmp sites.csv <(cat site-a.csv <(tail -n +2 site-b.csv))
# 2001 times the same image, once with another label: a share that rounds to one
class="$(tail -n 1 single.csv | cut -d, -f5)" wrong=BLA
[ "$class" = BLA ] && wrong=LYT
mkdir -p "many/$class" "many/$wrong"
seq 2001 | sed "s,.*,$last many/$class/&.png," | xargs -n 2 ln
ln "$last" "many/$wrong/0.png"
expect 0 "images/s" run a=many b=north -o many.csv
check "nearly all" grep -q "| a  *| *2002 | *2002 | *1.000 " out

expect 0 "moments of the norms" run cells.cells --adapt-norm --adapt-share 0 -o zero.csv
check "share 0 is the run's own" cmp all.csv zero.csv
expect 0 "images/s" run phantoms --stain-reference "$last" -o stain.csv
check "stains change probabilities" bash -c '! cmp -s all.csv stain.csv'

cp -r run half
sed -i 's/precision: bf16/precision: fp16/' half/run.yaml
expect 0 "trained in fp16, which device cpu has not" half phantoms --device cpu -o half.csv
check "probabilities in fp32" [ "$(wc -l <half.csv)" = 127 ]

# refusals
expect 3 "nowhere: not a run folder" nowhere phantoms -o x.csv
expect 3 "no scheme.yaml" phantoms phantoms -o x.csv
expect 2 "found 1 operand" run -o x.csv
expect 2 "-o P.csv" run phantoms
expect 3 "no-such" run no-such -o x.csv
mkdir empty
expect 3 "empty" run empty -o x.csv
expect 2 "by itself" run cells.cells phantoms -o x.csv
expect 2 "no --size" run cells.cells --size 40 -o x.csv
expect 4 "fold-7: no checkpoint" run phantoms --fold 7 -o x.csv
expect 2 "--fold takes" run phantoms --fold one -o x.csv
expect 2 "--tta" run phantoms --tta 9 -o x.csv
expect 2 "adapt-norm" run phantoms --adapt-share 0.5 -o x.csv
expect 2 "run.device" run phantoms --device gpu -o x.csv
printf 'pink: XYZ\n' >bad.yaml
expect 2 'bad.yaml:1:7: "XYZ" is no class' run phantoms --class-map bad.yaml -o x.csv
cp "$last" "flat/notes.txt"
head -c 300 "$last" >flat/broken.png
expect 3 "1 of 31 images cannot be read; nothing was predicted" run flat -o x.csv
check "the image is named" grep -q "flat/broken.png" err
expect 0 "flat/broken.png" run flat --skip-damaged -o flat2.csv
check "the others are predicted" cmp flat.csv flat2.csv
mkdir ruined
cp flat/broken.png ruined/
expect 3 "1 of 1 images cannot be read; nothing was predicted$" run ruined --skip-damaged -o x.csv
cp -r run group
sed -i 's/^\( *\)norm: .*/\1norm: group/' group/run.yaml
expect 2 "no batch norm" group no-such --adapt-norm -o x.csv # before any image is looked for
expect 3 "broken.png" run phantoms --stain-reference flat/broken.png -o x.csv
cp -r run begun
rm begun/fold-*/*.ckpt
expect 4 "no fold has a checkpoint" begun phantoms -o x.csv
cp -r run unlike
sed -i 's/stem_channels: 16/stem_channels: 8/' unlike/run.yaml
expect 4 "another network: tensor stem" unlike phantoms -o x.csv
cp -r run torn
for f in torn/fold-1/*.ckpt; do head -c 3000 "$f" >cut && cp cut "$f"; done
expect 4 "torn/fold-1: none of its" torn phantoms -o x.csv
expect 5 "names" run phantoms -o names/x.csv
check "nothing written" [ ! -e x.csv ]
check "nothing left in TMPDIR" [ -z "$(ls -A tmp)" ]

echo "$tried expectations, $failed failed"
[ "$failed" = 0 ]
