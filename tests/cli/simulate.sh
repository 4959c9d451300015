#!/bin/bash
# plan --simulate as a user meets it. usage: simulate.sh PROGRAM
set -euo pipefail
export LC_ALL=C
program="$1"
here="$(cd "$(dirname "$0")" && pwd)"
tiny="$here/../mpi/tiny.yaml"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() { echo "FAILED: $*" >&2; exit 1; }
simulate() { "$program" plan "$tiny" --images 90 --set data.scheme=bm7 --simulate "$@"; }
# value FILE KEY: of the first line that has it
value() { grep -m 1 "\"$2\"" "$1" | sed 's/.*: //; s/,$//'; }
# expect TEXT COMMAND...: exit 2 with a message that holds TEXT
expect() {
  local text="$1" code=0
  shift
  "$@" >out 2>err || code=$?
  [ "$code" = 2 ] || fail "$*: exit $code, expected 2: $(cat err)"
  grep -qF -- "$text" err || fail "$*: '$text' is not in: $(cat err)"
}

# The list: powers of two by default, 11 rows; anything that a user may write.
simulate --json >powers.json
[ "$(grep -c '"workers"' powers.json)" = 11 ] || fail "default list: $(grep '"workers"' powers.json)"
grep -q '"workers": 1024' powers.json || fail "1,024 workers are not simulated"
simulate --workers 1,2,4,...,1024 --json | cmp - powers.json || fail "the default list is another"
simulate --workers 2,4,...,10 --json | grep -c '"workers"' | grep -qx 5 || fail "2,4,...,10 has five numbers"
simulate --workers 3 | grep -q '^|  *3 |' || fail "one number: no row"
for bad in 0 x 4,2 "1,2," 1,...,4 1,3,...,10 2,,4 5000 1,2,...,4,3; do
  expect "--workers $bad" simulate --workers "$bad"
done
expect "takes --simulate" "$program" plan "$tiny" --images 90 --set data.scheme=bm7 --workers 1,2

# The same question, the same answer; on one worker nothing is sent.
simulate --json | cmp - powers.json || fail "two simulations differ"
[ "$(value powers.json exposed_seconds)" = 0 ] || fail "one worker waits for sums"

# A measured step replaces the estimate, and must be of this network.
"$program" bench --config "$tiny" --set data.scheme=bm7 --set model.outputs=7 --batch 16 --runs 1 --steps 1 \
  --threads 1 --device cpu --json >bench.json
simulate --measured bench.json --workers 1 --json >measured.json
awk -v step="$(value bench.json step_ms)" -v update="$(value measured.json update_seconds)" \
  -v micro="$(value measured.json micro_seconds)" \
  'BEGIN { d = (step / 1000 - update) / 2 - micro; exit !(d < 1e-9 && d > -1e-9) }' ||
  fail "16 images in $(value bench.json step_ms) ms are not 8 in $(value measured.json micro_seconds) s"
grep -q '"micro_seconds_source": "measured"' measured.json || fail "the source is not named"
{ printf '{"matek2021": '; cat bench.json; printf '}\n'; } >report.json # as launch/gpu-check.sh nests it
simulate --measured report.json --workers 1 --json | cmp - measured.json || fail "a report counts otherwise"
expect "not both" simulate --measured bench.json --micro-seconds 0.1
expect "images of 32 px, expected 64" simulate --measured bench.json --set model.image_size=64
expect "measured in bf16, expected fp32" simulate --measured bench.json --set train.precision=fp32
expect "parameters, expected about" simulate --measured bench.json --set model.stem_channels=32
sed 's/"step_ms".*/"step_ms": "fast",/' bench.json >broken.json
expect "broken.json:" simulate --measured broken.json
printf '[1, 2]\n' >list.json
expect "list.json:1:1" simulate --measured list.json
expect "nothere.json" simulate --measured nothere.json

# The network: a slower one costs more, words and ranges are checked.
seconds() { simulate --workers 4 --json --micro-seconds 0.01 --set run.groups=1 "$@" >net.json; value net.json train_seconds; }
fast="$(seconds --node-gbs 1000 --node-us 0.001)" slow="$(seconds --node-gbs 0.001)"
awk -v a="$fast" -v b="$slow" 'BEGIN { exit !(b > 2 * a) }' || fail "a slow network: $slow s, a fast one $fast s"
for method in ring tree doubling halving shares; do
  seconds --reduction "$method" >/dev/null
  grep -q "\"reduction\": \"$method\"" net.json || fail "$method is not what was simulated"
done
expect "--reduction star" simulate --reduction star
expect "--node-gbs takes" simulate --node-gbs -1
echo "simulate ok"
