#!/bin/bash
# Runs an MPI program over hosts out of network namespaces. usage: with_hosts.sh RATE RANKS,RANKS,... PROGRAM...
# RANKS of each host, the first one's first; RATE of every link in each direction as tc writes it, or "free".
# Exit 77: no network namespaces here.
set -euo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
rate="$1"
IFS=, read -r -a ranks <<<"$2"
shift 2
# shellcheck source=tests/net/lab.sh
. "$(dirname "$0")/lab.sh"
why="$(lab_missing)"
[ -z "$why" ] || { echo "skipped: $why" >&2; exit 77; }
LAB_FOLDER="$(mktemp -d)"
trap 'lab_down; rm -rf "$LAB_FOLDER"' EXIT
lab_up "${#ranks[@]}"
list="" n=0
for k in "${!ranks[@]}"; do
  list+="${list:+,}$(lab_address "$k"):${ranks[k]}"
  n=$((n + ranks[k]))
  [ "$rate" = free ] || lab_slow "$k" "$rate"
done
lab_on 0 mpirun --quiet --oversubscribe --bind-to none --mca plm_rsh_agent "$LAB_FOLDER/agent" --mca btl tcp,self \
  --host "$list" -n "$n" "$@" </dev/null
