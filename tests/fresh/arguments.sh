#!/bin/bash
# quickstart.sh refuses bad arguments with one message that names them and exit code 2, before it installs
# or builds anything. usage: arguments.sh QUICKSTART
set -uo pipefail
quickstart="$1"
empty="$(mktemp -d)"
trap 'rmdir "$empty"' EXIT
faults=0

expect() { # CODE PATTERN ARGUMENT...
  local code="$1" pattern="$2" text found lines
  shift 2
  text="$("$quickstart" "$@" 2>&1)"
  found=$?
  lines="$(wc -l <<<"$text")"
  if [ "$found" -ne "$code" ] || ! grep -qF -- "$pattern" <<<"$text" || { [ "$code" -ne 0 ] && [ "$lines" -ne 1 ]; }; then
    echo "quickstart.sh $*: expected exit $code and one line with '$pattern', found exit $found: $text"
    faults=$((faults + 1))
  fi
}

expect 2 "--data '/no/such/folder': no such folder" --data /no/such/folder
expect 2 "one folder a class" --data "$empty"
expect 2 "--data needs a value" --data
expect 2 "--config '/no/such.yaml': no such file" --config /no/such.yaml
expect 2 "--workers '0'" --workers 0
expect 2 "--workers 'two'" --workers two
expect 2 "unknown argument '--dta'" --dta x
expect 0 "usage:" --help
exit $((faults > 0))
