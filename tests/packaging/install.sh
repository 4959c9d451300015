#!/bin/bash
# An installed program: everything in its place, moved to another folder, it still trains with what came
# along. Where source and build folder can be hidden (a mount namespace), they are. usage: install.sh BUILD SOURCE
set -euo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
build="$1" source_dir="$2"
fail() { echo "FAILED: $*" >&2; exit 1; }

if [ "${3:-}" != hidden ]; then
  # What is baked into the program must not be found by chance.
  if unshare -m true 2>/dev/null; then exec unshare -m "$0" "$build" "$source_dir" hidden; fi
  echo "-- no mount namespace: source and build folder stay in sight"
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# A package's way: into a staging folder, with another prefix than it was configured with.
DESTDIR="$work/staging" cmake --install "$build" --prefix /opt/cytofold >"$work/install.log" || fail "$(cat "$work/install.log")"
[ "$(cd "$work/staging" && find . -type f ! -path './opt/cytofold/*')" = "" ] || fail "something was installed beside the prefix"
mv "$work/staging/opt/cytofold" "$work/prefix"
cd "$work/prefix"
for file in bin/cytofold share/man/man1/cytofold.1 share/man/man1/cytofold-train.1 share/man/man5/cytofold.yaml.5 \
  share/bash-completion/completions/cytofold share/zsh/site-functions/_cytofold share/cytofold/configs/demo.yaml \
  share/cytofold/configs/schemes/bm7.yaml share/doc/cytofold/LICENSE share/doc/cytofold/README.md \
  share/cytofold/modulefiles/cytofold.lua share/cytofold/modulefiles/cytofold.tcl; do
  [ -s "$file" ] || fail "$file is missing"
done
[ "$(find bin -type f | wc -l)" = 1 ] || fail "bin holds more than the program: $(ls bin)"
! find . -name '*.a' | grep -q . || fail "libraries of the build were installed"

mkdir "$work/elsewhere"
cd "$work/elsewhere"
if [ "${3:-}" = hidden ]; then
  for folder in "$build" "$source_dir"; do
    mount -t tmpfs tmpfs "$folder" 2>/dev/null || echo "-- $folder stays in sight"
  done
fi
export PATH="$work/prefix/bin:$PATH"
unset CYTOFOLD_SHARE
cytofold --version
cytofold synth -o images --images 70 --size 32 --scheme bm7 >/dev/null
cytofold pack images --scheme bm7 -o x.cells >/dev/null
cytofold inspect "$work/prefix/share/cytofold/configs/matek2021.yaml" >/dev/null
cytofold train "$work/prefix/share/cytofold/configs/demo.yaml" --run run --workers 1 --set data.cells=x.cells \
  --set data.folds=2 --set train.epochs=1 --set train.warmup_epochs=0 --set model.image_size=32 --set run.device=cpu \
  --set run.threads=1 >table.txt 2>log.txt || fail "$(cat log.txt)"
[ -s run/table.md ] && [ -s run/fold-1/predictions.csv ] || fail "no table"
cytofold score run/fold-0/predictions.csv --scheme bm7 >/dev/null
echo "-- installed, moved, trained"
