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
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = os.path.join(HERE, "../../configs/bm7.yaml")
WITH_HOSTS = os.path.join(HERE, "../net/with_hosts.sh")
BATCH, MICRO, EPOCHS = 32, 8, 4
KEYS = ["model.image_size=64", f"train.batch={BATCH}", f"train.micro_batch={MICRO}", "train.warmup_epochs=0",
        "train.ema=0", "train.checkpoint_every=1000", "augment.rotation=0", "augment.shear=0",
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


def train(args, place, folds, epochs):
    """Its epochs' events and its processor seconds, all processes together."""
    args.n_jobs += 1
    out = os.path.join(args.work, f"run{args.n_jobs}")
    keys = job_keys(args, folds) + [f"train.epochs={epochs}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(place.launch(True) + [args.program, "train", CONFIG, "--run", out] + sets(keys))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(os.path.join(out, "log.jsonl"), encoding="utf-8") as file:
        events = [e for e in map(json.loads, file) if e["event"] == "epoch"]
    return events, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def step_seconds(args, place, folds):
    """Mean time between updates, from the end of the first epoch of all folds to the end of the last; and processor
    time, the difference to a job of one epoch."""
    _, cpu_short = train(args, place, folds, 1)
    epochs, cpu_long = train(args, place, folds, EPOCHS)
    first = max((e for e in epochs if e["epoch"] == 1), key=lambda e: e["seconds"])
    last = max((e for e in epochs if e["epoch"] == EPOCHS), key=lambda e: e["seconds"])
    n = folds * (last["step"] - first["step"])
    return (last["seconds"] - first["seconds"]) / n, (cpu_long - cpu_short) / n


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
    # Processors' part, which nothing hides: a sum over links that are not slowed; the fastest, as of a quiet machine.
    whole = sums["sum"]["min" if free is None else "median"]
    host = whole if free is None else min(whole, free["sum"]["min"])
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


def spread_of(found):
    return f"{1e3 * found['median']:.1f} ({1e3 * found['min']:.1f}–{1e3 * found['max']:.1f})"


def prepare(args, build):
    args.program, args.sum_rate = f"{build}/launch/cytofold", f"{build}/tests/bench/sum_rate"
    args.cells, args.n_jobs = os.path.join(args.work, "phantoms.cells"), 0
    run([args.program, "synth", "-o", f"{args.work}/phantoms", "--images", "322", "--size", "64", "--scheme", "bm7"])
    run([args.program, "pack", f"{args.work}/phantoms", "--scheme", "bm7", "-o", args.cells])
    plan = json.loads(run([args.program, "plan", CONFIG, "--workers", "1", "--json"] + sets(job_keys(args, 2))))
    args.elements = int(plan["reduce_bytes"]) // 8
    args.bench = bench(args)


def measure(args, places):
    """Round after round; after --minutes no other point is begun."""
    points = [(place, folds) for place in places for folds in FOLDS]
    steps, sums, loads = {p: [] for p in points}, {}, []
    deadline = time.monotonic() + 60 * args.minutes
    for place in places:
        if place.ranks > 1:
            sums[place] = sum_seconds(args, place)
    for _ in range(args.rounds):
        for point in points:
            if time.monotonic() > deadline:
                return steps, sums, loads
            loads.append(os.getloadavg()[0])
            steps[point].append(step_seconds(args, *point))
            place, folds = point
            wall, cpu = steps[point][-1]
            print(f"{place.ranks} ranks, {place.text}, {folds} folds: {1e3 * wall:.1f} ms, processors {1e3 * cpu:.1f} ms",
                  file=sys.stderr, flush=True)
    return steps, sums, loads


def table(args, places, steps, sums):
    """Lines; how far the simulator is off in wall time, and on one host in processor time."""
    cores, errors = os.cpu_count(), {"wall": [], "cpu": []}
    alone = {folds: statistics.median(cpu for _, cpu in steps[places[0], folds]) for folds in FOLDS}
    free = next((sums[p] for p in places if p.link == "free"), None)
    lines = ["| ranks | where | folds | a step, ms | processors, ms a step | speed-up by processor time (ideal) | "
             "one sum, ms | simulated, ms | simulated / measured | by processor time |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    nothing = {"sum": {"median": 1e-9, "min": 1e-9}, "latency": {"median": 0}}
    for place in places:
        for folds in FOLDS:
            if not steps[place, folds]:
                continue
            wall, cpu = zip(*steps[place, folds])
            busy = min(place.ranks, cores)  # cores that the ranks keep busy
            row = simulate(args, place, folds, alone[1], sums.get(place, nothing),
                           free if place.link and place.link != "free" else None)
            step = row["step_seconds"]
            by_wall, by_cpu = step / statistics.median(wall), step * busy / statistics.median(cpu)
            one = "" if place not in sums else spread_of(sums[place]["sum"])
            speed = [busy * alone[folds] / c for c in cpu]
            # Daemons on other hosts are nobody's children: their ranks' processor time is not known. With micro-batches
            # dealt unevenly the cores are not all busy.
            even = BATCH // MICRO % place.ranks == 0
            lines.append(f"| {place.ranks} | {place.text} | {folds} | {spread(wall)} | "
                         f"{'' if place.link else spread(cpu)} | "
                         f"{'' if place.link else f'{spread(speed, 1, 2)} ({busy})'} | {one} | {1e3 * step:.1f} | "
                         f"{by_wall:.2f} | {f'{by_cpu:.2f}' if even and not place.link else ''} |")
            if place.link:
                errors["wall"].append(abs(math.log(by_wall)))
            elif place.ranks > 1 and even:
                errors["cpu"].append(abs(math.log(by_cpu)))
    return lines, errors


def off(errors):
    percent = [100 * math.expm1(e) for e in errors]
    return f"{statistics.median(percent):.0f} % (median), at most {max(percent):.0f} %" if percent else "not measured"


def report(args, places, steps, sums, loads):
    lines, errors = table(args, places, steps, sums)
    cores = os.cpu_count()
    head = [
        "# Scaling, measured and simulated", "",
        f"One to {max(p.ranks for p in places)} ranks of one thread on {cores} cores, the network of `configs/bm7.yaml` at "
        f"64 px on phantom cells (synthetic), {BATCH // MICRO} micro-batches of {MICRO} a step, {8 * args.elements / 1e6:.1f} MB "
        "of sums; "
        f"{min(map(len, steps.values()))} to {max(map(len, steps.values()))} rounds in turns, median (range).", "",
        f"Load average {min(loads):.1f}–{max(loads):.1f}, niceness {os.nice(0)}: other work shares the machine, so on one host "
        "processor time counts (of all ranks, loaders and coordinator). There a sum is nothing but processor time, and the "
        "simulated step times the busy cores is what should be found. Between hosts the link decides, and wall time "
        "counts.", "",
        f"Ranks beyond {cores} share cores, so their ideal stays {cores}. With one fold nothing hides a sum; with two, one "
        "fold computes while the other's sums travel. Hosts are network namespaces of this machine with their own "
        "addresses, ranks talk over TCP; on a slow link Open MPI sends large messages of both directions one after the "
        "other, which `one sum` (alone, `sum_rate`) contains.", ""]
    command = "nice -n -10 tests/bench/scaling.py build/release -o tests/bench/results/scaling.md"
    tail = ["", f"Simulated from the processor time of one rank's step, the optimizer's {args.bench['phase_ms']['update']:.1f} "
            f"ms and one sum. Off on one host by {off(errors['cpu'])}; between hosts by {off(errors['wall'])}.", "",
            "```sh", command, "```", ""]
    return "\n".join(head + lines + tail)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", help="build folder with cytofold and sum_rate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=60, help="no other point is begun after these")
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
