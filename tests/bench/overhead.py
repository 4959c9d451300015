#!/usr/bin/env python3
"""What checkpoints, replica hashes and heartbeats cost, as shares of training time: target under 1 % together.

  cmake --build build/release --target cytofold
  nice -n -10 tests/bench/overhead.py build/release --rounds 5 -o tests/bench/results/overhead.md

Two ranks of one thread train phantom cells (synthetic) of 64 px with the network of configs/bm7.yaml. Each cost is
made large enough to be seen: a save at the end of every epoch of a few steps, a comparison of replicas after every
step. Its processor time beyond that of the same job without, divided by how many there were, is the cost of one;
times how many there are by default gives the share. Jobs are run in turns, differences taken inside a round.
Heartbeats are two datagrams a second and rank: too little to be seen that way, so they are bounded by what a
datagram costs. The bounds say what a cost must be at least at the speed of memory.
"""
import argparse
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import scaling

RANKS, EPOCHS, FOLDS = 2, 8, 2
OFF = {"train.checkpoint_minutes": 0, "train.checkpoint_every": 1000, "run.hang_timeout": 0, "run.replica_check": 0}
JOBS = {"nothing": {}, "saves": {"train.checkpoint_every": 1}, "replicas": {"run.replica_check": 1},
        "heartbeats": {"run.hang_timeout": 300}}
SAVE_SECONDS, CHECK_STEPS, BEATS = 600, 50, 2  # defaults: minutes between saves, steps between checks; a second
COPY_MB = 256


def known_keys(args, keys):
    """Those of `keys` that this program has."""
    found = {}
    for key, value in keys.items():
        command = [args.program, "plan", scaling.CONFIG, "--workers", "1", "--set", f"{key}={value}"]
        done = subprocess.run(command + scaling.sets(args.keys), capture_output=True, text=True)
        if done.returncode == 0:
            found[key] = value
    return found


def run_job(args, options):
    """Processor seconds of all its processes, and seconds of a step."""
    args.n_jobs += 1
    out = os.path.join(args.work, f"run{args.n_jobs}")
    keys = args.keys + [f"{key}={value}" for key, value in {**args.off, **options}.items()]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    scaling.run(scaling.MPIRUN + ["-n", str(RANKS + 1), args.program, "train", scaling.CONFIG, "--run", out] +
                scaling.sets(keys))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(os.path.join(out, "log.jsonl"), encoding="utf-8") as file:
        epochs = [e for e in map(json.loads, file) if e["event"] == "epoch"]
    first, last = epochs[FOLDS - 1], epochs[-1]
    steps = FOLDS * (last["step"] - first["step"])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "step": (last["seconds"] - first["seconds"]) / steps, "steps": FOLDS * last["step"],
            "bytes": os.path.getsize(newest_checkpoint(out))}


def newest_checkpoint(out):
    folder = os.path.join(out, "fold-0")
    names = [n for n in os.listdir(folder) if n.endswith(".ckpt")]
    return os.path.join(folder, max(names, key=lambda n: int(re.search(r"\d+", n).group())))


def datagram_seconds(n=20000):
    """Processor seconds of sending and receiving one over loopback: an upper bound, Python's own time is in it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as to, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as by:
        to.bind(("127.0.0.1", 0))
        start = time.process_time()
        for _ in range(n):
            by.sendto(bytes(128), to.getsockname())
            to.recv(256)
        return (time.process_time() - start) / n


def memory_rate():
    """Bytes a second that one core reads while it copies."""
    source, target = memoryview(bytes(COPY_MB << 20)), memoryview(bytearray(COPY_MB << 20))
    times = []
    for _ in range(5):
        start = time.process_time()
        target[:] = source
        times.append(time.process_time() - start)
    return (COPY_MB << 20) / min(times)


def measure(args):
    jobs = {name: keys for name, keys in JOBS.items() if all(k in args.off for k in keys)}
    rounds, loads = [], []
    for r in range(args.rounds):
        loads.append(os.getloadavg()[0])
        order = list(jobs) if r % 2 == 0 else list(jobs)[::-1]
        rounds.append({name: run_job(args, jobs[name]) for name in order})
        print(f"round {r + 1}: " + ", ".join(f"{k} {v['cpu']:.2f} s" for k, v in rounds[-1].items()), file=sys.stderr)
    return rounds, loads


def more(rounds, name, count):
    """Processor seconds of one of `count`, each round's difference to the same job without."""
    return [(r[name]["cpu"] - r["nothing"]["cpu"]) / count for r in rounds]


