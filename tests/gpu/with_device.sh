#!/bin/bash
# with_device.sh PROBE COMMAND...: runs the command on the GPU, or exits 77 where PROBE finds none.
set -u
probe="$1"
shift
"$probe" || exit 77
export CYTOFOLD_TEST_DEVICE=cuda
exec "$@"
