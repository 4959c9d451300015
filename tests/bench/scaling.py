#!/usr/bin/env python3
"""Steps of one to four ranks on this machine, and of two ranks over slowed links, beside `plan --simulate`.

  cmake --build build/release --target cytofold sum_rate
  nice -n -10 tests/bench/scaling.py build/release --rounds 5 -o tests/bench/results/scaling.md

The simulator gets three things: the step of one rank (a job like the others), the seconds of a sum alone
(sum_rate, same ranks and links) and of the optimizer (bench). Points are measured in turns, round after round.
Ranks of one host share its cores: where there are more of them than cores, the simulator's micro-batch is longer in
that proportion. Hosts are network namespaces (root; left out without): links slowed by tbf in each direction.
Phantom cells (synthetic) of 64 px, the network of configs/bm7.yaml.
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = os.path.join(HERE, "../../configs/bm7.yaml")
WITH_HOSTS = os.path.join(HERE, "../net/with_hosts.sh")
BATCH, MICRO, EPOCHS = 32, 8, 6
KEYS = ["model.image_size=64", f"train.batch={BATCH}", f"train.micro_batch={MICRO}", f"train.epochs={EPOCHS}",
        "train.warmup_epochs=1", "train.ema=0", "train.checkpoint_every=1000", "augment.rotation=0", "augment.shear=0",
        "augment.zoom=1", "augment.scale_min=1", "augment.scale_max=1", "run.device=cpu", "run.groups=1",
        "run.threads=1", "run.coordinator=rank"]
FOLDS = {1: ["data.split=holdout", "data.test_share=0.5"], 2: ["data.folds=2"]}
MPIRUN = ["mpirun", "--quiet", "--oversubscribe", "--bind-to", "none"]
ROOT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, env=ROOT, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def have_hosts():
    return subprocess.run([WITH_HOSTS, "free", "1", "true"], capture_output=True).returncode == 0


class Place:
    """Where ranks sit: link None is this host, else every host has one worker and a link of that rate."""

    def __init__(self, ranks, link):
        self.ranks, self.link = ranks, link
        self.text = "one host" if link is None else f"{ranks} hosts, links {link}"

    def launch(self, coordinator):
        first = 1 + (1 if coordinator else 0)
        if self.link is None:
            return MPIRUN + ["-n", str(self.ranks + first - 1)]
        return [WITH_HOSTS, self.link, ",".join([str(first)] + ["1"] * (self.ranks - 1))]


def sets(keys):
    return [word for key in keys for word in ("--set", key)]


def job_keys(args, folds):
    return KEYS + FOLDS[folds] + [f"data.cells={args.cells}"]


def step_seconds(args, place, folds):
    """Mean time between updates, from the end of the first epoch of all folds to the end of the last."""
    args.n_jobs += 1
    out = os.path.join(args.work, f"run{args.n_jobs}")
    run(place.launch(True) + [args.program, "train", CONFIG, "--run", out] + sets(job_keys(args, folds)))
    with open(os.path.join(out, "log.jsonl"), encoding="utf-8") as file:
        epochs = [e for e in map(json.loads, file) if e["event"] == "epoch"]
    first = max((e for e in epochs if e["epoch"] == 1), key=lambda e: e["seconds"])
    last = max((e for e in epochs if e["epoch"] == EPOCHS), key=lambda e: e["seconds"])
    return (last["seconds"] - first["seconds"]) / (folds * (last["step"] - first["step"]))


def sum_seconds(args, place):
    return json.loads(run(place.launch(False) + [args.sum_rate, str(args.elements), "15"]))


def bench(args):
    command = [args.program, "bench", "--config", CONFIG, "--batch", str(MICRO), "--threads", "1", "--device", "cpu",
               "--runs", "5", "--steps", "10", "--json"]
    return json.loads(run(command + sets(KEYS + ["model.outputs=7"])))


def simulate(args, place, folds, alone, sums, free):
    """alone: seconds of a step of one rank; sums: sum_rate at this place; free: over links that are not slowed."""
    cores, n = os.cpu_count(), place.ranks
    slower = 1 if place.link else max(1, n / cores)
    measured = dict(args.bench, batch=BATCH, step_ms=1e3 * slower * alone,
                    phase_ms={"update": slower * args.bench["phase_ms"]["update"]})
    path = os.path.join(args.work, "measured.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(measured, file)
    moved = 2 * (n - 1) / n * 8 * args.elements
    latency = max(1e-9, sums["latency"]["median"] / 2)
    whole = sums["sum"]["median"]
    host = whole if free is None else min(whole, free["sum"]["median"])  # processors' part: nothing hides it
    wire = max(whole - host - 2 * latency, 1e-9)
    per_node = 1 if place.link else n
    link = [str(1e6 * latency), str(moved / wire / 1e9)]
    command = [args.program, "plan", CONFIG, "--simulate", "--json", "--workers", str(n), "--measured", path,
               "--reduction", "shares", "--node", str(per_node), "--node-us", link[0], "--node-gbs", link[1],
               "--link-us", link[0], "--link-gbs", link[1], "--host-gbs", str(moved / host / 1e9)]
    if n == 1:
        command = command[:command.index("--reduction")]
    return json.loads(run(command + sets(job_keys(args, folds))))["rows"][0]


def spread(values, scale=1e3, digits=1):
    low, high = min(values), max(values)
    return f"{scale * statistics.median(values):.{digits}f} ({scale * low:.{digits}f}–{scale * high:.{digits}f})"


def prepare(args, build):
    args.program, args.sum_rate = f"{build}/launch/cytofold", f"{build}/tests/bench/sum_rate"
    args.cells, args.n_jobs = os.path.join(args.work, "phantoms.cells"), 0
    run([args.program, "synth", "-o", f"{args.work}/phantoms", "--images", "322", "--size", "64", "--scheme", "bm7"])
    run([args.program, "pack", f"{args.work}/phantoms", "--scheme", "bm7", "-o", args.cells])
    plan = json.loads(run([args.program, "plan", CONFIG, "--workers", "1", "--json"] + sets(job_keys(args, 2))))
    args.elements = int(plan["reduce_bytes"]) // 8
    args.bench = bench(args)


def measure(args, places):
    points = [(place, folds) for place in places for folds in FOLDS]
    steps, sums, loads = {p: [] for p in points}, {}, []
    for _ in range(args.rounds):
        loads.append(os.getloadavg()[0])
        for point in points:
            steps[point].append(step_seconds(args, *point))
    for place in places:
        if place.ranks > 1:
            sums[place] = sum_seconds(args, place)
    return steps, sums, loads


def table(args, places, steps, sums):
    alone = statistics.median(steps[places[0], 1])
    free = next((sums[p] for p in places if p.link == "free"), None)
    lines = ["| ranks | where | folds | a step, ms | speed-up (ideal) | one sum, ms | simulated step, ms | "
             "simulated / measured |", "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    errors = []
    for place in places:
        for folds in FOLDS:
            found = steps[place, folds]
            row = simulate(args, place, folds, alone, sums.get(place, {"sum": {"median": 1e-9}, "latency": {"median": 0}}),
                           free if place.link and place.link != "free" else None)
            ratio = row["step_seconds"] / statistics.median(found)
            speed = [a / b for a, b in zip(steps[places[0], folds], found)]
            ideal = min(place.ranks, os.cpu_count())
            one = "" if place not in sums else f"{1e3 * sums[place]['sum']['median']:.1f}"
            lines.append(f"| {place.ranks} | {place.text} | {folds} | {spread(found)} | {spread(speed, 1, 2)} ({ideal}) "
                         f"| {one} | {1e3 * row['step_seconds']:.1f} | {ratio:.2f} |")
            errors.append(abs(math.log(ratio)))
    return lines, errors[1:]  # the first is what the simulator was given


def report(args, places, steps, sums, loads):
    lines, errors = table(args, places, steps, sums)
    cores = os.cpu_count()
    head = [
        "# Scaling, measured and simulated", "",
        f"One to {max(p.ranks for p in places)} ranks of one thread on {cores} cores, the network of `configs/bm7.yaml` at "
        f"64 px on phantom cells (synthetic), {BATCH // MICRO} micro-batches of {MICRO} a step, {8 * args.elements / 1e6:.1f} MB "
        f"of sums; {args.rounds} rounds in turns, median (range); load average {min(loads):.1f}–{max(loads):.1f} on the "
        f"shared machine, niceness {os.nice(0)}.", "",
        f"Ranks beyond {cores} share cores, so their ideal stays {cores}. With one fold nothing hides a sum; with two, one "
        "fold computes while the other's sums travel. Hosts are network namespaces of this machine with their own "
        "addresses, ranks talk over TCP; on such a link Open MPI sends large messages of both directions one after the "
        "other, which `one sum` (alone, `sum_rate`) contains.", ""]
    command = "nice -n -10 tests/bench/scaling.py build/release -o tests/bench/results/scaling.md"
    tail = ["", f"Simulated from the step of one rank, the optimizer's {args.bench['phase_ms']['update']:.1f} ms and one sum: "
            f"off by {100 * math.expm1(statistics.median(errors)):.0f} % (median), at most "
            f"{100 * math.expm1(max(errors)):.0f} %.", "", "```sh", command, "```", ""]
    return "\n".join(head + lines + tail)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", help="build folder with cytofold and sum_rate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ranks", type=int, default=4, help="most ranks on one host")
    parser.add_argument("--links", default="free,1gbit,300mbit", help="of two hosts; the first is not slowed")
    parser.add_argument("-o", dest="output", help="Markdown file; default: standard output")
    args = parser.parse_args()
    build = os.path.abspath(args.build)
    with tempfile.TemporaryDirectory() as args.work:
        prepare(args, build)
        places = [Place(n, None) for n in range(1, args.ranks + 1)]
        if have_hosts():
            places += [Place(2, link) for link in args.links.split(",")]
        steps, sums, loads = measure(args, places)
        text = report(args, places, steps, sums, loads)
    if args.output:
        with open(args.output, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
