#!/bin/bash
# The README's key reference is what the program prints; `readme.sh PROGRAM write` puts it there.
set -euo pipefail
program="$1" mode="${2:-check}"
readme="$(cd "$(dirname "$0")/../.." && pwd)/README.md"
made="$(mktemp)"
trap 'rm -f "$made"' EXIT
begin='<!-- configuration reference: cytofold inspect --reference -->'
end='<!-- end of the configuration reference -->'
{
  sed "/^$begin\$/q" "$readme"
  echo
  "$program" inspect --reference
  echo
  sed -n "/^$end\$/,\$p" "$readme"
} >"$made"
if [ "$mode" = write ]; then
  cat "$made" >"$readme"
else
  diff "$readme" "$made" || { echo "README.md is out of date: tests/cli/readme.sh PROGRAM write" >&2; exit 1; }
fi
