#!/bin/bash
# predict beyond a table of probabilities, on phantom cells (synthetic): temperatures, JSON, unlike images, the
# differential count by patient, with names that are anything.   predict_more.sh PROGRAM
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

"$program" synth -o phantoms --images 126 --size 40 --scheme bm7 --seed 5 >/dev/null || exit 1
"$program" pack phantoms --scheme bm7 --size 36 -o cells.cells >/dev/null || exit 1
"$program" train "$tiny" --run run --workers 1 --set data.cells=cells.cells >/dev/null 2>train.log ||
  { cat train.log; exit 1; }
expect 0 "images/s" run cells.cells -o plain.csv

# threads wait briefly, unless the user says how; said by GNU's OpenMP itself, where it is that
unset OMP_WAIT_POLICY GOMP_SPINCOUNT
OMP_DISPLAY_ENV=verbose "$program" --help >out 2>err
if grep -q GOMP_SPINCOUNT err; then
  OMP_DISPLAY_ENV=verbose expect 0 "GOMP_SPINCOUNT = '1000'" run cells.cells -o own.csv
  GOMP_SPINCOUNT=77 OMP_DISPLAY_ENV=verbose expect 0 "GOMP_SPINCOUNT = '77'" run cells.cells -o own.csv
  check "as the user says" bash -c "! grep -q \"GOMP_SPINCOUNT = '1000'\" err"
  rm own.csv
fi

# temperatures: of each fold, by the run's own test; the same class, another confidence
expect 0 "fold 2: temperature [0-9.]+$" run cells.cells --temperature -o warm.csv
check "predictions are scaled" bash -c '! cmp -s plain.csv warm.csv'
expect 0 "fold 1: temperature" run cells.cells --fold 1 --temperature -o warm1.csv
expect 0 "images/s" run cells.cells --fold 1 -o plain1.csv
check "one network keeps its classes" cmp <(cut -d, -f5 plain1.csv) <(cut -d, -f5 warm1.csv)
check "by the formula" python3 -c "
import csv, math
a, b = (list(csv.DictReader(open(f))) for f in ('plain1.csv', 'warm1.csv'))
# one temperature for all rows and classes: log-odds are in one ratio
ratios = []
for x, y in zip(a, b):
    p = [(float(x[k]), float(y[k])) for k in x if k.startswith('p_')]
    for (p0, q0), (p1, q1) in zip(p, p[1:]):
        if abs(math.log(p0 / p1)) > .05: ratios.append(math.log(q0 / q1) / math.log(p0 / p1))
assert len(ratios) > 50 and max(ratios) - min(ratios) < 1e-5, (len(ratios), min(ratios), max(ratios))
"
cp -r run bare
rm bare/fold-1/predictions.csv
expect 3 "bare/fold-1/predictions.csv: no such file; a network's temperature" bare cells.cells --temperature -o x.csv

# JSON holds what CSV holds
expect 0 "images/s" run cells.cells -o plain.json
check "JSON as CSV" python3 -c "
import csv, json
j, rows = json.load(open('plain.json')), list(csv.DictReader(open('plain.csv')))
assert j['folds'] == [0, 1, 2] and j['temperatures'] == [] and len(j['images']) == len(rows) == 126
for a, r in zip(j['images'], rows):
    assert all(a[k] == r[k] for k in ('id', 'site', 'label', 'predicted'))
    assert all(abs(p - float(r['p_' + c])) < 1e-8 for p, c in zip(a['p'], j['classes']))
"

"$program" pack phantoms --scheme bm7 --size 36 --um-per-px 0.2 -o coarse.cells >/dev/null 2>&1 # 40 px of 0.2 um
"$program" pack phantoms --scheme bm7 --size 32 -o other.cells >/dev/null 2>&1

# unlike images: learnt once, kept, known again; made again where it does not fit
expect 0 "learning what the run's own images look like, once; kept as run/unlike.safetensors" \
  run cells.cells -o unlike.csv --unlike 0.05