def row(what, costs, bound, often, share):
    shares = [100 * c * share for c in costs]
    return (f"| {what} | {scaling.spread(costs, 1e3, 2)} | {1e3 * bound:.2f} | {often} | "
            f"{scaling.spread(shares, 1, 3)} % |"), statistics.median(shares)


def table(args, rounds):
    """A share is of the processor time that the ranks have while they train: RANKS cores."""
    plain = [r["nothing"] for r in rounds]
    step, rate = min(p["step"] for p in plain), memory_rate()  # the fastest: shares are largest on a quiet machine
    n_steps, size = plain[0]["steps"], plain[0]["bytes"]
    # a saved byte is copied, hashed twice (CRC32C and the file's hash) and handed to the system
    save = more(rounds, "saves", FOLDS * (EPOCHS - 1))
    rows = [row(f"saving a fold ({size / 1e6:.1f} MB)", save, 4 * size / rate, "5 folds in 10 minutes",
                5 / (RANKS * SAVE_SECONDS))]
    if "replicas" in rounds[0]:
        rows.append(row("comparing replicas, all ranks", more(rounds, "replicas", n_steps), RANKS * size / rate,
                        f"every {CHECK_STEPS} steps of {1e3 * step:.0f} ms", 1 / (RANKS * CHECK_STEPS * step)))
    beat = datagram_seconds()
    rows.append(row("a datagram (bound)", [beat], beat, f"{BEATS} a second and rank", BEATS))
    lines = ["| what | one costs, ms of processor time | at memory speed | how often | share of the ranks' time |",
             "| --- | --- | --- | --- | --- |"] + [text for text, _ in rows]
    return lines, sum(share for _, share in rows)


def ratios(rounds):
    lines = ["| job | step to the job without, wall time | processor time |", "| --- | --- | --- |"]
    for name in rounds[0]:
        pairs = [[r[name][key] / r["nothing"][key] for r in rounds] for key in ("step", "cpu")]
        if name != "nothing":
            lines.append(f"| {name} | {scaling.spread(pairs[0], 1, 3)} | {scaling.spread(pairs[1], 1, 3)} |")
    return lines


def report(args, rounds, loads):
    lines, total = table(args, rounds)
    steps = [r["nothing"]["step"] for r in rounds]
    head = ["# What safety costs", "",
            f"{RANKS} ranks of one thread, the network of `configs/bm7.yaml` at 64 px on phantom cells (synthetic), "
            f"{FOLDS} folds, {rounds[0]['nothing']['steps']} steps of {scaling.spread(steps)} ms; {args.rounds} rounds in "
            f"turns, median (range), load average {min(loads):.1f}–{max(loads):.1f} on the shared machine, niceness "
            f"{os.nice(0)}. A negative cost is noise.", ""]
    middle = ["", f"Together {total:.2f} % (medians; target under 1 %).", "",
              f"The jobs themselves, with a save after every {rounds[0]['nothing']['steps'] // FOLDS // EPOCHS} steps, a "
              "comparison after each, heartbeats as by default:", ""]
    tail = ["", "```sh", "nice -n -10 tests/bench/overhead.py build/release -o tests/bench/results/overhead.md", "```", ""]
    return "\n".join(head + lines + middle + ratios(rounds) + tail)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", help="build folder with cytofold")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", dest="output", help="Markdown file; default: standard output")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as args.work:
        scaling.prepare(args, os.path.abspath(args.build))
        args.keys = [k for k in scaling.job_keys(args, FOLDS) if not k.startswith("train.checkpoint")]
        args.keys.append(f"train.epochs={EPOCHS}")
        args.off = known_keys(args, OFF)
        rounds, loads = measure(args)
        text = report(args, rounds, loads)
    if args.output:
        with open(args.output, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
