#!/bin/bash
# What bash offers, as it does when a user presses Tab. usage: completion.sh SCRIPT PROGRAM
set -uo pipefail
script="$(realpath "$1")" program="$(realpath "$2")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
touch marrow.cells folds.csv notes.txt demo.yaml
mkdir -p images runs/first results
touch runs/first/run.yaml results/deep.yaml w.safetensors
# shellcheck source=/dev/null
. "$script" || exit 1
faults=0

# bash cuts words at blanks, = and : before it calls the function.
offered() { # LINE: prints the replies, sorted, on one line
  local line="$1" rest
  COMP_LINE="$line" COMP_POINT=${#line} COMP_WORDS=()
  for rest in $line; do
    while [[ $rest == *[=:]* ]]; do
      [ -z "${rest%%[=:]*}" ] || COMP_WORDS+=("${rest%%[=:]*}")
      rest="${rest#"${rest%%[=:]*}"}"
      COMP_WORDS+=("${rest:0:1}")
      rest="${rest:1}"
    done
    [ -z "$rest" ] || COMP_WORDS+=("$rest")
  done
  [[ $line != *' ' ]] || COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  _cytofold
  printf '%s\n' "${COMPREPLY[@]}" | sort | paste -sd ' '
}

expect() { # LINE EXPECTED: the whole offer
  local found
  found="$(offered "$1")"
  [ "$found" = "$2" ] || { echo "'$1': expected '$2', found '$found'"; faults=$((faults + 1)); }
}
expect_among() { # LINE WORD...
  local line="$1" word found
  shift
  found=" $(offered "$line") "
  for word in "$@"; do
    [[ $found == *" $word "* ]] || { echo "'$line': expected '$word' in '$found'"; faults=$((faults + 1)); }
  done
}

# Every verb that the program lists, and every option that its help lists.
mapfile -t verbs < <("$program" --help | sed -nE 's/^  ([a-z]+) .*/\1/p')
[ "${#verbs[@]}" -ge 11 ] || { echo "only ${#verbs[@]} verbs in --help"; faults=$((faults + 1)); }
expect_among "cytofold " "${verbs[@]}"
for verb in "${verbs[@]}"; do
  mapfile -t options < <("$program" "$verb" --help | sed -nE 's/^  (-., )?(--[a-z-]+).*/\2/p')
  [ "${#options[@]}" -ge 2 ] || { echo "$verb: no options in --help"; faults=$((faults + 1)); }
  expect_among "cytofold $verb -" "${options[@]}"
done
expect "cytofold tr" "train"
expect "cytofold train de" "demo.yaml"
expect "cytofold train " "demo.yaml images results runs"
expect "cytofold train demo.yaml --ru" "--run"
expect "cytofold check " "images marrow.cells results runs"
expect_among "cytofold check marrow.cells --folds " folds.csv notes.txt
expect "cytofold report runs/" "runs/first"
expect "cytofold report " "images results runs"
expect_among "cytofold report runs/first --against " runs folds.csv
expect "cytofold synth -o r" "results runs"
expect "cytofold import w" "w.safetensors"
expect "cytofold import w.safetensors -o r" "results runs"
expect "cytofold explain runs/first images -o r" "results runs"
expect "cytofold train demo.yaml --set train.opt" "train.optimizer="
expect "cytofold train demo.yaml --set train.optimizer=" "adam adamw sgd"
expect "cytofold train demo.yaml --set train.optimizer=s" "sgd"
expect "cytofold train demo.yaml --set=train.optimizer=ad" "adam adamw"
expect "cytofold train demo.yaml --set train.nesterov=t" "true"
expect "cytofold train demo.yaml --set data.cells=m" "marrow.cells"
expect "cytofold train demo.yaml --run=ru" "runs"
expect "cytofold nonsense " ""
expect_among "cytofold pack images --scheme a" "auto"
expect "cytofold predict run1 images --device cu" "cuda"
expect "cytofold split marrow.cells --group " "patient site"
exit $((faults > 0))
