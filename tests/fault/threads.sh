#!/bin/bash
# Thread sanitizer, by hand: cmake --build BUILD --target threads, or   threads.sh SOURCE BUILD
# Builds the preset "tsan" into BUILD; the unit tests of what has threads (the store, whose test takes minutes here,
# works in the jobs), then two whole jobs (coordinator as a thread with two loader threads; two workers) and a sweep. One
# OpenMP thread a rank: GCC's OpenMP is not instrumented, so its barriers would be taken for races. MPI and its helpers
# are not instrumented either and are left out.
set -euo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
source_dir="$1" build="$2"
tests=(loader heart watch run_lock walltime roll pack synth)
cmake --preset tsan -S "$source_dir" -B "$build" >/dev/null
cmake --build "$build" --target cytofold "${tests[@]/#/test_}" >/dev/null

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
# The sanitizer's shadow wants its addresses: no randomised layout.
plain=(setarch "$(uname -m)" -R)
export TSAN_OPTIONS="ignore_noninstrumented_modules=1 exitcode=66 log_path=$work/report"
bad=0
check() { # NAME COMMAND...
  local name="$1" code=0
  shift
  "${plain[@]}" "$@" >"$work/out" 2>&1 || code=$?
  if [ "$code" = 0 ] && ! compgen -G "$work/report*" >/dev/null; then
    echo "$name: no reports"
    return
  fi
  bad=1
  echo "$name: exit $code"
  tail -n 20 "$work/out"
  cat "$work"/report* 2>/dev/null || true
  rm -f "$work"/report*
}
for test in "${tests[@]}"; do check "$test" "$build/tests/test_$test"; done

program="$build/launch/cytofold"
"${plain[@]}" "$program" synth -o "$work/phantoms" --images 126 --size 32 --scheme bm7 --seed 5 >/dev/null
"${plain[@]}" "$program" pack "$work/phantoms" --scheme bm7 -o "$work/cells.cells" >/dev/null
job=("$program" train "$source_dir/tests/mpi/tiny.yaml" --set "data.cells=$work/cells.cells" --set run.device=cpu)
check "job, coordinator as a thread" "${job[@]}" --run "$work/one" --workers 1 --set run.coordinator=thread \
  --set run.loader_threads=2
check "job, two workers" "${job[@]}" --run "$work/two" --workers 2
{ cat "$source_dir/tests/mpi/tiny.yaml"; printf 'sweep:\n  train.learning_rate: [1e-3, 2e-3, 3e-3]\n'; } >"$work/sweep.yaml"
check "sweep of three points in two lanes" "$program" train "$work/sweep.yaml" --set "data.cells=$work/cells.cells" \
  --set run.device=cpu --run "$work/sweep" --workers 2
exit "$bad"
