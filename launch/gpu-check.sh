#!/bin/bash
# Everything that needs a GPU, in one go: builds, tests, sanitizer, training, timing beside PyTorch. Writes
# gpu-check-DEVICE.json and .md. Each step has its own time limit, and a failure does not hide the others.
set -uo pipefail
export LC_ALL=C

usage() {
  cat <<'TEXT'
usage: launch/gpu-check.sh [OPTIONS]

  --data PATH        real cells: a cells file, or one folder a class; trains configs/bm7-gpu.yaml on them
  --out DIR          where the JSON and Markdown files go (default tests/bench/results)
  --work DIR         build and runs (default build/gpu-check); a second call there goes on with the training
  --steps A,B        only these: build,tests,sanitizer,parity,bits,demo,bench,phases,
                     matek,train
  --batch N          batch of the comparison with PyTorch (default 256)
  --train-limit S    seconds for the training on real cells (default 150)
  --python PROGRAM   Python with torch and torchvision (default python3)
  --patience N       every time limit N times as long (default 1)
  --rehearse         no card: every step that works without one, on the CPU; marked device "none"
  --prefix DIR       use the packages in DIR (see --make-prefix) for MPI, oneDNN and others
  --make-prefix DIR  download them into DIR and stop

Exit code: 0 all passed, 1 something failed, 2 usage, 77 no card (after a rehearsal that passed).
TEXT
}
refuse() { echo "gpu-check: $*" >&2; exit 2; }

source_dir="$(cd "$(dirname "$0")/.." && pwd)"
. "$source_dir/launch/prefix.sh"
data="" out="$source_dir/tests/bench/results" work="$source_dir/build/gpu-check" steps="" batch=256
train_limit=150 python=python3 rehearse=no prefix="" patience=1
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) usage; exit 0 ;;
    --rehearse) rehearse=yes; shift; continue ;;
  esac
  [ $# -ge 2 ] && [ -n "$2" ] || refuse "$1: unknown, or needs a value; see --help"
  case "$1" in
    --data) data="$(realpath -e "$2")" || refuse "--data '$2': no such file or folder" ;;
    --out) mkdir -p "$2" && out="$(realpath "$2")" || refuse "--out '$2': cannot be made" ;;
    --work) mkdir -p "$2" && work="$(realpath "$2")" || refuse "--work '$2': cannot be made" ;;
    --steps) steps=",$2," ;;
    --batch) batch="$2" ;;
    --train-limit) train_limit="$2" ;;
    --patience) patience="$2" ;;
    --python) python="$2" ;;
    --prefix) prefix="$2" ;;
    --make-prefix) prefix_make "$2"; exit ;;
    *) refuse "unknown argument '$1'; see --help" ;;
  esac
  shift 2
done
[[ "$batch$train_limit$patience" =~ ^[0-9]+$ ]] || refuse "--batch, --train-limit and --patience are numbers"
if [ -n "$prefix" ]; then prefix_use "$prefix" || exit 2; fi

device=cuda no_card=no
if ! nvidia-smi -L >/dev/null 2>&1; then
  no_card=yes
  [ "$rehearse" = yes ] || echo "gpu-check: no GPU on this machine: rehearsing what can be done without"
  rehearse=yes
fi
[ "$rehearse" = no ] || device=cpu
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
build="$work/build" cytofold="$work/build/launch/cytofold" results="$work/results"
rm -rf "$results"
mkdir -p "$results" "$out" || exit 2
cd "$work" || exit 2

# ---- steps ------------------------------------------------------------------------------------------------