check "own images are seldom unlike" python3 -c "
import csv
rows = list(csv.DictReader(open('unlike.csv')))
assert list(rows[0])[-3:] == ['unlike', 'unlike_look', 'unlike_features']
assert sum(int(r['unlike']) for r in rows) < 20, [r['unlike'] for r in rows]
assert all((float(r['unlike_look']) > 1 or float(r['unlike_features']) > 1) == (r['unlike'] == '1') for r in rows)
"
check "probabilities as without" cmp <(cut -d, -f1-12 unlike.csv) plain.csv
"$program" score unlike.csv --scheme bm7 >/dev/null 2>score.log || complain "score reads the file: $(cat score.log)"
cp run/unlike.safetensors kept
expect 0 "images/s" run cells.cells -o again.csv --unlike 0.05
check "taken from the file" bash -c '! grep -q learning err && cmp -s unlike.csv again.csv'
expect 0 "images/s" run cells.cells --fold 2 -o x.csv --unlike 0.05
check "a fold of it" bash -c '! grep -q learning err'
for k in 0 1 2; do "$program" predict run cells.cells --fold "$k" -o "f$k.csv" --unlike 0.05 >/dev/null 2>&1; done
check "distances of features are means over the networks" python3 -c "
import csv
whole, *folds = [list(csv.DictReader(open(f + '.csv'))) for f in ('unlike', 'f0', 'f1', 'f2')]
for r, *own in zip(whole, *folds):
    assert all(o['unlike_look'] == r['unlike_look'] for o in own)
    mean, x = sum(float(o['unlike_features']) for o in own) / 3, float(r['unlike_features'])
    assert abs(mean - x) < 1e-4 * x, (mean, x) # six digits are written
assert any(o['unlike_features'] != r['unlike_features'] for r, o in zip(whole, folds[0]))
"
expect 0 "images/s" run cells.cells --tta 4 -o turned.csv --unlike 0.05
check "turns count once" cmp <(cut -d, -f1,14- unlike.csv) <(cut -d, -f1,14- turned.csv)
check "turns change probabilities" bash -c '! cmp -s unlike.csv turned.csv'
head -c 5000 kept >run/unlike.safetensors
expect 0 "unlike.safetensors.*; it is made again" run cells.cells -o again.csv --unlike 0.05
check "the same again" cmp kept run/unlike.safetensors
"$program" train "$tiny" --run second --workers 1 --set data.cells=cells.cells --set train.seed=9 >/dev/null 2>&1
cp kept second/unlike.safetensors
expect 0 "second/unlike.safetensors is of other weights or images; it is made again" \
  second cells.cells -o x.csv --unlike 0.05
check "of its own weights now" bash -c '! cmp -s kept second/unlike.safetensors'
python3 - <<'P'
import random, struct, zlib
random.seed(3)
def png(path, n, pixel):
    raw = b''.join(b'\0' + bytes(c for x in range(n) for c in pixel(x, y)) for y in range(n))
    chunk = lambda t, d: struct.pack('>I', len(d)) + t + d + struct.pack('>I', zlib.crc32(t + d))
    open(path, 'wb').write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', n, n, 8, 2, 0, 0, 0)) +
                           chunk(b'IDAT', zlib.compress(raw)) + chunk(b'IEND', b''))
import os
os.mkdir('noise')
for k in range(10): png(f'noise/{k}.png', 40, lambda x, y: [random.randrange(256) for _ in range(3)])
P
expect 0 "10 of 10 images are unlike those that the run was trained on" run noise -o noise.csv --unlike 0.05
check "noise is unlike" [ "$(tail -n +2 noise.csv | cut -d, -f13 | sort -u)" = 1 ]
rm run/unlike.safetensors && mkdir run/unlike.safetensors
expect 0 "unlike images are told all the same, but not from a kept file" run cells.cells -o again.csv --unlike 0.05
check "told all the same" cmp unlike.csv again.csv
rmdir run/unlike.safetensors
mv cells.cells away.cells
expect 0 "so it cannot be told which images are unlike" run away.cells -o again.csv --unlike 0.05
check "no column then" cmp again.csv plain.csv
expect 3 "nowhere.cells: no such file" run away.cells -o x.csv --unlike 0.05 --cells nowhere.cells
expect 3 "other.cells: not .* run was trained on" run away.cells -o x.csv --unlike 0.05 --cells other.cells
expect 0 "learning" run away.cells -o again.csv --unlike 0.05 --cells away.cells
check "learnt where the run's images are now" cmp unlike.csv again.csv
mv away.cells cells.cells
expect 2 "--cells goes with --unlike" run cells.cells --cells cells.cells -o x.csv
expect 2 "not with --adapt-norm" run cells.cells --unlike 0.05 --adapt-norm -o x.csv
expect 2 "--unlike" run cells.cells --unlike 0.9 -o x.csv

