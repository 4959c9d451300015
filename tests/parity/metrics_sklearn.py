#!/usr/bin/env python3
"""`cytofold score` beside scikit-learn: random prediction sets, every metric that both know.

usage: metrics_sklearn.py PATH/TO/cytofold [--sets N] [--seed N]

Exit code 77 where scikit-learn is not installed. Sets differ in classes (2 to 12, some never seen, some never
predicted), rows, folds and how sure the predictions are; about a third have coarse probabilities, so that scores
tie. Numbers cross the CSV with 9 digits, and predictions.csv may sum to one within 1e-3 only, so the file is
read back here and both sides see the same text.

TOLERANCE: both compute in double precision from the same text and differ in the order of sums of at most 400
terms of size 1 (a NLL term has size 28): 400 * 28 * 2^-53 = 1.2e-12, rounded up.
"""
import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy
    import sklearn
    from sklearn import metrics
except ImportError as error:
    print(f"parity: skipped: {error}")
    sys.exit(77)

TOLERANCE = 1e-11
BINS = 15


def random_set(rng):
    """codes, folds, labels, probability texts."""
    k, n = int(rng.integers(2, 13)), int(rng.integers(1, 401))
    codes = [f"C{i:02d}" for i in range(k)]
    folds = numpy.sort(rng.integers(0, rng.integers(1, 6), n))
    shares = rng.dirichlet(numpy.full(k, 0.3))  # rare and missing classes
    labels = rng.choice(k, n, p=shares)
    logits = rng.normal(0, rng.uniform(0.1, 3), (n, k))
    logits[numpy.arange(n), labels] += rng.uniform(0, 4)
    if rng.random() < 0.3:
        logits[:, rng.integers(k)] -= 100  # never predicted, probability 0 in the text
    p = numpy.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    if rng.random() < 0.33:
        p = numpy.floor(p * 8) / 8  # eighths are exact in binary and in text; the first class takes the rest
        p[:, 0] += 1 - p.sum(1)
    return codes, folds, labels, [[f"{x:.9g}" for x in row] for row in p]


