#!/bin/bash
# cytofold submit without a Slurm: what is refused, what is written, and what sbatch is called with. A stand-in for
# sbatch notes its arguments.   submit.sh PROGRAM
set -uo pipefail
export LC_ALL=C
program="$1"
root="$(cd "$(dirname "$0")/../.." && pwd)"
config="$root/tests/mpi/tiny.yaml"
scripts="$root/launch/slurm"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0 tried=0
bad() { failed=$((failed + 1)); echo "FAILED: $*"; }

# expect CODE 'REGEX' OPTIONS...: stderr matches; REGEX "": stderr is empty. path=...: another PATH
expect() {
  local code="$1" pattern="$2" found=0
  shift 2
  tried=$((tried + 1))
  PATH="${path:-$PATH}" "$program" submit "$@" >out 2>err || found=$?
  [ "$found" = "$code" ] || bad "submit $*: exit $found, expected $code: $(cat err)"
  if [ -n "$pattern" ]; then
    grep -qE -- "$pattern" err || bad "submit $*: expected /$pattern/ in: $(cat err)"
  elif [ -s err ]; then
    bad "submit $* says: $(cat err)"
  fi
}
# has FILE LINE: the script holds exactly this line
has() {
  tried=$((tried + 1))
  grep -qxF -- "$2" "$1" || { bad "$1 has no line: $2"; cat "$1"; }
}
hasnt() {
  tried=$((tried + 1))
  ! grep -qE -- "$2" "$1" || bad "$1 has a line like $2"
}
sound() { # a script that bash and, where it is installed, shellcheck take
  tried=$((tried + 1))
  bash -n "$1" || bad "$1: bash -n"
  ! command -v shellcheck >/dev/null || shellcheck -s bash "$1" || bad "$1: shellcheck"
}

"$program" synth -o phantoms --images 70 --size 32 --scheme bm7 --seed 5 >/dev/null || exit 1
"$program" pack phantoms --scheme bm7 -o good.cells >/dev/null || exit 1
mkdir bin none
cat >bin/sbatch <<'END'
#!/bin/bash
printf '%s\n' "$*" >>"$SBATCH_LOG"
grep -q refuse-me "${@: -1}" && { echo "sbatch: error: invalid partition" >&2; exit 1; }
echo "Submitted batch job $((100 + $(wc -l <"$SBATCH_LOG")))"
END
chmod +x bin/sbatch
export SBATCH_LOG="$work/sbatch.log"
plain="$PATH"
export PATH="$work/bin:$PATH"
base=("$config" --set data.cells=good.cells)

