#!/bin/bash
# Races at the lock of a run folder, in a folder of their own: lock_race.sh PROGRAM ROUNDS SEED
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"$1" "$work" "$2" "$3"
