#!/bin/bash
# Fuzzes with libFuzzer, one target after the other.   run.sh SECONDS [TARGET]...
# Builds the preset "fuzz" (clang); inputs found stay in build/fuzz/corpus/TARGET, crashes in
# build/fuzz/findings. 1 s an input and 512 MB at most. Exit 1 where anything was found.
set -uo pipefail
export LC_ALL=C
seconds="${1:?run.sh SECONDS [TARGET]...}"
shift
cd "$(dirname "$0")/../.." || exit 1
build="${CYTOFOLD_FUZZ_BUILD:-build/fuzz}"
cmake --preset fuzz -B "$build" >/dev/null && cmake --build "$build" --target fuzzers >/dev/null || exit 1
[ $# -gt 0 ] || set -- $(sed -n 's/^cf_fuzz(\([a-z_]*\) .*/\1/p' tests/fuzz/CMakeLists.txt)

# What sanitizers keep of freed blocks is not the program's memory.
export ASAN_OPTIONS=quarantine_size_mb=16:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
found=0
for target in "$@"; do
  corpus="$build/corpus/$target"
  findings="$build/findings/$target"
  mkdir -p "$corpus" "$findings"
  "$build/tests/fuzz/fuzz_${target}_replay" --mutations 0 --write "$corpus" >/dev/null || exit 1
  [ -d "tests/fuzz/corpus/$target" ] && cp "tests/fuzz/corpus/$target"/* "$corpus"/
  log="$build/$target.log"
  "$build/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=1 -rss_limit_mb=512 -max_len=65536 \
    -artifact_prefix="$findings/" -print_final_stats=1 "$corpus" >"$log" 2>&1
  code=$?
  echo "$target: exit $code, $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions," \
    "$(sed -n 's/^stat::peak_rss_mb: *//p' "$log") MB at most"
  [ "$code" = 0 ] || { found=1; tail -n 25 "$log"; }
done
exit "$found"
