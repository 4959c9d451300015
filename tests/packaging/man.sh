#!/bin/bash
# The manual pages: one for each verb that the program lists, each without a word from mandoc, each naming
# every option of its verb. Exit 77 without mandoc. usage: man.sh FOLDER PROGRAM
set -uo pipefail
folder="$1" program="$2" faults=0
command -v mandoc >/dev/null || { echo "mandoc is not installed"; exit 77; }
fault() { echo "$*"; faults=$((faults + 1)); }

mapfile -t verbs < <("$program" --help | sed -nE 's/^  ([a-z]+) .*/\1/p')
[ "${#verbs[@]}" -ge 11 ] || fault "only ${#verbs[@]} verbs in --help"
pages=("$folder"/man1/cytofold.1 "$folder"/man5/cytofold.yaml.5)
for verb in "${verbs[@]}"; do pages+=("$folder/man1/cytofold-$verb.1"); done
for page in "${pages[@]}"; do
  [ -s "$page" ] || { fault "$page: missing or empty"; continue; }
  said="$(mandoc -Tlint -Wwarning "$page" 2>&1)"
  [ -z "$said" ] || fault "$said"
done
[ "$(find "$folder" -type f | wc -l)" -eq "${#pages[@]}" ] || fault "$folder: other pages than those of the verbs"

for verb in "${verbs[@]}"; do
  text="$(mandoc -Tutf8 -O width=200 "$folder/man1/cytofold-$verb.1" | sed 's/.\x08//g')"
  mapfile -t options < <("$program" "$verb" --help | sed -nE 's/^  (-., )?(--[a-z-]+).*/\2/p')
  for option in "${options[@]}"; do
    grep -qE "^ +(-., )?$option( |\$)" <<<"$text" || fault "cytofold-$verb.1 does not list $option"
  done
  [ "$("$program" "$verb" --man)" = "$(cat "$folder/man1/cytofold-$verb.1")" ] || fault "cytofold-$verb.1 is out of date"
done
text="$(mandoc -Tutf8 -O width=200 "$folder/man5/cytofold.yaml.5" | sed 's/.\x08//g')"
mapfile -t keys < <("$program" inspect --reference | sed -nE 's/^\| `([a-z_.]+)` .*/\1/p')
[ "${#keys[@]}" -ge 70 ] || fault "only ${#keys[@]} keys in the reference"
for key in "${keys[@]}"; do grep -qF "     $key (" <<<"$text" || fault "cytofold.yaml.5 does not list $key"; done
text="$(mandoc -Tutf8 "$folder/man1/cytofold.1" | sed 's/.\x08//g')"
for word in "85 *checkpointed, please requeue" "9 *run folder in use" CYTOFOLD_MPIRUN; do
  grep -q "^ *$word" <<<"$text" || fault "cytofold.1: no '$word'"
done
echo "${#pages[@]} pages, ${#keys[@]} keys"
exit $((faults > 0))
