#!/usr/bin/python3
"""Images a second of `predict`: from image files to a CSV file, one fold, as a user would ask.

The network is the sequential one at its default size (250 px, 303,694 parameters at 22 outputs). RUN is a
run folder, or a cells file of a few images (packed at 250 px) on which such a network is trained for one
epoch here: what it has learnt costs nothing. Every round asks with each number of threads once and, with
--beside, the other build too, in turns; the page cache is warm after a first run that does not count.
Wall time is of the whole program, its start included; processor time is its user and system time. Prints
medians and ranges as Markdown, then the same and every round as one line of JSON.

  tests/bench/predict_rate.py build/release/launch/cytofold RUN|FEW.cells IMAGES --rounds 5
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

CONFIG = """data: {folds: 2}
model: {network: sequential}
train: {epochs: 1, batch: 16, micro_batch: 16}
"""


def train(program, cells, folder):
    config, run = os.path.join(folder, "small.yaml"), os.path.join(folder, "run")
    with open(config, "w", encoding="utf-8") as f:
        f.write(CONFIG)
    name = json.loads(subprocess.run([program, "inspect", cells, "--json"], check=True, capture_output=True,
                                     text=True).stdout)["scheme"]
    subprocess.run([program, "train", config, "--run", run, "--fold", "0", "--workers", "1", "--set",
                    "data.cells=" + os.path.abspath(cells), "--set", "data.scheme=" + name], check=True,
                   capture_output=True)
    return run


def ask(program, run, images, threads, folder):
    """Seconds of wall time, of processor time, and how many images."""
    command = [program, "predict", run, images, "--fold", "0", "--threads", str(threads), "--json", "-o",
               os.path.join(folder, "p.csv")]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(done.stderr)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, processor, json.loads(done.stdout)["images"]


def spread(values, digits=0):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("run", help="a run folder, or a cells file to train on")
    parser.add_argument("images", help="a folder of image files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--beside", help="another build, asked in turns")
    args = parser.parse_args()
    builds = [args.program] + ([args.beside] if args.beside else [])
    ways = [(program, int(n)) for n in args.threads.split(",") for program in builds]
    times = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        run = args.run if os.path.isdir(args.run) else train(args.program, args.run, folder)
        n_images = ask(*ways[0][:1], run, args.images, ways[0][1], folder)[2]
        for _ in range(args.rounds):
            for way in ways:
                times[way].append(ask(way[0], run, args.images, way[1], folder)[:2])
    load = os.getloadavg()[0]
    print(f"{n_images} images, {args.rounds} rounds in turns; load of the machine {load:.1f} on "
          f"{len(os.sched_getaffinity(0))} cores.\n")
    print("| | images/s of wall time: median (range) | images/s of processor time: median (range) "
          "| processor time beside the other build's |")
    print("| --- | ---: | ---: | ---: |")
    out = []
    for program, threads in ways:
        seen = times[program, threads]
        wall, processor = ([n_images / t[k] for t in seen] for k in (0, 1))
        name = f"{threads} thread" + "s" * (threads > 1) + (", the other build" if program == args.beside else "")
        ratio = ""
        if args.beside and program == args.program:
            other = times[args.beside, threads]
            ratio = spread([a[1] / b[1] for a, b in zip(seen, other)], 2)
        print(f"| {name} | {spread(wall)} | {spread(processor)} | {ratio} |")
        out.append({"program": program, "threads": threads, "wall_s": [t[0] for t in seen],
                    "processor_s": [t[1] for t in seen]})
    print()
    print(json.dumps({"images": n_images, "load": load, "ways": out}))


if __name__ == "__main__":
    main()
