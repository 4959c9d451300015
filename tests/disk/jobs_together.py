#!/usr/bin/env python3
"""Whole jobs started together on one run folder (RELIABILITY 19): jobs_together.py PROGRAM ROUNDS SEED.

In turn: two or three whole jobs, of which one trains and the others end with 9, naming host, job and pid of
the one; all folds of a job array at once, whose last one's tables have the bytes of a whole job; a whole job
beside a fold's; and a job killed in the middle, whose lock the next one takes over."""
import glob
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

from lab import Lab, environment, leftovers, scratch

FOLDS = ("data.split=folds", "data.folds=3")
BUSY = r"in use by another job: host \S+, job none, pid %d, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


def start(lab, run, *more, fold=None):
    command = lab.command(run, 1, *FOLDS, *more) + ([] if fold is None else ["--fold", str(fold)])
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment())


def end(jobs):
    texts = [job.communicate(timeout=120)[1].decode(errors="replace") for job in jobs]
    return [(job.pid, job.returncode, text) for job, text in zip(jobs, texts)]


def tables(run):
    names = ["metrics.json", "table.csv", "table.md"] + ["fold-%d/predictions.csv" % k for k in range(3)]
    return {n: hashlib.sha256(open(os.path.join(run, n), "rb").read()).hexdigest() for n in names}


def wait_for(pattern):
    deadline = time.monotonic() + 60
    while not glob.glob(pattern) and time.monotonic() < deadline:
        time.sleep(0.001)
    return bool(glob.glob(pattern))


def one_of_many(lab, run, rng):
    ends = end([start(lab, run) for _ in range(rng.choice((2, 2, 3)))])
    winners = [pid for pid, code, _ in ends if code == 0]
    losers = [text for _, code, text in ends if code == 9]
    # One that came when the first had ended found all done: it wins too, later.
    if not winners or len(winners) + len(losers) != len(ends):
        return "codes %s: %s" % ([code for _, code, _ in ends], [text for _, _, text in ends])
    named = all(any(re.search(BUSY % pid, text) for pid in winners) for text in losers)
    return None if named else "a loser does not name the winner: %s" % losers


def array(lab, run, rng):
    folds = [0, 1, 2]
    rng.shuffle(folds)
    ends = end([start(lab, run, fold=k) for k in folds])
    return None if all(code == 0 for _, code, _ in ends) else "%s" % ends


def whole_beside_fold(lab, run, rng):
    fold = start(lab, run, fold=rng.randrange(3))
    if not wait_for(os.path.join(run, "log.jsonl")):
        return "the fold's job does not begin"
    fold.send_signal(signal.SIGSTOP)  # so that it is still there, however slow this machine is
    alone = fold.poll() is None and glob.glob(os.path.join(run, "fold-*.lock"))
    whole = end([start(lab, run)])[0]
    fold.send_signal(signal.SIGCONT)
    other = end([fold])[0]
    if not alone:
        return None  # it had ended before it was stopped: nothing was tried
    if whole[1] != 9 or not re.search(BUSY % other[0], whole[2]) or other[1] != 0:
        return "whole: exit %d, %s; fold: exit %d, %s" % (whole[1], whole[2], other[1], other[2])
    return array(lab, run, rng)


def killed(lab, run, rng):
    first = start(lab, run)
    if not wait_for(os.path.join(run, "run.lock")):
        return "no lock is taken"
    time.sleep(rng.random() * 0.1)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    _, code, text = end([start(lab, run)])[0]
    left = "left by host" in text or first.returncode == 0
    return None if code == 0 and left else "exit %d: %s" % (code, text)


def main():
    program, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng, failed = random.Random(seed), 0
    with scratch() as work:
        lab = Lab(program, work)
        whole = os.path.join(work, "whole")
        _, code, text = end([start(lab, whole)])[0]
        if code != 0:
            sys.exit("the undisturbed job: exit %d: %s" % (code, text))
        for i in range(rounds):
            run = os.path.join(work, "run-%d" % i)
            kind = (one_of_many, array, killed, whole_beside_fold)[i % 4]
            fault = kind(lab, run, rng)
            if not fault and tables(run) != tables(whole):
                fault = "other bytes"
            if not fault and leftovers(run):
                fault = "left behind: %s" % leftovers(run)
            if fault:
                failed += 1
                print("FAILED: %s: %s" % (kind.__name__, fault))
            shutil.rmtree(run, ignore_errors=True)
    print("seed %d; %d rounds of whole jobs, %d failed" % (seed, rounds, failed))
    sys.exit(failed > 0)


main()
