#!/usr/bin/env python3
"""Whole jobs whose disk fails (RELIABILITY 7): disk_faults.py PROGRAM SHIM COUNT SEED.

Each injection makes one file operation of a job fail, or that and all after it: full, over quota, I/O
error, read-only, interrupted, cut short. The job must end well with the bytes of an undisturbed one, or
with 5, naming a file of the run and the bytes needed and free; the same command without a fault then
gives those bytes. Every twentieth job has two workers. Cells are phantoms (synthetic)."""
import concurrent.futures
import errno
import hashlib
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = os.path.join(os.path.dirname(HERE), "mpi", "tiny.yaml")
FAULTS = [(errno.ENOSPC, "always"), (errno.EDQUOT, "always"), (errno.EIO, "once"), (errno.EROFS, "always"),
          (errno.EIO, "always"), (errno.ENOSPC, "once"), (errno.EINTR, "interrupt"), (errno.ENOSPC, "short")]
HARMLESS = ("interrupt", "short")
DEADLINE_S = 120


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "CYTOFOLD_"))}
    env.update(LC_ALL="C", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1")
    env.update(more)
    return env


class Lab:
    def __init__(self, program, shim, work):
        self.program, self.shim, self.work = program, shim, work
        self.cells = os.path.join(work, "cells.cells")
        phantoms = os.path.join(work, "phantoms")
        for command in (["synth", "-o", phantoms, "--images", "84", "--size", "32", "--scheme", "bm7"],
                        ["pack", phantoms, "--scheme", "bm7", "-o", self.cells]):
            subprocess.run([program] + command, check=True, stdout=subprocess.DEVNULL, env=environment())

    def train(self, run, workers, env=None):
        command = [self.program, "train", CONFIG, "--run", run, "--workers", str(workers)]
        sets = ["data.cells=" + self.cells, "data.split=holdout", "data.test_share=0.3", "train.epochs=2",
                "run.device=cpu", "run.coordinator=" + ("thread" if workers == 1 else "rank")]
        for word in sets:
            command += ["--set", word]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env or environment(),
                              timeout=DEADLINE_S)
        return done.returncode, done.stderr.decode(errors="replace")

    def disturbed(self, run, workers, n, number, mode):
        """The job with a fault at its n-th operation: code, messages, operations, faults met."""
        tally = run + ".tally"
        with open(tally, "wb") as f:
            f.write(bytes(16))
        env = environment(LD_PRELOAD=self.shim, CYTOFOLD_FAULT="%d,%d,%s" % (n, number, mode),
                          CYTOFOLD_FAULT_UNDER=run, CYTOFOLD_FAULT_TALLY=tally)
        code, text = self.train(run, workers, env)
        with open(tally, "rb") as f:
            operations, met = struct.unpack("<qq", f.read(16))
        os.unlink(tally)
        return code, text, operations, met


def checksums(run):
    """Of all that a result is: predictions, metrics, tables, the newest checkpoint."""
    fold = os.path.join(run, "fold-0")
    newest = max((n for n in os.listdir(fold) if n.endswith(".ckpt")), key=lambda n: int(re.findall(r"\d+", n)[0]))
    names = ["fold-0/predictions.csv", "fold-0/metrics.json", "fold-0/" + newest, "metrics.json", "table.csv",
             "table.md", "confusion.csv", "folds.csv", "scheme.yaml"]
    sums = {}
    for name in names:
        with open(os.path.join(run, name), "rb") as f:
            sums[name] = hashlib.sha256(f.read()).hexdigest()
    return sums


def leftovers(run):
    found = [os.path.join(folder, name) for folder, _, names in os.walk(run) for name in names]
    return [f for f in found if ".tmp-" in f or f.endswith(".lock") and not f.endswith("/.lock") or "proof" in f]


def complaint(lab, wanted, run, workers, n, number, mode):
    """What is wrong with this injection; None for nothing. Also whether its fault was met."""
    code, text, _, met = lab.disturbed(run, workers, n, number, mode)
    if code == 0:
        if checksums(run) != wanted:
            return "ended well with other bytes", met
    elif mode in HARMLESS:
        return "exit %d: %s" % (code, text), met
    elif code != 5:
        return "exit %d, expected 5: %s" % (code, text), met
    elif met == 0:
        return "exit 5 without a fault: %s" % text, met
    elif run not in text or not re.search(r"needs \d+ bytes, \d+ bytes are free", text):
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
        number, mode = FAULTS[i % len(FAULTS)]
        workers = 2 if i % 20 == 9 else 1
        yield os.path.join(lab.work, "run-%d" % i), workers, n, number, mode


def main():
    program, shim, count, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    rng = random.Random(seed)
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    failed = met_at_all = 0
    with tempfile.TemporaryDirectory(prefix="cytofold-disk-", dir=base) as work:
        lab = Lab(os.path.abspath(program), os.path.abspath(shim), work)
        code, text, operations, _ = lab.disturbed(os.path.join(work, "whole"), 1, 0, 0, "once")
        if code != 0 or operations < 40:
            sys.exit("the undisturbed job: exit %d, %d operations: %s" % (code, operations, text))
        wanted = checksums(os.path.join(work, "whole"))
        print("seed %d; a job has %d file operations" % (seed, operations))

        def one(case):
            try:
                return case, complaint(lab, wanted, *case)
            finally:
                shutil.rmtree(case[0], ignore_errors=True)

        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            for case, (fault, met) in pool.map(one, plan(lab, count, rng, operations)):
                met_at_all += met > 0
                if fault:
                    failed += 1
                    print("FAILED: workers %d, operation %d, errno %d, %s: %s" % (case[1:] + (fault,)))
    print("%d injections, %d met, %d failed" % (count, met_at_all, failed))
    if met_at_all < count * 9 // 10:
        sys.exit("too few faults were met to say anything")
    sys.exit(failed > 0)


main()
