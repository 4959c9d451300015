#!/bin/bash
# RELIABILITY 14 and 15. Names of classes, folds, sites, patients, files and runs that try to leave the folder
# they belong to: refused, or kept as mere text; nothing is made or changed outside. And names that a
# spreadsheet or a browser would obey, in every file of a finished run.   hostile_names.sh PROGRAM
set -uo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
program="$1"
here="$(cd "$(dirname "$0")" && pwd)"
tiny="$here/../mpi/tiny.yaml"
outside="$(mktemp -d)"
trap 'rm -rf "$outside"' EXIT
mkdir "$outside/a" "$outside/a/b" || exit 1
inside="$outside/a/b/inside"
mkdir "$inside"
cd "$inside" || exit 1
failed=0 tried=0

"$program" synth -o phantoms --images 30 --size 32 >/dev/null || exit 1
cp phantoms/BLA/BLA_00001.png "$outside/canary.png"
cp phantoms/BLA/BLA_00001.png "$outside/a/b/evil.png"
listing() { find "$outside" -path "$inside" -prune -o -printf '%p %s %T@\n'; }
before="$(listing)"

fail() {
  failed=$((failed + 1))
  echo "FAILED: $1"
  sed 's/^/    /' err
}
# attempt CODE 'REGEX' VERB...: exit code, message, and everything outside as it was.
attempt() {
  local code="$1" pattern="$2" found=0
  shift 2
  tried=$((tried + 1))
  timeout 60 "$program" "$@" >out 2>err </dev/null || found=$?
  [ "$found" = "$code" ] || fail "cytofold $*: exit $found, expected $code"
  grep -qE -- "$pattern" err out || fail "cytofold $*: /$pattern/ is not in:"
  [ "$(listing)" = "$before" ] || fail "cytofold $*: something outside was made or changed: $(listing)"
}

# class codes, names, nodes and the scheme's own name
scheme() { printf '%b' "$1" >s.yaml; }
for code in ../../evil .. . a/b /tmp/evil '' '"a\\nb"' '"a\\0b"' "$(printf 'x%.0s' {1..300})"; do
  scheme "name: s\nclasses:\n  - {code: $code}\n  - {code: BLA}\n"
  attempt 2 "s.yaml:3:[0-9]+: (code|a NUL)" pack phantoms --scheme ./s.yaml -o x.cells
done
scheme "name: ../../evil\nclasses: [{code: BLA}]\n"
attempt 2 "s.yaml:1:7: name" pack phantoms --scheme ./s.yaml -o x.cells
scheme "name: s\nclasses: [{code: BLA}, {code: EOS}]\nmerged_nodes: {BLA: [../x, y]}\n"
attempt 2 "s.yaml:3:22: an output node" pack phantoms --scheme ./s.yaml -o x.cells
attempt 2 "no scheme" pack phantoms --scheme .. -o x.cells
attempt 2 "passwd:[0-9]+:[0-9]+" pack phantoms --scheme ../../../../../../../../../../etc/passwd -o x.cells

# labels of a manifest as classes of their own
for label in ../../evil .. /tmp/evil 'a/b'; do
  printf 'path,label\nphantoms/BLA/BLA_00001.png,%s\n' "$label" >m.csv
  attempt 3 "is no class code" pack m.csv --scheme auto -o x.cells
done

# sites
for site in ../../evil .. . a/b /tmp/evil; do
  printf 'path,label,site\nphantoms/BLA/BLA_00001.png,BLA,%s\n' "$site" >m.csv
  attempt 3 "m.csv:2:3: the site is not a plain name" pack m.csv --scheme bm7 -o x.cells
  attempt 2 "not a plain name" pack phantoms --site "$site" --scheme bm7 -o x.cells
done
attempt 2 "not a plain name" pack ..=phantoms --scheme bm7 -o x.cells
attempt 3 "no such file or folder" pack ../../evil=phantoms --scheme bm7 -o x.cells

