#!/bin/bash
# What zsh offers: an interactive zsh in a pseudo-terminal of its own, with Tab pressed. Exit 77 without zsh.
# usage: completion_zsh.sh FOLDER_OF_SCRIPT
set -uo pipefail
command -v zsh >/dev/null || { echo "zsh is not installed"; exit 77; }
folder="$(realpath "$1")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
touch marrow.cells notes.txt demo.yaml
mkdir -p runs/first
faults=0

# The list that zsh would show is caught where it is added: by a compadd of our own.
offered() { # LINE
  timeout 60 zsh -f -c '
    zmodload zsh/zpty
    zpty asked zsh -f -i
    zpty -w asked "PROMPT=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -d $2/dump"
    zpty -w asked "compadd() {
      if [[ \${@[(r)-O]} == -O || \${@[(r)-A]} == -A || \${@[(r)-D]} == -D ]]; then builtin compadd \"\$@\"; return; fi
      local -a found; builtin compadd -O found \"\$@\"; print -rl -- \$found >>$2/offered; builtin compadd \"\$@\" }"
    zpty -w asked "ended() { print DON\E }; zle -N ended; bindkey \"^X\" ended"
    zpty -w asked "zstyle \":completion:*\" list-prompt \"\"; LISTMAX=10000; bindkey \"^I\" complete-word; : >$2/offered; print READ\Y"
    while zpty -r asked line; do [[ $line != *READY* ]] || break; done
    zpty -n -w asked "$3"$'"'\t'"'
    zpty -n -w asked $'"'\x18'"' # a key bound to `ended`: the terminal itself takes some of the others
    while zpty -r asked line; do [[ $line != *DONE* ]] || break; done
    zpty -d asked' zsh "$folder" "$work" "$1"
  sort -u "$work/offered" | paste -sd ' '
}

expect_among() { # LINE WORD...
  local line="$1" word found
  shift
  found=" $(offered "$line") "
  for word in "$@"; do
    [[ $found == *" $word "* ]] || { echo "'$line': expected '$word' in '$found'"; faults=$((faults + 1)); }
  done
}

expect_among "cytofold " pack train inspect
expect_among "cytofold train " demo.yaml
expect_among "cytofold train --" --run --set --workers --help
expect_among "cytofold train demo.yaml --set train.optimizer=" sgd adam adamw
expect_among "cytofold train demo.yaml --set train.opt" train.optimizer
expect_among "cytofold report " runs
expect_among "cytofold check " marrow.cells
exit $((faults > 0))
