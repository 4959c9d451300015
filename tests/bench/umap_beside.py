#!/usr/bin/env python3
"""Our UMAP beside umap-learn's (PyPI: umap-learn), alternating, on the same rows.

umap_beside.py RATE X.f32|X.npy ROWS COLUMNS [ROUNDS [SAMPLE]]
RATE is tests/bench/umap_rate. X.f32 "made" makes clouds (synthetic) in the temporary folder. Prints Markdown:
wall and processor seconds of each round, medians, their ratio, and trustworthiness (k = 15) of both pictures
over the same SAMPLE of rows, judged by the same code.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import umap


def make(path, n, d):
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(20, d)).astype(np.float32)
    with open(path, "wb") as f:
        for i in range(0, n, 1000):
            m = min(1000, n - i)
            (centres[rng.integers(20, size=m)] * 0.3 + rng.normal(size=(m, d)).astype(np.float32)).astype(
                np.float32).tofile(f)


def ours(rate, x, n, d, sample, out):
    words = subprocess.run([rate, x, str(n), str(d), str(sample), out], check=True, capture_output=True,
                           text=True).stdout.split()
    return tuple(float(word) for word in words)


def theirs(rows, out):
    before, start = os.times(), time.time()
    y = umap.UMAP(n_neighbors=15, min_dist=0.1, n_jobs=os.cpu_count()).fit_transform(rows)
    wall, after = time.time() - start, os.times()
    y.astype(np.float32).tofile(out)
    return wall, after.user + after.system - before.user - before.system


def main():
    rate, path, n, d = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    rounds = int(sys.argv[5]) if len(sys.argv) > 5 else 5
    sample = int(sys.argv[6]) if len(sys.argv) > 6 else 2000
    with tempfile.TemporaryDirectory() as work:
        x = os.path.join(work, "x.f32")
        if path == "made":
            make(x, n, d)
        elif path.endswith(".npy"):
            np.load(path)[:n].astype(np.float32).tofile(x)
        else:
            x = path
        rows = np.fromfile(x, dtype=np.float32).reshape(n, d)
        for some in (300, 4200):  # compiles both of its ways to find neighbours
            umap.UMAP(n_jobs=os.cpu_count()).fit_transform(np.random.default_rng(0).normal(size=(some, 8)))
        print(f"{n} x {d}, umap-learn {umap.__version__}, load {os.getloadavg()[0]:.1f}\n")
        print("| round | ours, s | ours, processor s | umap-learn, s | processor s |")
        print("| --- | --- | --- | --- | --- |")
        a, b, trust, found = [], [], 0, 0
        for i in range(rounds):
            wall, cpu, trust, found = ours(rate, x, n, d, sample, os.path.join(work, "y"))
            a.append((wall, cpu))
            b.append(theirs(rows, os.path.join(work, "z")))
            print(f"| {i + 1} | {wall:.2f} | {cpu:.2f} | {b[-1][0]:.2f} | {b[-1][1]:.2f} |", flush=True)
        judged = subprocess.run([rate, x, str(n), str(d), str(sample), "--judge", os.path.join(work, "z")],
                                check=True, capture_output=True, text=True).stdout.split()
        ratios = [statistics.median(v[k] for v in b) / statistics.median(v[k] for v in a) for k in (0, 1)]
        print(f"\nRatio of medians: {ratios[0]:.2f} of wall time, {ratios[1]:.2f} of processor time; "
              f"trustworthiness {trust:.4f} beside {float(judged[2]):.4f}; "
              f"{found:.4f} of the true neighbours found")


main()