def write_files(folder, codes, folds, labels, texts):
    with open(folder / "scheme.yaml", "w", encoding="utf-8") as out:
        out.write("name: random\nclasses:\n")
        out.writelines(f"  - {{code: {code}}}\n" for code in codes)
        out.write(f"questions:\n  first: [{codes[0]}]\n  half: [{', '.join(codes[:(len(codes) + 1) // 2])}]\n")
    p = numpy.array(texts, float)
    with open(folder / "predictions.csv", "w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(["id", "site", "fold", "label", "predicted"] + [f"p_{c}" for c in codes])
        for i, row in enumerate(texts):
            rows.writerow([f"i{i}", "", folds[i], codes[labels[i]], codes[p[i].argmax()]] + row)
    return p


def calibration(labels, p):
    """NLL and ECE of Guo et al. 2017; scikit-learn has no ECE, and its log_loss wants every class present."""
    rows = numpy.arange(len(labels))
    nll = -numpy.log(numpy.maximum(p[rows, labels], 1e-12)).mean()
    predicted, top = p.argmax(1), p.max(1)
    edges = numpy.clip(numpy.ceil(top * BINS).astype(int) - 1, 0, BINS - 1)
    ece = sum(abs((predicted[edges == b] == labels[edges == b]).sum() - top[edges == b].sum()) for b in range(BINS))
    return nll, ece / len(labels)


def expected_fold(codes, labels, p):
    """{path in a fold object: value}; None where it is not defined."""
    predicted, k = p.argmax(1), len(codes)
    everything = dict(labels=range(k), zero_division=0)
    seen = sorted(set(labels) | set(predicted))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(labels, predicted, **everything)
    counts = metrics.confusion_matrix(labels, predicted, labels=range(k))
    with_support = support > 0
    nll, ece = calibration(labels, p)
    out = {("images",): len(labels), ("accuracy",): metrics.accuracy_score(labels, predicted),
           ("balanced_accuracy",): recall[with_support].mean(),
           ("macro_f1",): metrics.f1_score(labels, predicted, labels=seen, average="macro", zero_division=0),
           ("weighted_f1",): metrics.f1_score(labels, predicted, average="weighted", zero_division=0),
           ("nll",): nll, ("ece",): ece}
    if with_support.sum() == len(seen):  # scikit-learn warns of classes that are predicted but not there
        out["balanced_accuracy",] = metrics.balanced_accuracy_score(labels, predicted)
    for name, positives in (("first", [0]), ("half", list(range((k + 1) // 2)))):
        truth = numpy.isin(labels, positives)
        score = numpy.zeros(len(labels))
        for c in positives:  # in the order of classes: the same ties
            score = score + p[:, c]
        one_sided = truth.all() or not truth.any()
        out["questions", name, "auc"] = None if one_sided else metrics.roc_auc_score(truth, score)
    for i, code in enumerate(codes):
        for key, value in (("precision_strict", precision[i]), ("recall_strict", recall[i]), ("f1_strict", f1[i]),
                           ("support", support[i]), ("predicted", (predicted == i).sum())):
            out["per_class", code, key] = value
        for j in range(k):
            out["confusion", i, j] = counts[i, j]
    return out


class Differences:
    def __init__(self):
        self.largest, self.where, self.figures, self.failures = 0.0, "none", 0, 0

    def compare(self, name, found, expected):
        self.figures += 1
        if (found is None) != (expected is None):
            difference = float("inf")
        else:
            difference = 0.0 if found is None else abs(float(found) - float(expected))
        if difference > self.largest:
            self.largest, self.where = difference, name
        if not difference <= TOLERANCE:
            self.failures += 1
            if self.failures <= 10:
                print(f"parity: {name}: cytofold {found}, scikit-learn {expected}")


def compare_object(found, expected, name, differences):
    for path, value in expected.items():
        at = found
        for key in path:
            at = at[key]
        differences.compare(f"{name} {'.'.join(map(str, path))}", at, value)


def compare_set(program, rng, name, differences):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        codes, folds, labels, texts = random_set(rng)
        p = write_files(folder, codes, folds, labels, texts)
        run = subprocess.run([program, "score", folder / "predictions.csv", "--scheme", folder / "scheme.yaml", "--json"],
                             capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise SystemExit(f"parity: {name}: exit code {run.returncode}: {run.stderr}")
    found = json.loads(run.stdout)
    compare_object(found["pooled"], expected_fold(codes, labels, p), f"{name} pooled", differences)
    numbers = sorted(set(folds))
    if [fold["fold"] for fold in found["folds"]] != numbers:
        raise SystemExit(f"parity: {name}: folds {found['folds']}, expected {numbers}")
    folds_expected = [expected_fold(codes, labels[folds == f], p[folds == f]) for f in numbers]
    for fold, expected in zip(found["folds"], folds_expected):
        compare_object(fold, expected, f"{name} fold {fold['fold']}", differences)
    for key in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "nll", "ece"):
        values = [expected[key,] for expected in folds_expected]
        differences.compare(f"{name} mean {key}", found["mean"][key], numpy.mean(values))
        differences.compare(f"{name} sd {key}", found["sd"][key], numpy.std(values, ddof=1) if len(values) > 1 else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=2021)
    arguments = parser.parse_args()
    differences = Differences()
    for i in range(arguments.sets):
        compare_set(arguments.program, numpy.random.default_rng([arguments.seed, i]), f"set {i}", differences)
    print(f"parity: scikit-learn {sklearn.__version__}, seed {arguments.seed}: {arguments.sets} sets, "
          f"{differences.figures} figures, largest difference {differences.largest:.3g} ({differences.where}), "
          f"tolerance {TOLERANCE:g}, {differences.failures} beyond it")
    return 1 if differences.failures else 0


if __name__ == "__main__":
    sys.exit(main())
