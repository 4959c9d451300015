#!/bin/bash
# Runs a program on a folder of its own, in memory where possible: in_scratch.sh PROGRAM ARGUMENTS...
set -euo pipefail
base="${TMPDIR:-/tmp}"
[ -w /dev/shm ] && base=/dev/shm
work="$(mktemp -d -p "$base" cytofold-disk-XXXXXX)"
trap 'rm -rf "$work"' EXIT
program="$1"
shift
"$program" "$work" "$@"
