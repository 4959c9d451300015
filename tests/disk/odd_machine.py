#!/usr/bin/env python3
"""Machines in an odd state (RELIABILITY 7, 20): odd_machine.py PROGRAM CASE.

clocks: a day fast, a day slow, and ranks two days apart, in one run and from one job to the next; needs
libfaketime. descriptors: `ulimit -n 64`. tmpfs: a small disk that the job does not fit on, and one that
fills up under it; sweep: the same for two lanes; both need root. What is not there is skipped, exit 77."""
import glob
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

from lab import SKIPPED, Lab, checksums, environment, leftovers, names_figures, scratch


def require(right, what):
    if not right:
        sys.exit("FAILED: " + what)


def same(lab, wanted, run, code, text):
    require(code == 0, "%s: exit %d: %s" % (run, code, text))
    require(checksums(run) == wanted, run + " has other bytes")
    require(not leftovers(run), "%s: left behind: %s" % (run, leftovers(run)))


def clocks(lab, wanted):
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not found:
        print("skipped: libfaketime is not installed")
        return SKIPPED
    # A clock that is set has no say over the monotonic one, by which deadlines go.
    def at(offset):
        return environment(LD_PRELOAD=found[0], FAKETIME=offset, DONT_FAKE_MONOTONIC="1",
                           FAKETIME_DONT_FAKE_MONOTONIC="1")

    for name, offset in (("fast", "+1d"), ("slow", "-1d")):
        run = os.path.join(lab.work, name)
        same(lab, wanted, run, *lab.train(run, 1, env=at(offset)))
        same(lab, wanted, run, *lab.train(run, 1, env=at("-1d" if offset == "+1d" else "+1d")))
    ranks = os.path.join(lab.work, "ranks.sh")
    with open(ranks, "w", encoding="utf-8") as f:
        f.write('#!/bin/sh\nif [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then FAKETIME=+1d; else FAKETIME=-1d; fi\n'
                'export FAKETIME LD_PRELOAD=%s\nexec "$@"\n' % found[0])
    os.chmod(ranks, 0o755)
    run = os.path.join(lab.work, "apart")
    launcher = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", "3", ranks]
    done = subprocess.run(launcher + lab.command(run, 2), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          env=environment(DONT_FAKE_MONOTONIC="1", FAKETIME_DONT_FAKE_MONOTONIC="1"), timeout=120)
    same(lab, wanted, run, done.returncode, done.stderr.decode(errors="replace"))
    print("clocks: 5 jobs, 0 failed")
    return 0


def descriptors(lab, wanted):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    for workers in (1, 2):
        run = os.path.join(lab.work, "few-%d" % workers)
        same(lab, wanted, run, *lab.train(run, workers, limit=limit))
    print("64 descriptors: 2 jobs, 0 failed")
    return 0


def fill(path):
    """Writes until nothing more fits."""
    with open(path, "wb", buffering=0) as f:
        try:
            while f.write(bytes(1 << 16)) > 0:
                pass
        except OSError:
            pass


def fill_under_job(lab, disk, run, folders, *command):
    """The job's exit code and messages when its disk is filled after the first checkpoint of each run folder."""
    job = subprocess.Popen(lab.command(run, *command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                           env=environment())
    deadline = time.monotonic() + 60
    while (not all(glob.glob(os.path.join(folder, "fold-0", "checkpoint-*.ckpt")) for folder in folders)
           and time.monotonic() < deadline and job.poll() is None):
        time.sleep(0.002)
    fill(os.path.join(disk, "filler"))
    try:
        text = job.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        job.send_signal(signal.SIGKILL)
        job.communicate()
        sys.exit("FAILED: the job on a full disk does not end")
    os.unlink(os.path.join(disk, "filler"))
    return job.returncode, text.decode(errors="replace")


def mount(lab, size):
    """A small disk; None where there can be none."""
    disk = os.path.join(lab.work, "disk")
    os.mkdir(disk)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + size, "cytofold", disk], stderr=subprocess.DEVNULL)
    if mounted.returncode == 0:
        return disk
    print("skipped: no tmpfs can be mounted here")
    return None


def tmpfs(lab, wanted):
    disk = mount(lab, "8m")
    if disk is None:
        return SKIPPED
    try:
        with open(os.path.join(disk, "ballast"), "wb") as f:
            f.write(bytes((8 << 20) - (324 << 10)))
        run = os.path.join(disk, "run")
        code, text = lab.train(run, 1)
        require(code == 5 and names_figures(text, run), "a disk too small: exit %d: %s" % (code, text))
        require(not glob.glob(run + "/fold-*/*.ckpt"), "a job that does not fit has trained")
        os.unlink(os.path.join(disk, "ballast"))
        shutil.rmtree(run)
        long = os.path.join(lab.work, "long")
        code, text = lab.train(long, 1, "train.epochs=120")
        require(code == 0, "the long job: exit %d: %s" % (code, text))
        code, text = fill_under_job(lab, disk, run, [run], 1, "train.epochs=120")
        require(code == 5 and names_figures(text, run), "a disk that fills up: exit %d: %s" % (code, text))
        code, text = lab.train(run, 1, "train.epochs=120")
        require("goes on at step" in text, "the next job starts anew: " + text)
        same(lab, checksums(long), run, code, text)
        same(lab, wanted, os.path.join(lab.work, "whole"), 0, "")
    finally:
        subprocess.run(["umount", disk], check=True)
    print("small disks: 2 jobs ended with 5, 1 went on, 0 failed")
    return 0


def sweep(lab, wanted):
    """Points that fit one by one and not together are refused before any is trained."""
    disk = mount(lab, "16m")
    if disk is None:
        return SKIPPED
    rates = "sweep.train.learning_rate=[0.003,0.004%s]"
    try:
        with open(os.path.join(disk, "ballast"), "wb") as f:
            f.write(bytes(2 << 20))
        run = os.path.join(disk, "four")
        code, text = lab.train(run, 2, rates % ",0.005,0.006")
        require(code == 5 and names_figures(text, run), "a disk too small for a sweep: exit %d: %s" % (code, text))
        require(not glob.glob(run + "/point-*/fold-*/*.ckpt"), "a sweep that does not fit has trained")
        two = ("train.epochs=80", rates % "")
        run = os.path.join(disk, "two")
        points = [os.path.join(run, "point-00%d" % point) for point in range(2)]
        code, text = fill_under_job(lab, disk, run, points, 2, *two)
        require(code == 5 and names_figures(text, run), "a disk that fills up under two lanes: exit %d: %s" % (code, text))
        require(not leftovers(run), "left behind: %s" % leftovers(run))
        code, text = lab.train(run, 2, *two)
        require(text.count("goes on at step") == 2, "the next job starts anew: " + text)
        whole = os.path.join(lab.work, "sweep")
        code, text = lab.train(whole, 2, *two)
        for point in points:
            same(lab, checksums(os.path.join(whole, os.path.basename(point))), point, code, text)
        same(lab, wanted, os.path.join(lab.work, "whole"), 0, "")
    finally:
        subprocess.run(["umount", disk], check=True)
    print("small disks of sweeps: 2 jobs ended with 5, 1 went on, 0 failed")
    return 0


def main():
    with scratch() as work:
        lab = Lab(sys.argv[1], work)
        whole = os.path.join(work, "whole")
        code, text = lab.train(whole, 1)
        require(code == 0, "the undisturbed job: exit %d: %s" % (code, text))
        sys.exit({"clocks": clocks, "descriptors": descriptors, "tmpfs": tmpfs, "sweep": sweep}[sys.argv[2]](lab, checksums(whole)))


main()
