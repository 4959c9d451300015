# Completion of cytofold's command line for bash 4.2 or newer. The table below is made by
# `cytofold --completion` when the program is built; launch/completion.h says what stands in it.
@TABLE@
# words: those of the line up to the cursor, with those joined again that bash cut at = and :
_cytofold_words() {
  local i word line="${COMP_LINE:0:COMP_POINT}" last=-1
  words=()
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    if ((last >= 0)) && [[ $word == [=:]* || ${words[last]} == *[=:] ]] &&
      ! [[ $i == "$COMP_CWORD" && -z $word && $line == *' ' ]]; then
      words[last]+="$word"
    else
      words+=("$word")
      last=$((last + 1))
    fi
  done
}

# Fills in from the table: verbs, keys; options, operands and kinds (of options) of verb $1.
_cytofold_read() {
  local what name kind verb='' part
  while IFS=$'\t' read -r what name kind _; do
    case "$what" in
      verb) verb="$name" verbs+=("$name") ;;
      key) keys+=("$name") kinds["$name"]="$kind" ;;
      operand) [[ $verb != "$1" ]] || operands+=("$kind") ;;
      option | many)
        [[ $verb == "$1" ]] || continue
        for part in ${name//,/ }; do options+=("$part") kinds["$part"]="$kind"; done
        ;;
    esac
  done <<<"$_cytofold_table"
}

# Files of one of the endings $2, and folders on the way to them.
_cytofold_files() {
  local file
  compopt -o filenames 2>/dev/null
  while IFS= read -r file; do
    # shellcheck disable=SC2053 # a pattern
    [[ ! -d $file && $file != $2 ]] || COMPREPLY+=("$file")
  done < <(compgen -f -- "$1")
}

# Run folders; all folders where none begins so.
_cytofold_runs() {
  local folder
  local -a folders=()
  compopt -o filenames 2>/dev/null
  while IFS= read -r folder; do
    folders+=("$folder")
    [[ ! -f $folder/run.yaml ]] || COMPREPLY+=("$folder")
  done < <(compgen -d -- "$1")
  ((${#COMPREPLY[@]})) || COMPREPLY=("${folders[@]}")
}

_cytofold_schemes() {
  local file program names='auto'
  program="$(type -P cytofold)"
  for file in "${program%/bin/*}"/share/cytofold/configs/schemes/*.yaml; do
    file="${file##*/}"
    [[ $file == '*.yaml' ]] || names+=" ${file%.yaml}"
  done
  _cytofold_files "$1" '*.yaml'
  _cytofold_reply "$names" "$1"
}

_cytofold_reply() { # WORDS BEGINNING
  local word
  while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -W "$1" -- "$2")
}

_cytofold_values() { # KIND BEGINNING
  case "$1" in
    yaml) _cytofold_files "$2" '*.y?(a)ml' ;;
    cells) _cytofold_files "$2" '*.cells' ;;
    csv) _cytofold_files "$2" '*.csv' ;;
    file) _cytofold_files "$2" '*' ;;
    folder) _cytofold_files "$2" '*/' ;;
    run) _cytofold_runs "$2" ;;
    scheme) _cytofold_schemes "$2" ;;
    words:*) _cytofold_reply "${1#words:}" "$2" ;;
    set)
      if [[ $2 == *=* ]]; then
        _cytofold_values "${kinds[${2%%=*}]-none}" "${2#*=}"
      else
        compopt -o nospace 2>/dev/null
        _cytofold_reply "${keys[*]/%/=}" "$2"
      fi
      ;;
  esac
}

# kind: of the operand that comes behind those already there.
_cytofold_operand() {
  local i n=0 word
  for ((i = 1; i < ${#words[@]} - 1; i++)); do
    word="${words[i]}"
    if [[ $word != -?* ]]; then
      n=$((n + 1))
    elif [[ $word != --*=* && ${kinds[$word]-flag} != flag ]]; then
      i=$((i + 1))
    fi
  done
  ((n < ${#operands[@]})) || n=$((${#operands[@]} - 1))
  kind=none
  ((n < 0)) || kind="${operands[n]}"
}

_cytofold() {
  local kind=flag current previous='' cut
  local -a words=() verbs=() keys=() options=() operands=()
  local -A kinds=()
  COMPREPLY=()
  _cytofold_words
  _cytofold_read "${words[0]}"
  current="${words[${#words[@]} - 1]}"
  if ((${#words[@]} == 1)); then
    _cytofold_reply "${verbs[*]} --help --version --man" "$current"
    return
  fi
  if [[ ${words[0]} == --man ]]; then
    _cytofold_reply "${verbs[*]} cytofold cytofold.yaml" "$current"
    return
  fi
  ((${#words[@]} < 3)) || previous="${words[${#words[@]} - 2]}"
  [[ $previous != -?* ]] || kind="${kinds[$previous]-flag}"
  cut="${current%"${current##*[=:]}"}"
  if [[ $kind != flag ]]; then
    _cytofold_values "$kind" "$current"
  elif [[ $current == --*=* ]]; then
    _cytofold_values "${kinds[${current%%=*}]-none}" "${current#*=}"
  elif [[ $current == -* ]]; then
    _cytofold_reply "${options[*]}" "$current"
  else
    _cytofold_operand
    _cytofold_values "$kind" "$current"
  fi
  # bash puts a reply in the place of what stands behind the last = or :
  COMPREPLY=("${COMPREPLY[@]#"$cut"}")
}
complete -F _cytofold cytofold
