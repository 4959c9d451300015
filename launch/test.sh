#!/bin/bash
# Builds everything, runs every test, and ends with one line: N passed, N failed, N skipped.
# Arguments are passed to ctest (-R REGEX); with any, only the main build's tests run.
set -uo pipefail
export LC_ALL=C

source_dir="$(cd "$(dirname "$0")/.." && pwd)"
cd "$source_dir" || exit 1
. launch/packages.sh
say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }

# Open MPI refuses root and more ranks than cores unless told: containers and small machines are both.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
# What Open MPI takes where there is no InfiniBand; left to itself it looks for some for 0.2 s at each start.
export OMPI_MCA_pml=ob1
export CTEST_OUTPUT_ON_FAILURE=1
# Where there is a ccache: builds share what their options do not tell apart, here and in another checkout.
export CCACHE_BASEDIR="$source_dir" CCACHE_NOHASHDIR=1

say "packages"
# shellcheck disable=SC2086
packages_install $packages_build $packages_test || exit 1
mkdir -p build
stages=build/test-stages.txt # a line each: passed|failed|skipped, name, why
: >"$stages"
jobs="$(nproc)"

images="" # real images, where a checkout has them beside it
[ -d ../shared/data ] && images="$(cd ../shared/data && pwd)"

# stage NAME COMMAND...: runs quietly, notes the result, shows the end of the output of a failure.
stage() {
  local name="$1" log
  shift
  log="build/${name//[^a-z0-9]/-}.log"
  say "$name"
  if "$@" >"$log" 2>&1; then
    echo "passed $name" >>"$stages"
  else
    echo "failed $name see $log" >>"$stages"
    tail -n 40 "$log"
    return 1
  fi
}
skip() { echo "skipped $1 $2" >>"$stages"; }

targets=() # of build_preset; none: all
build_preset() { # PRESET [CMAKE ARGUMENTS...]
  local preset="$1"
  shift
  cmake --preset "$preset" -DCYTOFOLD_DATA="$images" "$@" &&
    cmake --build "build/$preset" -j "$jobs" ${targets[0]:+--target "${targets[@]}"}
}

# Into a folder of its own, then run from there, so that nothing is found in the source tree by chance.
check_install() {
  local prefix="$source_dir/build/install"
  rm -rf "$prefix"
  cmake --install build/test --prefix "$prefix" || return 1
  (cd / && "$prefix/bin/cytofold" --help && "$prefix/bin/cytofold" inspect \
    "$prefix/share/cytofold/configs/demo.yaml")
}

# Unit and operator tests, and kernels on the host shim, with address, leak and undefined-behaviour checks.
check_asan() {
  local targets=(units)
  build_preset asan || return 1
  ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
    ctest --test-dir build/asan -R '^(unit|ops|fuzz)/|^cuda/.*-shuffle$' -j "$jobs"
}

# The second oneDNN, as Python wheels; unpacked by Python's own zip reader.
fetch_onednn3() {
  local folder=build/wheels/onednn3
  [ -f "$folder/include/oneapi/dnnl/dnnl.h" ] && return 0
  python3 -m pip --version >/dev/null 2>&1 || return 1
  python3 -m pip download -q --no-deps --only-binary :all: -d "$folder" \
    onednn-devel-cpu-gomp onednn-cpu-gomp >/dev/null 2>&1 || return 1
  python3 tests/unpack_wheels.py "$folder" "$folder"/*.whl
}
check_onednn3() {
  local targets=(ops_nodes ops_sums ops_update ops_program ops_digest)
  build_preset onednn3 && ctest --test-dir build/onednn3 -R '^ops/' -j "$jobs"
}

# The GPU backend: compiled, linked, its tests built. Those with the label gpu are skipped without a card.
cuda_missing() { # prints what of nvcc, cuDNN and NCCL is not there
  cmake --preset cuda >build/cuda-find.log 2>&1
  sed -nE 's/^-- CUDA: (.*(not found|too old|compiles nothing)).*/\1/p' build/cuda-find.log | paste -sd,
}
# NVIDIA's disassembler, for lint/cuda_objects, where the toolkit came without it.
fetch_cuobjdump() {
  local folder=build/wheels/cuda-tools wheel
  if command -v cuobjdump >/dev/null || [ -x "$folder/nvidia/cu13/bin/cuobjdump" ]; then return 0; fi
  python3 -m pip download -q --no-deps --only-binary :all: -d "$folder" \
    nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm >/dev/null 2>&1 || return 1
  for wheel in "$folder"/*.whl; do python3 -m zipfile -e "$wheel" "$folder" || return 1; done
  chmod +x "$folder"/nvidia/cu13/bin/*
}
check_cuda() {
  local targets=(gpu_check) # all that its tests run; the others have been built without it
  fetch_cuobjdump || echo "cuobjdump cannot be had here: lint/cuda_objects is skipped"
  build_preset cuda || return 1
  # Without a driver the program starts, and says what is missing where a GPU is asked for.
  build/cuda/launch/cytofold inspect configs/demo.yaml || return 1
  rm -f build/cuda/results.xml
  # A failure is counted by its own name.
  ctest --test-dir build/cuda -L '^(gpu|cuda)$' "${junit[@]}" --no-tests=error --timeout 600 ||
    [ -f build/cuda/results.xml ]
}

stage "build: gcc" build_preset test || { echo "0 passed, 1 failed, 0 skipped"; exit 1; }
say "tests"
rm -f build/test/results.xml
results=(build/test/results.xml)
junit=(--output-junit results.xml --test-output-size-passed 16777216 --test-output-size-failed 16777216)
# One more than cores: tests of whole jobs wait for half of their time.
ctest --test-dir build/test -j $((jobs + 1)) "${junit[@]}" --no-tests=error --timeout 600 "$@" | grep -vE '^ *(Start|Test project)'

if [ $# -eq 0 ]; then
  stage "install: run from the prefix" check_install
  if command -v clang >/dev/null; then
    stage "build: clang" build_preset clang -DCYTOFOLD_TESTS=OFF
  else
    skip "build: clang" "clang is not installed"
  fi
  stage "sanitizers: unit and operator tests" check_asan
  missing="$(cuda_missing)"
  if [ -z "$missing" ]; then
    stage "cuda: compiles and links" check_cuda && results+=(build/cuda/results.xml)
  else
    skip "cuda: compiles and links" "$missing"
  fi
  if fetch_onednn3; then
    stage "onednn 3: build and operator tests" check_onednn3
  else
    skip "onednn 3: build and operator tests" "the wheels cannot be had here"
  fi
fi
[ -z "$images" ] && say "no real images beside this folder: tests that need them are skipped"

say "done"
exec python3 tests/count.py "${results[@]}" "$stages"
