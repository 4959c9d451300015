#!/bin/bash
# From a bare Debian to a table of results: installs packages, builds, packs images, trains, reports.
# Needs no git, no locale, no sudo when run as root. The same command again resumes the run.
set -euo pipefail
export LC_ALL=C

usage() {
  cat <<'TEXT'
usage: launch/quickstart.sh [--data FOLDER] [--config FILE] [--workers N] [--run DIR]

Without --data: makes phantom cells (`cytofold synth`) and trains configs/demo.yaml on them.
  --data FOLDER   one folder a class of PNG or JPEG images; trains configs/bm7.yaml
  --config FILE   configuration to train instead
  --workers N     worker ranks beside the coordinator (default 2)
  --run DIR       run folder (default run-demo, or run-NAME for --data .../NAME)
TEXT
}

refuse() {
  echo "quickstart: $*" >&2
  exit 2
}

data="" config="" workers=2 run=""
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) usage; exit 0 ;;
    --data | --config | --workers | --run)
      [ $# -ge 2 ] && [ -n "$2" ] || refuse "$1 needs a value; see --help"
      declare "${1#--}=$2"
      shift 2
      ;;
    *) refuse "unknown argument '$1'; see --help" ;;
  esac
done
[[ "$workers" =~ ^[1-9][0-9]{0,4}$ ]] || refuse "--workers '$workers': expected a number from 1 to 99999"
if [ -n "$data" ]; then
  [ -d "$data" ] || refuse "--data '$data': no such folder"
  data="$(cd "$data" && pwd)"
  compgen -G "$data/*/" >/dev/null || refuse "--data '$data': expected one folder a class in it, found none"
fi
[ -z "$config" ] || [ -f "$config" ] || refuse "--config '$config': no such file"

source_dir="$(cd "$(dirname "$0")/.." && pwd)"
. "$source_dir/launch/packages.sh"
build="$source_dir/build/release"
say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }

# The scheme whose class codes cover the data's folder names; otherwise classes are named as the folders.
choose_scheme() {
  local folder
  for folder in "$data"/*/; do
    folder="${folder%/}"
    grep -qE "code: *\"?${folder##*/}\"?([ ,}]|\$)" "$source_dir/configs/schemes/bm7.yaml" || { echo auto; return; }
  done
  echo bm7
}

say "packages"
# shellcheck disable=SC2086
packages_install $packages_build

say "build"
# The GPU backend takes a minute to compile: only where there is a card.
cuda=OFF
if nvidia-smi -L >/dev/null 2>&1; then cuda=AUTO; fi
log="$build/quickstart.log"
mkdir -p "$build"
{ cmake -S "$source_dir" --preset release -DCYTOFOLD_CUDA="$cuda" && cmake --build "$build" -j "$(nproc)"; } >"$log" 2>&1 || {
  tail -n 30 "$log" >&2
  echo "quickstart: the build failed; all of its output is in $log" >&2
  exit 1
}
cytofold="$build/launch/cytofold"

if [ -z "$data" ]; then
  : "${config:=$source_dir/configs/demo.yaml}" "${run:=run-demo}"
  data="$run.images"
  if [ ! -d "$data" ]; then
    say "phantom cells"
    rm -rf "$data.part" # of an earlier run that was cut off
    "$cytofold" synth -o "$data.part"
    mv "$data.part" "$data"
  fi
else
  : "${config:=$source_dir/configs/bm7.yaml}" "${run:=run-$(basename "$data")}"
fi

if [ ! -f "$run.cells" ]; then
  scheme="$(choose_scheme)"
  say "pack ($data, scheme $scheme)"
  size="$(sed -n 's/^  pack_size: *\([1-9][0-9]*\).*/\1/p' "$config")"
  "$cytofold" pack "$data" --scheme "$scheme" -o "$run.cells" ${size:+--size "$size"}
fi

say "train ($config, $workers workers)"
"$cytofold" train "$config" --run "$run" \
  --set "data.cells=$(cd "$(dirname "$run")" && pwd)/$(basename "$run").cells" --set "run.workers=$workers"

say "done: $run/report.html, $run/table.md, $run/table.csv, $run/metrics.json"
