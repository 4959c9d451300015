#!/bin/bash
# Time and peak memory of packing, splitting, planning and sampling at many images, and how they grow.
# All pictures are phantoms (synthetic), as frequent as the classes of the marrow set, of three sites and
# 945 patients. Prints Markdown.
#   scale.sh PROGRAM SAMPLE_EPOCH WORK index N...    an index only: cells of 8 px cut out of a few fields
#   scale.sh PROGRAM SAMPLE_EPOCH WORK pixels N...   decoded pictures of 250 x 250: 188 KB on disk each
# SAMPLE_EPOCH is built by the target of that name. WORK is a folder with room; pictures drawn there stay,
# files that are measured go. SCALE_KEEP=1 keeps the cells files too, SCALE_PATIENTS=N are other than 945.
set -euo pipefail
export LC_ALL=C
program="$(realpath "$1")" sample="$(realpath "$2")" work="$3" kind="$4"
shift 4
configs="$(cd "$(dirname "$0")/../../configs" && pwd)"
scheme="$configs/schemes/matek2021.yaml"
mkdir -p "$work"
cd "$work"

# timed NAME COMMAND...: the command's output in NAME.out; prints "seconds (user+system) / MiB" of it.
timed() {
  local name="$1"
  shift
  /usr/bin/time -f '%e %U %S %M' -o "$name.time" "$@" >"$name.out" 2>"$name.err" ||
    { cat "$name.err" >&2; exit 1; }
  awk '{ printf "%.1f s (%.1f s of processor), %.0f MiB", $1, $2 + $3, $4 / 1024 }' <"$name.time"
}

# manifest N: rows of cells in 160 x 160 positions of each of as many fields as it takes.
manifest() {
  local n="$1" fields=$((($1 + 25599) / 25600))
  [ -d fields ] || "$program" synth -o fields --images 42 --scheme matek2021 --size 160 >/dev/null
  find fields -name '*.png' | sort | head -n "$fields" >field.list
  [ "$(wc -l <field.list)" = "$fields" ] || { echo "$n cells need $fields fields" >&2; exit 1; }
  awk -v n="$n" -v patients="${SCALE_PATIENTS:-945}" '
    FILENAME == "field.list" { field[nf++] = $0; next }
    /^  - code:/ { code[nc + 0] = $3 }
    /^      images:/ { end[nc + 0] = (total += $2); nc++ }
    END {
      print "path,label,site,patient,um_per_px,x,y"
      for (i = 0; i < n; i++) {
        # by multiples of a prime, so that neighbours in a field are of different classes; five of
        # each first, for five folds
        at = (i * 7919) % total
        if (i < 5 * nc) c = i % nc
        else for (c = 0; at >= end[c]; c++) continue
        p = (i * 31) % patients
        k = i % 25600
        printf "%s,%s,site %d,P%04d,0.0864,%d,%d\n", field[int(i / 25600)], code[c], p % 3, p,
          k % 160, int(k / 160)
      }
    }' field.list "$scheme" >"index-$n.csv"
}

# The index's own work: everything but pixels.
index_row() {
  local n="$1" cells="index-$1.cells" pack bytes patients images plan
  manifest "$n"
  pack="$(timed pack "$program" pack "index-$n.csv" --scheme matek2021 --patch 8 --no-stain -o "$cells")"
  bytes="$(stat -c %s "$cells")"
  patients="$(timed split "$program" split "$cells" --group patient -o folds.csv)"
  images="$(timed split "$program" split "$cells" -o folds.csv)"
  plan="$(timed plan "$program" plan "$configs/matek2021.yaml" --workers 8 --set "data.cells=$cells")"
  "$sample" "$cells" >sample.out
  echo "| $n | $pack | $((bytes / 1000000)) MB | $patients | $images | $plan | $(cat sample.out) |"
}

# Drawing and packing pictures.
pixels_row() {
  local n="$1" cells="pixels-$1.cells" source="phantoms-$1/manifest.csv" synth="drawn before" pack stain encoded
  if [ ! -d "phantoms-$n" ]; then
    synth="$(timed synth "$program" synth -o "phantoms-$n" --images "$n" --scheme matek2021 --published \
      --sites 3 --patients 945 --size 250 --jpeg)"
  fi
  encoded="$(timed pack "$program" pack "$source" --scheme matek2021 --no-stain --keep-encoded -o "$cells")"
  encoded="$encoded, $(($(stat -c %s "$cells") / 1000000)) MB"
  stain="$(timed pack "$program" pack "$source" --scheme matek2021 --keep-encoded -o "$cells")"
  pack="$(timed pack "$program" pack "$source" --scheme matek2021 --no-stain -o "$cells")"
  pack="$pack, $(($(stat -c %s "$cells") / 1000000)) MB"
  echo "| $n | $synth | $pack | $encoded | $stain |"
}

if [ "$kind" = index ]; then
  echo "| images | pack | cells file | split, 5 folds of patients | split by image | plan | reading and sampling |"
  echo "| ---: | --- | ---: | --- | --- | --- | --- |"
else
  echo "| images | synth | pack, no stains | pack, no stains, --keep-encoded | pack, stains, --keep-encoded |"
  echo "| ---: | --- | --- | --- | --- |"
fi
for n in "$@"; do
  "${kind}_row" "$n"
  [ "${SCALE_KEEP:-0}" = 1 ] || rm -f "$kind-$n.cells"
done
