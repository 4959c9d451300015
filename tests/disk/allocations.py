#!/usr/bin/env python3
"""Whole jobs that run out of memory (RELIABILITY 20): allocations.py PROGRAM SHIM COUNT SEED.

The n-th allocation of a job's own code fails. COUNT of them are tried, each from another place in the code
(by the calls that led there), spread over the whole job from its start to its tables; COUNT 0: every single
one. The job must end with a clear message and code, or well with the same bytes; the same command then gives them. It must
not crash or hang."""
import concurrent.futures
import os
import random
import shutil
import struct
import subprocess
import sys

from lab import Lab, checksums, environment, scratch


def count_allocations(lab, shim, run):
    """Numbers of the first allocation of each kind, and how many there are."""
    log = run + ".log"
    code, text = lab.train(run, 1, env=environment(LD_PRELOAD=shim, CYTOFOLD_ALLOC="0", CYTOFOLD_ALLOC_LOG=log))
    if code != 0:
        sys.exit("the undisturbed job: exit %d: %s" % (code, text))
    with open(log, "rb") as f:
        records = list(struct.iter_unpack("<qQ", f.read()))
    first = {}
    for number, kind in records:
        first.setdefault(kind, number)
    return sorted(first.values()), len(records)


def complaint(lab, shim, wanted, run, n):
    """What is wrong when the n-th fails, None for nothing; and whether the job noticed."""
    try:
        code, text = lab.train(run, 1, env=environment(LD_PRELOAD=shim, CYTOFOLD_ALLOC=str(n)))
    except subprocess.TimeoutExpired:
        return "the job hangs", True
    if code == 0:
        return (None if checksums(run) == wanted else "ended well with other bytes"), False
    if not 1 <= code <= 9:
        return "exit %d: %s" % (code, text), True
    if "cytofold: " not in text:
        return "exit %d without a message: %s" % (code, text), True
    code, text = lab.train(run, 1)
    if code != 0:
        return "the next job: exit %d: %s" % (code, text), True
    return (None if checksums(run) == wanted else "the next job ended with other bytes"), True


def main():
    program, shim, count, seed = sys.argv[1], os.path.abspath(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    failed = n_noticed = 0
    with scratch() as work:
        lab = Lab(program, work)
        whole = os.path.join(work, "whole")
        kinds, total = count_allocations(lab, shim, whole)
        wanted = checksums(whole)
        every = range(1, total + 1)
        start = random.Random(seed).randrange(len(kinds))
        spread = [kinds[(start + i * len(kinds) // max(count, 1)) % len(kinds)] for i in range(count)]
        numbers = sorted(set(spread)) if count > 0 else every
        print("seed %d; %d allocations of %d kinds" % (seed, total, len(kinds)))

        def one(n):
            run = os.path.join(work, "run-%d" % n)
            try:
                return n, complaint(lab, shim, wanted, run, n)
            finally:
                shutil.rmtree(run, ignore_errors=True)

        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            for n, (fault, noticed) in pool.map(one, numbers):
                n_noticed += noticed
                if fault:
                    failed += 1
                    print("FAILED: allocation %d: %s" % (n, fault))
    print("%d allocations failed, %d ended the job, %d failed" % (len(numbers), n_noticed, failed))
    sys.exit(failed > 0 or n_noticed == 0)


main()