# step NAME LIMIT FUNCTION: runs it in a shell of its own, at most LIMIT seconds; notes result and duration.
# A function that returns 77 is skipped; the last line that it prints says why.
step() {
  local name="$1" limit=$(($2 * patience)) log="$results/$1.log" began=$SECONDS code=0 result=passed
  [ -z "$steps" ] || [[ "$steps" == *",$name,"* ]] || return 0
  printf '[%4d s] %s\n' "$SECONDS" "$name"
  timeout --kill-after=10 "$limit" bash -c "$3" >"$log" 2>&1 || code=$?
  case "$code" in
    0) ;;
    77) result=skipped ;;
    124 | 137) result=failed; echo "over the limit of $limit s" >>"$log" ;;
    *) result=failed ;;
  esac
  [ "$result" = passed ] || printf '         %s: %s\n' "$result" "$(tail -n 1 "$log")"
  [ "$result" = failed ] && tail -n 15 "$log"
  printf '%s\t%s\t%d\t%s\n' "$name" "$result" $((SECONDS - began)) "$(tail -n 1 "$log" | tr '\t' ' ')" \
    >>"$results/steps.tsv"
}

build_all() {
  local architectures=90-real
  [ "$device" = cpu ] || architectures="$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 |
    tr -d '.')-real"
  cmake -S "$source_dir" --preset cuda -B "$build" -DCYTOFOLD_CUDA_ARCHITECTURES="$architectures" || return 1
  cmake --build "$build" -j "$(nproc)" --target gpu_check || return 1
  "$cytofold" --help | head -n 1
}

run_tests() {
  rm -f "$build/results.xml"
  ctest --test-dir "$build" -L '^(gpu|cuda)$' --output-junit results.xml --no-tests=error --timeout 120 \
    --test-output-size-passed 1048576 --test-output-size-failed 1048576
  : >stages
  "$python" "$source_dir/tests/count.py" "$build/results.xml" stages | tee "$results/tests.txt"
  return "${PIPESTATUS[0]}"
}

# The kernels' and operators' tests under compute-sanitizer: stray accesses, then races in shared memory.
sanitize() {
  local sanitizer tool program failed=0
  [ "$device" = cuda ] || { echo "no GPU"; return 77; }
  sanitizer="$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)"
  [ -n "$sanitizer" ] || { echo "compute-sanitizer is not installed"; return 77; }
  export CYTOFOLD_TEST_DEVICE=cuda
  for tool in memcheck racecheck; do
    for program in "$build"/tests/gpu/gpu_* "$build/tests/ops/ops_nodes" "$build/tests/ops/ops_sums"; do
      case "$program" in *gpu_probe | *.* | *gpu_check) continue ;; esac
      echo "-- $tool ${program##*/}"
      timeout 25 "$sanitizer" --tool "$tool" --error-exitcode 99 "$program" >sanitizer.log 2>&1
      case "$?" in
        0) echo "clean" ;;
        124) echo "not through after 25 s: no finding until then" ;;
        *) tail -n 20 sanitizer.log; failed=1 ;;
      esac
    done
  done
  [ "$failed" = 0 ] && echo "no findings"
  return "$failed"
}

# Logits, loss, every gradient, an update: one step in fp32 beside PyTorch in double precision.
check_parity() {
  local size=250
  [ "$device" = cuda ] || size=64
  "$python" "$source_dir/tests/parity/torch_resnext.py" "$build/tests/parity/dump_step" --device "$device" \
    --size "$size"
}

demo_cells() {
  [ -f demo.cells ] && return 0
  rm -rf demo.images
  "$cytofold" synth -o demo.images && "$cytofold" pack demo.images --scheme bm7 -o demo.cells
}
train_demo() { # RUN WORKERS [OPTIONS...]
  local run="$1" workers="$2"
  shift 2
  rm -rf "$run"
  "$cytofold" train "$source_dir/configs/demo.yaml" --run "$run" --workers "$workers" --set run.device="$device" \
    --set run.engine_cache="$work/engines-demo.txt" --set data.cells="$work/demo.cells" "$@" || return 1
  (cd "$run" && sha256sum fold-*/predictions.csv fold-*/metrics.json metrics.json table.csv &&
    for fold in fold-*; do sha256sum "$(ls "$fold"/checkpoint-*.ckpt | sort -V | tail -n 1)"; done) >"$run.sums"
}