# what a manifest may name: any regular file that can be read, and nothing else
printf 'path,label\n../evil.png,BLA\n%s,EOS\n' "$outside/canary.png" >m.csv
attempt 0 "x.cells: 2 images" pack m.csv --scheme bm7 -o x.cells
for path in /dev/zero /dev/stdin /proc/self/mem .. / http://localhost/x.png '|id' pipe; do
  [ "$path" = pipe ] && mkfifo pipe
  printf 'path,label\n%s,BLA\n' "$path" >m.csv
  attempt 3 "cannot be read" pack m.csv --scheme bm7 -o never.cells
done
[ ! -e never.cells ] || fail "never.cells was written"

# folds and runs
printf 'id,fold\n../../evil,../../evil\n' >folds.csv
attempt 3 "folds.csv:2:1" train "$tiny" --run run --workers 1 --set data.cells=x.cells --set data.folds_file=folds.csv
attempt 2 "fold" train "$tiny" --run run --workers 1 --set data.cells=x.cells --fold ../../evil
rm -rf run

# A whole run whose images come from outside, and whose names a spreadsheet or a browser would obey.
codes=('=cmd()' '+1+cmd' '-2+3' '@SUM(A1)' '<script>x' 'a|b' '"q",r' "it's" '*b*_i_' '[l](u)' '&amp;<!--' \
  $'\xe2\x80\xaegnp' "'x'" '{{7*7}}' ']]>x')
{
  printf 'name: hostile\ntitle: "<script>alert(1)</script>"\nclasses:\n'
  for code in "${codes[@]}"; do
    quoted="${code//\'/\'\'}"
    printf "  - {code: '%s', name: '%s </td><script>alert(1)</script>'}\n" "$quoted" "$quoted"
  done
} >hostile.yaml
{
  echo 'path,label,site,patient'
  n=0
  for code in "${codes[@]}"; do
    for i in 1 2 3; do
      n=$((n + 1))
      cp phantoms/BLA/BLA_00001.png "../=$n.png"
      printf '../=%d.png,"%s",=HYPERLINK(1),../../../patient%d\n' "$n" "${code//\"/\"\"}" "$i"
    done
  done
} >m.csv
before="$(listing)"
attempt 0 "45 images" pack m.csv --scheme ./hostile.yaml -o h.cells
attempt 0 "3 folds" split h.cells --folds 3 --group patient -o folds.csv
attempt 2 "--run DIR is missing" train "$tiny" --run "" --workers 1 --set data.cells=h.cells
attempt 0 "=cmd" train "$tiny" --run run --workers 1 --set data.cells=h.cells --set train.epochs=1 \
  --set train.warmup_epochs=0 --set train.evaluate_every=0 --set data.group=patient
attempt 0 "=cmd" report run
attempt 0 "=cmd" inspect h.cells --json
cp out inspect.json
attempt 0 "" score run/fold-0/predictions.csv --scheme ./hostile.yaml --json
cp out score.json

# another centre with such labels, ids, sites and raters
mkdir -p "other/<img src=x onerror=alert(1)>" "other/=cmd()"
cp phantoms/BLA/BLA_00001.png "other/<img src=x onerror=alert(1)>/=1+1.png"
cp phantoms/BLA/BLA_00001.png "other/=cmd()/\"q\",<b>.png"
printf '"<img src=x onerror=alert(1)>": "+1+cmd"\n"=cmd()": ~\n' >map.yaml
before="$(listing)"
attempt 0 "2 images" predict run other --class-map map.yaml --site '=site()' -o predicted.csv \
  --confusion labels.csv --confusion labels.svg --json
cp out predict.json
{
  echo 'id,rater,label'
  tail -n +2 run/fold-0/predictions.csv | cut -d, -f1 | while read -r id; do
    printf '%s,=rater(),+1+cmd\n%s,<b>|x,a|b\n' "$id" "$id"
  done
} >raters.csv
attempt 0 "rater" score run/fold-0/predictions.csv --scheme ./hostile.yaml --raters raters.csv
cp out raters.md
attempt 0 "=rater" score run/fold-0/predictions.csv --scheme ./hostile.yaml --raters raters.csv --json
cp out raters.json

tried=$((tried + 1))
python3 "$here/hostile_names.py" "${codes[@]}" >err 2>&1 || fail "the files of the run:"
cat err
echo "$tried attempts, $failed failed"
[ "$failed" = 0 ]
