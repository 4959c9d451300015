#!/usr/bin/env python3
"""Whole jobs whose disk fails (RELIABILITY 7): disk_faults.py PROGRAM SHIM COUNT SEED.

Each injection makes one file operation of a job fail, or that and all after it: full, over quota, I/O
error, read-only, interrupted, cut short. The job must end well with the bytes of an undisturbed one, or
with 5, naming a file of the run and the bytes needed and free; the same command without a fault then
gives those bytes. Every twentieth job has two workers."""
import concurrent.futures
import os
import random
import shutil
import struct
import sys

from lab import ERRNO, Lab, checksums, environment, leftovers, names_figures, scratch

FAULTS = [("full", "always"), ("quota", "always"), ("input/output", "once"), ("read-only", "always"),
          ("input/output", "always"), ("full", "once"), ("full", "interrupt"), ("full", "short")]
HARMLESS = ("interrupt", "short")


def disturbed(lab, shim, run, workers, n, fault, mode):
    """The job with a fault at its n-th operation: code, messages, operations, faults met."""
    tally = run + ".tally"
    with open(tally, "wb") as f:
        f.write(bytes(16))
    env = environment(LD_PRELOAD=shim, CYTOFOLD_FAULT="%d,%d,%s" % (n, ERRNO[fault], mode),
                      CYTOFOLD_FAULT_UNDER=run, CYTOFOLD_FAULT_TALLY=tally)
    code, text = lab.train(run, workers, env=env)
    with open(tally, "rb") as f:
        operations, met = struct.unpack("<qq", f.read(16))
    os.unlink(tally)
    return code, text, operations, met


def complaint(lab, shim, wanted, run, workers, n, fault, mode):
    """What is wrong with this injection, None for nothing; and how many faults it met."""
    code, text, _, met = disturbed(lab, shim, run, workers, n, fault, mode)
    if code == 0:
        if checksums(run) != wanted:
            return "ended well with other bytes", met
    elif mode in HARMLESS:
        return "exit %d: %s" % (code, text), met
    elif code != 5 or met == 0:
        return "exit %d after %d faults, expected 5: %s" % (code, met, text), met
    elif not names_figures(text, run):
        return "no path, or no bytes needed and free: %s" % text, met
    code, text = lab.train(run, workers)
    if code != 0:
        return "the next job: exit %d: %s" % (code, text), met
    if checksums(run) != wanted:
        return "the next job ended with other bytes", met
    if leftovers(run):
        return "left behind: %s" % leftovers(run), met
    return None, met


def plan(lab, count, rng, operations):
    """Faults in turn; their places spread over all of a job's operations, in an order of the seed's."""
    places = [1 + i * operations // count for i in range(count)]
    rng.shuffle(places)
    for i, n in enumerate(places):
        fault, mode = FAULTS[i % len(FAULTS)]
        yield os.path.join(lab.work, "run-%d" % i), 2 if i % 20 == 19 else 1, n, fault, mode


def main():
    program, shim, count, seed = sys.argv[1], os.path.abspath(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    failed = n_met = 0
    with scratch() as work:
        lab = Lab(program, work)
        whole = os.path.join(work, "whole")
        code, text, operations, _ = disturbed(lab, shim, whole, 1, 0, "full", "once")
        if code != 0 or operations < 40:
            sys.exit("the undisturbed job: exit %d, %d operations: %s" % (code, operations, text))
        wanted = checksums(whole)
        print("seed %d; a job has %d file operations" % (seed, operations))

        def one(case):
            try:
                return case, complaint(lab, shim, wanted, *case)
            finally:
                shutil.rmtree(case[0], ignore_errors=True)

        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            for case, (fault, met) in pool.map(one, plan(lab, count, random.Random(seed), operations)):
                n_met += met > 0
                if fault:
                    failed += 1
                    print("FAILED: workers %d, operation %d, %s, %s: %s" % (case[1:] + (fault,)))
    print("%d injections, %d met, %d failed" % (count, n_met, failed))
    if n_met < count * 9 // 10:
        sys.exit("too few faults were met to say anything")
    sys.exit(failed > 0)


main()