# The same job twice, and on one, two and three ranks of one card: the same bytes?
check_bits() {
  local run failed=0 short=(--set train.epochs=2 --set train.warmup_epochs=0)
  demo_cells && train_demo bits-1 1 "${short[@]}" && train_demo bits-again 1 "${short[@]}" &&
    train_demo bits-2 2 "${short[@]}" && train_demo bits-3 3 "${short[@]}" || return 1
  for run in again 2 3; do diff bits-1.sums "bits-$run.sums" || failed=1; done
  printf '{"files": %d, "sha256": "%s", "same": %s}\n' "$(wc -l <bits-1.sums)" \
    "$(sha256sum <bits-1.sums | cut -c1-64)" "$([ "$failed" = 0 ] && echo true || echo false)" >"$results/bits.json"
  cat "$results/bits.json"
  return "$failed"
}

check_demo() {
  local began=$SECONDS
  demo_cells && train_demo demo 1 || return 1
  cp demo/metrics.json "$results/demo.json"
  echo "trained in $((SECONDS - began)) s"
}

compare_step() {
  local size=(--batch "$batch")
  [ "$device" = cuda ] || size=(--batch 2 --size 64 --pairs 2 --steps 1 --warm-up 1)
  "$python" "$source_dir/tests/bench/train_step_gpu.py" "$cytofold" --device "$device" --engines engines.txt \
    --out "$results/bench.json" "${size[@]}" && echo "measured"
}

# bench_json NAME OPTIONS...: `cytofold bench` into NAME.json.
bench_json() {
  local name="$1"
  shift
  "$cytofold" bench --device "$device" --json "$@" >"$results/$name.json" || return 1
  cat "$results/$name.json"
}
time_phases() {
  local options=(--batch "$batch" --runs 3 --steps 5 --engines engines.txt)
  [ "$device" = cuda ] || options=(--batch 2 --runs 2 --steps 1 --set model.image_size=64)
  bench_json phases --phases "${options[@]}" && echo "measured"
}
time_matek() {
  local config="$source_dir/configs/matek2021.yaml" short=(--runs 5 --steps 20 --engines engines.txt)
  [ "$device" = cuda ] || short=(--runs 2 --steps 1 --set model.image_size=64)
  local micro=32
  [ "$device" = cuda ] || micro=2
  bench_json matek --config "$config" --batch "$micro" "${short[@]}" && echo "measured"
}

# Five folds of the paper's network on real cells. A training that is cut off goes on at the next call.
train_real() {
  local cells="$data" began=$SECONDS
  [ -n "$data" ] || { echo "no --data"; return 77; }
  [ "$device" = cuda ] || { echo "no GPU"; return 77; }
  if [ -d "$data" ]; then
    cells="$work/real.cells"
    [ -f "$cells" ] || "$cytofold" pack "$data" --scheme bm7 -o "$cells" || return 1
  fi
  "$cytofold" train "$source_dir/configs/bm7-gpu.yaml" --run real --workers 1 --set run.device=cuda \
    --set data.cells="$cells" || return 1
  cp real/metrics.json "$results/real.json"
  cp real/table.md "$results/real-table.md"
  echo "trained in $((SECONDS - began)) s (this call)"
}

for name in source_dir work build cytofold results device python batch data; do export "${name?}"; done
export -f build_all run_tests sanitize check_parity demo_cells train_demo check_bits check_demo compare_step bench_json \
  time_phases time_matek train_real
step build 240 build_all
[ -x "$cytofold" ] || { echo "gpu-check: there is no program to go on with" >&2; exit 1; }
step tests 150 run_tests
step sanitizer 80 sanitize
step parity 90 check_parity
step bits 90 check_bits
step demo 60 check_demo
step bench 240 compare_step
step phases 60 time_phases
step matek 60 time_matek
step train "$train_limit" train_real

"$python" "$source_dir/tests/bench/gpu_report.py" --results "$results" --build "$build" --out "$out" \
  --device "$([ "$device" = cuda ] && echo cuda || echo none)" || exit 1
printf '[%4d s] done\n' "$SECONDS"
! grep -q $'\tfailed\t' "$results/steps.tsv" || exit 1
[ "$no_card" = no ] || exit 77
