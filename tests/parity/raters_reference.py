#!/usr/bin/env python3
"""`cytofold score --raters` beside scikit-learn, statsmodels and krippendorff: random sets of raters.

usage: raters_reference.py PATH/TO/cytofold [--sets N] [--seed N]

Exit code 77 where one of them is not installed. Sets differ in classes, images, raters, how much they agree, how
many labels are missing and how often images are labelled again. TOLERANCE: sums of at most a few thousand terms of
size 1 in double precision, in another order: 3,000 * 2^-53 = 3e-13, rounded up.
"""
import argparse
import collections
import csv
import json
import math
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

try:
    import krippendorff
    import numpy
    from sklearn.metrics import cohen_kappa_score, confusion_matrix
    from statsmodels.stats.inter_rater import fleiss_kappa
except ImportError as error:
    print(f"parity: skipped: {error}")
    sys.exit(77)

TOLERANCE = 1e-11


def random_set(rng, folder):
    """Writes scheme, predictions and raters; returns codes, {id: (label, predicted)}, [(id, rater, round, label)]."""
    k, n, n_raters = int(rng.integers(2, 9)), int(rng.integers(2, 200)), int(rng.integers(1, 6))
    codes = [f"C{i}" for i in range(k)]
    (folder / "s.yaml").write_text("name: s\nclasses:\n" + "".join(f"  - {{code: {c}}}\n" for c in codes))
    truth = rng.choice(k, n, p=rng.dirichlet(numpy.full(k, 0.7)))
    predicted = numpy.where(rng.random(n) < 0.7, truth, rng.integers(0, k, n))
    known = {f"i{i}": (int(truth[i]) if rng.random() < 0.9 else None, int(predicted[i])) for i in range(n)}
    with open(folder / "p.csv", "w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["id", "label", "predicted"] + [f"p_{c}" for c in codes])
        for name, (label, guess) in known.items():
            rows.writerow([name, "" if label is None else codes[label], codes[guess]]
                          + [int(guess == c) for c in range(k)])
    ratings = []
    for r in range(n_raters):
        skill, share = rng.uniform(0.3, 1), rng.choice([1.0, rng.uniform(0.1, 1)])
        for i in range(n + 3):  # the last three are in no prediction
            if rng.random() > share:
                continue
            for round_number in range(1, 1 + int(rng.choice([1, 1, 1, 2, 3]))):
                good = i < n and rng.random() < skill
                ratings.append((f"i{i}", f"R{r}", round_number, int(truth[i]) if good else int(rng.integers(k))))
    ratings.append(("i0", "R0", 9, int(truth[0])))  # so that there is one in any case
    order = rng.permutation(len(ratings))
    ratings = [ratings[i] for i in order]
    with open(folder / "r.csv", "w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["id", "rater", "round", "label"])
        rows.writerows([i, r, n_round, codes[label]] for i, r, n_round, label in ratings)
    return codes, known, ratings


def kappa(a, b, k):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cohen_kappa_score(a, b, labels=range(k))


def expected(codes, known, ratings):
    """{(rows, columns): (pairs, agreement, kappa, confusion)}, alpha, Fleiss' kappa."""
    k = len(codes)
    sequences = collections.defaultdict(list)
    for name, rater, n_round, label in sorted(ratings, key=lambda r: r[2]):
        sequences[rater, name].append(label)
    raters, images = list(dict.fromkeys(r[1] for r in ratings)), list(dict.fromkeys(r[0] for r in ratings))
    sides = {r: {i: sequences[r, i][0] for i in images if (r, i) in sequences} for r in raters}
    sides["network"] = {i: known[i][1] for i in images if i in known}
    sides["labels"] = {i: known[i][0] for i in images if i in known and known[i][0] is not None}
    wanted = [(a, b) for n, a in enumerate(raters) for b in raters[n + 1:]]
    wanted += [(r, r) for r in raters] + [(r, "network") for r in raters] + [("labels", r) for r in raters]
    result = {}
    for a, b in wanted + [("labels", "network")]:
        if a == b:
            pairs = [(sequences[a, i][0], later) for i in images for later in sequences.get((a, i), [])[1:]]
        else:
            pairs = [(sides[a][i], sides[b][i]) for i in images if i in sides[a] and i in sides[b]]
        if pairs:
            x, y = zip(*pairs)
            result[a, b] = (len(pairs), sum(p == q for p, q in pairs) / len(pairs), kappa(x, y, k),
                            confusion_matrix(x, y, labels=range(k)).tolist())
    table = numpy.array([[sides[r].get(i, numpy.nan) for i in images] for r in raters])
    counts = numpy.array([[sum(row == c) for c in range(k)] for row in table.T])
    several, full = counts[counts.sum(1) >= 2], counts[counts.sum(1) == len(raters)]
    alpha = fleiss = math.nan
    if len(several) and (several.sum(0) > 0).sum() > 1:
        alpha = krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")
    if len(raters) > 1 and len(full) and (full.sum(0) > 0).sum() > 1:
        fleiss = fleiss_kappa(full)
    return result, (len(several), alpha), (len(full) if len(raters) > 1 else 0, fleiss)


def difference(found, want):
    if found is None or math.isnan(want):
        assert found is None and math.isnan(want), f"found {found}, expected {want}"
        return 0.0
    return abs(found - want)


def compare(program, folder, rng):
    codes, known, ratings = random_set(rng, folder)
    done = subprocess.run([program, "score", folder / "p.csv", "--scheme", folder / "s.yaml", "--raters",
                           folder / "r.csv", "--bootstrap", "100", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    pairs, alpha, fleiss = expected(codes, known, ratings)
    largest = 0.0
    names = [tuple(side.get("rater") or side["source"] for side in (c["rows"], c["columns"]))
             for c in found["comparisons"]]
    assert names == list(pairs), (names, list(pairs))
    for c, (n, agreement, value, confusion) in zip(found["comparisons"], pairs.values()):
        assert c["pairs"] == n and c["confusion"] == confusion, c
        largest = max(largest, difference(c["agreement"]["value"], agreement), difference(c["kappa"]["value"], value))
        for figure in (c["agreement"], c["kappa"]):
            assert figure["low"] is None or figure["low"] <= figure["high"], c
    for key, (n, value) in (("krippendorff_alpha", alpha), ("fleiss_kappa", fleiss)):
        assert found[key]["images"] == n, (key, found[key], n)
        largest = max(largest, difference(found[key]["value"], value))
    return largest, len(pairs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=Path)
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    rng, largest, comparisons = numpy.random.default_rng(options.seed), 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for i in range(options.sets):
            off, n = compare(options.program.resolve(), Path(folder), rng)
            assert off <= TOLERANCE, f"set {i} of seed {options.seed}: {off}"
            largest, comparisons = max(largest, off), comparisons + n
    print(f"seed {options.seed}: {options.sets} sets, {comparisons} comparisons, largest difference {largest:.2g}")


main()