# with the stains of a reference the look is of what the networks see: the same dyes in the same places, in two
# other colours (synthetic: a disc of two dyes)
python3 - <<'P'
import math, os, random, struct, zlib
random.seed(4)
N, STAINS = 36, (((.67, .69, .27), (.45, .88, .13)), ((.40, .55, .73), (.75, .60, .28)))
def png(path, pixels):
    raw = b''.join(b'\0' + bytes(v for p in pixels[y * N:y * N + N] for v in p) for y in range(N))
    chunk = lambda t, d: struct.pack('>I', len(d)) + t + d + struct.pack('>I', zlib.crc32(t + d))
    open(path, 'wb').write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', N, N, 8, 2, 0, 0, 0)) +
                           chunk(b'IDAT', zlib.compress(raw)) + chunk(b'IEND', b''))
for code in 'BLA EOS LYT MON NGS NIF PMO'.split():
    for folder in 'dyes', 'tinted': os.makedirs(f'{folder}/{code}')
    for k in range(9):
        r, a, b = random.uniform(12, 16), random.uniform(.8, 1.2), random.uniform(.8, 1.2)
        amount = []
        for i in range(N * N):
            inside = (i % N - N / 2) ** 2 + (i // N - N / 2) ** 2 < r * r
            share = random.random()
            amount.append((a * share, b * (1 - share)) if inside else (.02, .02))
        for folder, (s, t) in zip(('dyes', 'tinted'), STAINS):
            png(f'{folder}/{code}/{k}.png', [[max(0, min(255, round(240 * math.exp(-x * s[c] - y * t[c]) - 1)))
                                              for c in range(3)] for x, y in amount])
P
"$program" pack dyes --scheme bm7 --size 36 -o dyes.cells >/dev/null || complain "packing of dyes"
"$program" train "$tiny" --run dyed --workers 1 --set data.cells=dyes.cells >/dev/null 2>train.log ||
  complain "training on dyes: $(cat train.log)"
expect 0 "63 of 63 images are unlike" dyed tinted -o tinted.csv --unlike 0.1
expect 0 "images/s" dyed tinted -o untinted.csv --unlike 0.1 --stain-reference dyes/BLA/4.png
check "the look loses its tint" python3 -c "
import csv
a, b = ([float(r['unlike_look']) for r in csv.DictReader(open(f))] for f in ('tinted.csv', 'untinted.csv'))
# a fifth of it is left here: stains are estimated of each image by itself
assert len(a) == 63 and all(y < x / 2 for x, y in zip(a, b)), max(y / x for x, y in zip(a, b))
"

# pixels of another size are said
cp -r run scaled
sed -i 's,^# images: 36 x 36 px.*,# images: 36 x 36 px\, 0.1 um/px,' scaled/run.yaml
expect 0 "coarse.cells has pixels of 0.2222 um, the run was trained on 0.1 um" scaled coarse.cells -o x.csv
expect 0 "images/s" run coarse.cells -o x.csv
check "not where the run's are not known" bash -c '! grep -q "has pixels" err'

# the differential count, with names of patients that are anything
python3 - <<'P'
import csv, glob
names = ['=cmd|calc', '../../escape', '<script>alert(1)</script>', 'a "b", c', 'x\u202ey', '']
with open('patients.csv', 'w', newline='') as f:
    w = csv.writer(f)
    w.writerow(['path', 'label', 'patient'])
    for k, p in enumerate(sorted(glob.glob('phantoms/*/*.png'))): w.writerow([p, p.split('/')[1], names[k % 6]])
P
expect 0 "images/s" run patients.csv -o by.csv --by patient --count-dir counts --json --unlike 0.05
cp out by.json
check "counts add up" python3 -c "
import csv, json, os
names = ['=cmd|calc', '../../escape', '<script>alert(1)</script>', 'a \"b\", c', 'x\u202ey', '']
plain = lambda s: s[1:] if s[:1] == \"'\" else s
j = json.load(open('by.json'))
d = {g['name']: g for g in j['differential']}
assert sorted(d) == sorted(names), list(d)
rows = list(csv.DictReader(open('by.csv')))
for r in rows: r['patient'] = plain(r['patient'])
for name, g in d.items():
    own = [r for r in rows if r['patient'] == name]
    assert g['cells'] == len(own) == 21
    for c in g['classes']:
        assert c['cells'] == sum(r['predicted'] == c['name'] for r in own)
        assert abs(c['by_p'] - sum(float(r['p_' + c['name']]) for r in own) / 21) < 1e-7
        assert c['low'] <= c['share'] <= c['high']
    assert g['unlike'] == sum(int(r['unlike']) for r in own)
    blast = sorted((-float(r['p_BLA']), r['id']) for r in own)
    assert g['first'][0] == blast[0][1] and len(g['first']) == 21
table = list(csv.DictReader(open('counts/differential.csv')))
assert {plain(r['patient']) for r in table} == set(names)
assert sum(int(r['count']) for r in table if r['kind'] == 'class') == 126
first = list(csv.DictReader(open('counts/first.csv')))
assert len(first) == 126 and {r['sheet'] for r in first} == {'sheet-%04d.png' % k for k in range(1, 7)}
assert sorted(os.listdir('counts')) == sorted({r['sheet'] for r in first} | {'differential.csv', 'first.csv'})
assert all(open('counts/' + s, 'rb').read(4) == b'\x89PNG' for s in {r['sheet'] for r in first})
"
check "nothing outside the folder" [ -z "$(find . -name '*escape*')" ]
expect 0 "images/s" run patients.csv -o by.csv --by patient
check "a table for the eye" grep -q "^patient not known: 21 cells" out
check "no markup" bash -c '! grep -q "<script>" out'
expect 0 "images/s" run a=phantoms b=noise -o sites.csv --by site --count-dir counts
check "sites" grep -q "^site b: 10 cells" out
check "old sheets are gone" [ "$(ls counts | paste -sd' ')" = "differential.csv first.csv sheet-0001.png sheet-0002.png" ]
touch counts/sheet-1.png counts/sheet-7.png counts/sheet-0009.png
expect 0 "images/s" run b=noise -o sites.csv --by site --count-dir counts
check "only sheets of an earlier count go" [ "$(ls counts | paste -sd' ')" = \
  "differential.csv first.csv sheet-0001.png sheet-1.png sheet-7.png" ]
mkdir own && echo "mine" >own/first.csv && touch own/sheet-0009.png
expect 0 "images/s" run b=noise -o sites.csv --by site --count-dir own
check "sheets of nobody's count stay" [ -e own/sheet-0009.png ]
"$program" score by.csv --scheme bm7 >/dev/null 2>score.log || complain "score reads patients: $(cat score.log)"
expect 3 "no image has a patient" run cells.cells --by patient -o x.csv
expect 2 "know slides" run cells.cells --by slide -o x.csv
expect 2 "patient or site" run cells.cells --by cell -o x.csv
expect 2 "count-dir goes with --by" run cells.cells --count-dir d -o x.csv

# what cannot be written, or drawn, is said before the networks run
expect 5 "no-such-folder/c.csv" run noise -o early.csv --confusion no-such-folder/c.csv
check "no network has run" bash -c '! grep -q images/s err'
expect 5 "counts: is a folder" run noise -o counts
touch a-file
expect 5 "a-file" run noise -o early.csv --by site --count-dir a-file/counts
check "no network has run for a count" bash -c '! grep -q images/s err'
mkdir many-labels
seq 201 | sed 's,.*,noise/0.png many-labels/&.png,' | xargs -n 2 ln
{ echo path,label && seq 201 | sed 's,.*,many-labels/&.png\,label&,'; } >labels.csv
expect 2 "c.svg: 201 labels are too many for a picture" run labels.csv -o early.csv --confusion c.csv --confusion c.svg
check "no network has run for a picture" bash -c '! grep -q images/s err'
expect 0 "images/s" run labels.csv -o early.csv --confusion c.csv
check "a table has them all" [ "$(wc -l <c.csv)" = 202 ]

echo "$tried expectations, $failed failed"
[ "$failed" = 0 ]