# the scripts as they are shipped
for script in "$scripts"/*.sbatch; do sound "$script"; done
tried=$((tried + 1))
common() { sed -n '/^# ---- nothing needs/,$p' "$1"; }
[ "$(common "$scripts/cpu.sbatch" | wc -l)" -gt 20 ] || bad "cpu.sbatch has lost its common part"
for script in one-node multi-node array; do
  diff <(common "$scripts/cpu.sbatch") <(common "$scripts/$script.sbatch") || bad "$script.sbatch: the common part"
done
LC_ALL=C grep -nP '[^\x00-\x7F]' "$scripts"/*.sbatch && bad "the scripts are plain ASCII"

# refused, with nothing left behind
expect 2 "--run DIR is missing" "${base[@]}" --time 60
expect 2 "--time T is missing" "${base[@]}" --run run
for time in 5x 0 0:00 1-2-3 1: :1 1:2:3:4 -1 "" 1-1:2:3:4 999-0 99999999999999999999; do
  expect 2 "--time " "${base[@]}" --run run --time "$time"
done
expect 2 "--time 3 is 180 s: expected more than the 180 s" "${base[@]}" --run run --time 3
expect 2 "data.cells is empty" "$config" --run run --time 60
expect 3 "nothere.cells" "$config" --run run --time 60 --set data.cells=nothere.cells
expect 2 "nothere.yaml" nothere.yaml --run run --time 60
expect 2 "colour" "${base[@]}" --run run --time 60 --set augment.colour=1
expect 2 "run.device is cuda: --gpus-per-node is missing" "${base[@]}" --run run --time 60 --set run.device=cuda
expect 2 "run.device is cpu, but" "${base[@]}" --run run --time 60 --gpus-per-node 1 --set run.device=cpu
expect 2 "--nodes" "${base[@]}" --run run --time 60 --nodes 0
expect 2 "--run: sbatch takes no quotes" "${base[@]}" --run 'r"un' --time 60
expect 2 "--partition: sbatch takes no quotes" "${base[@]}" --run run --time 60 --partition '$(x)'
expect 2 "--account: a control character" "${base[@]}" --run run --time 60 --account $'a\n#SBATCH --wrap=x'
expect 2 "--sbatch takes an option" "${base[@]}" --run run --time 60 --sbatch mem=3
path="$work/none" expect 2 "sbatch is not here" "${base[@]}" --run run --time 60 --yes
tried=$((tried + 1))
if [ -e run ] || [ -e "$SBATCH_LOG" ]; then bad "something was written or submitted: $(ls)"; fi

# written, shown, not submitted
expect 0 "nothing was submitted" "${base[@]}" --run run --time 1-0 --gpus-per-node 4 --partition fast --sbatch --mem=64G
first=run/slurm/submit-1.sbatch
sound "$first"
tried=$((tried + 1))
cmp "$first" out || bad "what is shown is not what was written"
has "$first" '#SBATCH --time=1-0'
has "$first" '#SBATCH --gpus-per-node=4'
has "$first" '#SBATCH --ntasks-per-node=4'
has "$first" '#SBATCH --signal=USR1@180'
has "$first" '#SBATCH --requeue'
has "$first" '#SBATCH --open-mode=append'
has "$first" '#SBATCH --partition="fast"'
has "$first" '#SBATCH --mem=64G'
has "$first" "#SBATCH --output=\"$work/run/slurm/%x-%j.log\""
has "$first" "config='$config'"
has "$first" "run='$work/run'"
hasnt "$first" '<-|--exclusive|account'
[ ! -e "$SBATCH_LOG" ] || bad "submitted without --yes"

# names that bash and sbatch would read otherwise
expect 0 "written to" "${base[@]}" --run '100% of it' --time 60 --set "run.engine_cache=it's"
odd='100% of it/slurm/submit-1.sbatch'
sound "$odd"
has "$odd" "run='$work/100% of it'"
has "$odd" "#SBATCH --output=\"$work/100%% of it/slurm/%x-%j.log\""
has "$odd" "settings=(--set 'data.cells=good.cells' --set 'run.engine_cache=it'\\''s')"

# nodes without GPUs: whole ones, or as many tasks as asked for
expect 0 "submit-2.sbatch" "${base[@]}" --run run --time 60 --nodes 2
has run/slurm/submit-2.sbatch '#SBATCH --exclusive'
has run/slurm/submit-2.sbatch '#SBATCH --nodes=2'
has run/slurm/submit-2.sbatch '#SBATCH --cpus-per-task=1' # run.threads of tiny.yaml
hasnt run/slurm/submit-2.sbatch 'gpus'
expect 0 "submit-3.sbatch" "${base[@]}" --run run --time 60 --tasks-per-node 3 --cpus-per-task 2 --lead 90 --stage ''
sound run/slurm/submit-3.sbatch
has run/slurm/submit-3.sbatch '#SBATCH --ntasks-per-node=3'
has run/slurm/submit-3.sbatch 'tasks=(--ntasks-per-node=3)'
has run/slurm/submit-3.sbatch '#SBATCH --cpus-per-task=2'
has run/slurm/submit-3.sbatch '#SBATCH --signal=USR1@90'
has run/slurm/submit-3.sbatch "stage=''"
hasnt run/slurm/submit-3.sbatch '^#SBATCH --exclusive'

# submitted: the script, and for an array the table after it
expect 0 "the log will be in $work/run/slurm" "${base[@]}" --run run --time 60 --yes
tried=$((tried + 1))
tail -n 1 out | grep -qx "Submitted batch job 101" || bad "sbatch's answer is not shown: $(tail -n 1 out)"
expect 0 "" "${base[@]}" --run run --time 60 --gpus-per-node 2 --array --yes --json
sound run/slurm/submit-5.sbatch
sound run/slurm/submit-5-report.sbatch
has run/slurm/submit-5.sbatch '#SBATCH --array=0-2'
has run/slurm/submit-5.sbatch 'settings+=(--fold "$SLURM_ARRAY_TASK_ID")'
has run/slurm/submit-5-report.sbatch "run='$work/run'"
tried=$((tried + 1))
diff - out <<END || bad "JSON"
{
  "script": "$work/run/slurm/submit-5.sbatch",
  "report_script": "$work/run/slurm/submit-5-report.sbatch",
  "submitted": true,
  "job": "102",
  "report_job": "103"
}
END
diff - "$SBATCH_LOG" <<END || bad "sbatch was called otherwise"
$work/run/slurm/submit-4.sbatch
$work/run/slurm/submit-5.sbatch
--dependency=afterok:102 $work/run/slurm/submit-5-report.sbatch
END
# a sweep: one job for all points, or a task for each
{ cat "$config"; printf 'sweep:\n  train.learning_rate: [1e-3, 3e-3]\n  train.epochs: [3, 4]\n'; } >sweep.yaml
sweep=(sweep.yaml --set data.cells=good.cells --run swept --time 60)
expect 0 "nothing was submitted" "${sweep[@]}"
hasnt swept/slurm/submit-1.sbatch "--point|--array"
expect 0 "nothing was submitted" "${sweep[@]}" --array
sound swept/slurm/submit-2.sbatch
has swept/slurm/submit-2.sbatch '#SBATCH --array=0-3'
has swept/slurm/submit-2.sbatch 'settings+=(--point "$SLURM_ARRAY_TASK_ID")'
expect 2 "point-001 .*train.micro_batch" "${sweep[@]}" --set 'sweep.train.batch=[32, 30]'
expect 2 "the sweep gives train.epochs its values" "${sweep[@]}" --set train.epochs=5
expect 2 "sbatch did not take it \(exit code 1\)" "${base[@]}" --run run --time 60 --partition refuse-me --yes
export PATH="$plain"

echo "$tried expectations, $failed failed"
[ "$failed" = 0 ]
