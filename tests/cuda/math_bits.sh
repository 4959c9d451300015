#!/bin/sh
# The formulas of kernels/math give the same bits whoever compiles them.
#
# usage: math_bits.sh SOURCE_ROOT CC CXX [NVCC]
# Without NVCC: C and C++ at several levels of optimisation against each other. With it: nvcc's host
# code against C; the exit status 77 (skipped) where that nvcc is not there.
set -eu
root=$1 cc=$2 cxx=$3 nvcc=${4-}
source=$root/tests/cuda/math_bits.c
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# compare NAME COMMAND...: builds with COMMAND, prints, compares with what `c` printed
compare()
{
    name=$1
    shift
    "$@" -o "$work/$name" -lm
    "$work/$name" >"$work/$name.txt"
    if [ "$name" = c ]; then
        cat "$work/c.txt"
    elif ! diff "$work/c.txt" "$work/$name.txt"; then
        echo "FAILED: $name differs from c: $*"
        exit 1
    fi
    echo "$name: $(wc -l <"$work/$name.txt") functions"
}

exact="-ffp-contract=off -fno-math-errno -I$root"
compare c "$cc" -std=c17 -O3 -march=native $exact "$source"
if [ $# -lt 4 ]; then
    compare c_plain "$cc" -std=c17 -O0 $exact "$source"
    compare cxx "$cxx" -x c++ -std=c++17 -O2 $exact "$source"
    compare cxx_shim "$cxx" -x c++ -std=c++17 -O3 -march=native -DCF_HOST \
        -I"$root/tests/cuda/include" -include cuda_runtime.h $exact "$source"
else
    if [ ! -x "$nvcc" ]; then
        echo "skipped: no nvcc"
        exit 77
    fi
    # sm_90 is compiled too, which shows that the formulas are device code, but never run
    compare nvcc "$nvcc" -x cu -std=c++17 -O3 --fmad=false -arch=sm_90 \
        -Xcompiler -ffp-contract=off,-fno-math-errno -I"$root" "$source"
fi
