#!/usr/bin/env python3
"""`cytofold score` beside scikit-learn and scipy: random prediction sets, every figure that both know.

usage: metrics_sklearn.py PATH/TO/cytofold PATH/TO/dump_statistics [--sets N] [--seed N] [--processes N] [--markdown FILE]

Exit code 77 where scikit-learn or scipy is not installed. Sets differ in classes (2 to 21, some never seen, some
never predicted), rows (2 to 300), folds and how sure the predictions are; about a third have coarse probabilities,
so that scores tie. Each set has a second one of the same images, for McNemar's test. Numbers cross the CSV with 9
digits, and predictions.csv may sum to one within 1e-3 only, so the file is read back here and both sides see the
same text.

TOLERANCE: both compute in double precision from the same text and differ in the order of sums of at most 300
terms of size 1 (a NLL term has size 28): 300 * 28 * 2^-53 = 9e-13, rounded up. A temperature is compared by the NLL
that it gives, which must not be above what scipy's bounded minimiser finds: within 1e-9, as flat as a minimum is.

Where scikit-learn has no counterpart the definition stands here in numpy: ECE (Guo et al. 2017), NLL (its log_loss
clips otherwise), the Brier score of many classes as the sum of its binary ones. Where it says 0 with a warning,
average precision without a positive row, ours says "not defined".
"""
import argparse
import csv
import json
import multiprocessing
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

try:
    import numpy
    import scipy
    import sklearn
    from scipy import optimize, stats
    from sklearn import metrics
except ImportError as error:
    print(f"parity: skipped: {error}")
    sys.exit(77)

TOLERANCE = 1e-11
NLL_TOLERANCE = 1e-9
BINS = 15


def random_set(rng):
    """codes, folds, labels, probability texts."""
    k, n = int(rng.integers(2, 22)), int(rng.integers(2, 301))
    codes = [f"C{i:02d}" for i in range(k)]
    folds = numpy.sort(rng.integers(0, rng.integers(1, 6), n))
    shares = rng.dirichlet(numpy.full(k, 0.3))  # rare and missing classes
    labels = rng.choice(k, n, p=shares)
    return codes, folds, labels, random_texts(rng, labels, k), random_texts(rng, labels, k)


def random_texts(rng, labels, k):
    """What one classifier says of the images with these labels."""
    n = len(labels)
    logits = rng.normal(0, rng.uniform(0.1, 3), (n, k))
    logits[numpy.arange(n), labels] += rng.uniform(0, 4)
    if rng.random() < 0.3:
        logits[:, rng.integers(k)] -= 100  # never predicted, probability next to 0
    p = numpy.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    if rng.random() < 0.33:
        p = numpy.floor(p * 8) / 8  # eighths are exact in binary and in text; the first class takes the rest
        p[:, 0] += 1 - p.sum(1)
    return [[f"{x:.9g}" for x in row] for row in p]


def write_scheme(folder, codes):
    with open(folder / "scheme.yaml", "w", encoding="utf-8") as out:
        out.write("name: random\nclasses:\n")
        out.writelines(f"  - {{code: {code}}}\n" for code in codes)
        out.write(f"questions:\n  first: [{codes[0]}]\n  half: [{', '.join(codes[:(len(codes) + 1) // 2])}]\n")


def write_predictions(path, codes, folds, labels, texts):
    p = numpy.array(texts, float)
    with open(path, "w", encoding="utf-8", newline="") as out:
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


def defined(value):
    return None if numpy.isnan(value) else value


def areas(truth, score):
    """ROC AUC and average precision; None where they are not defined."""
    one_sided = truth.all() or not truth.any()
    return (None if one_sided else metrics.roc_auc_score(truth, score),
            metrics.average_precision_score(truth, score) if truth.any() else None)


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
           ("nll",): nll, ("ece",): ece, ("mcc",): metrics.matthews_corrcoef(labels, predicted),
           ("kappa",): defined(metrics.cohen_kappa_score(labels, predicted)),
           ("brier",): sum(metrics.brier_score_loss(labels == c, p[:, c], pos_label=True) for c in range(k))}
    if with_support.sum() == len(seen):  # scikit-learn warns of classes that are predicted but not there
        out["balanced_accuracy",] = metrics.balanced_accuracy_score(labels, predicted)
    for name, positives in (("first", [0]), ("half", list(range((k + 1) // 2)))):
        truth = numpy.isin(labels, positives)
        score = numpy.zeros(len(labels))
        for c in positives:  # in the order of classes: the same ties
            score = score + p[:, c]
        out["questions", name, "auc"], out["questions", name, "average_precision"] = areas(truth, score)
    aucs = []
    for i, code in enumerate(codes):
        auc, out["per_class", code, "average_precision"] = areas(labels == i, p[:, i])
        out["per_class", code, "auc"] = auc
        aucs += [] if auc is None else [auc]
        for key, value in (("precision_strict", precision[i]), ("recall_strict", recall[i]), ("f1_strict", f1[i]),
                           ("support", support[i]), ("predicted", (predicted == i).sum())):
            out["per_class", code, key] = value
        for j in range(k):
            out["confusion", i, j] = counts[i, j]
    out["macro_auc",] = numpy.mean(aucs) if aucs else None
    if len(aucs) == k > 2:  # scikit-learn wants every class there, and another form for two
        out["macro_auc",] = metrics.roc_auc_score(labels, p / p.sum(1, keepdims=True), multi_class="ovr",
                                                  average="macro", labels=range(k))
    return out


def scaled_nll(labels, p, temperature):
    with numpy.errstate(divide="ignore"):
        logs = numpy.log(p) / temperature
    own = logs[numpy.arange(len(labels)), labels]
    there = numpy.isfinite(own)  # no temperature mends a label with probability 0
    peak = logs.max(1, keepdims=True)
    total = numpy.log(numpy.exp(logs - peak).sum(1)) + peak[:, 0]
    return (total - own)[there].mean() if there.any() else None


def best_nll(labels, p):
    """The least NLL that a temperature from .01 to 100 gives; None where no row has its label."""
    if scaled_nll(labels, p, 1) is None:
        return None
    found = optimize.minimize_scalar(lambda x: scaled_nll(labels, p, numpy.exp(x)),
                                     bounds=(numpy.log(0.01), numpy.log(100)), method="bounded",
                                     options={"xatol": 1e-9})
    return min(found.fun, scaled_nll(labels, p, 0.01), scaled_nll(labels, p, 100))


class Differences:
    """Largest difference of each figure."""

    def __init__(self):
        self.rows, self.failures = {}, 0

    def compare(self, figure, where, found, expected, tolerance=TOLERANCE):
        if (found is None) != (expected is None):
            difference = float("inf")
        else:
            difference = 0.0 if found is None else abs(float(found) - float(expected))
            difference = 0.0 if numpy.isnan(difference) and found == expected else difference  # both infinite
        count, largest, _ = self.rows.get(figure, (0, 0.0, tolerance))
        self.rows[figure] = (count + 1, max(largest, difference), tolerance)
        if not difference <= tolerance:
            self.failures += 1
            if self.failures <= 10:
                print(f"parity: {where} {figure}: cytofold {found}, expected {expected}")

    def merge(self, other):
        for figure, (count, largest, tolerance) in other.rows.items():
            mine = self.rows.get(figure, (0, 0.0, tolerance))
            self.rows[figure] = (mine[0] + count, max(mine[1], largest), tolerance)
        self.failures += other.failures

    def markdown(self):
        rows = ["| figure | compared | largest difference | tolerance |", "| --- | ---: | ---: | ---: |"]
        return rows + [f"| {figure} | {count} | {largest:.2g} | {tolerance:.0e} |"
                       for figure, (count, largest, tolerance) in self.rows.items()]


def compare_object(found, expected, where, differences):
    for path, value in expected.items():
        at = found
        for key in path:
            at = at[key]
        figure = {"per_class": f"{path[-1]} of a class", "questions": f"{path[-1]} of a question",
                  "confusion": "confusion matrix"}.get(path[0], path[0])
        differences.compare(figure, where, at, value)


def compare_temperature(found, labels, p, where, differences):
    best, t = best_nll(labels, p), found["temperature"]
    if best is None:
        differences.compare("temperature: NLL", where, t, None)
    else:
        differences.compare("temperature: NLL", where, max(0, scaled_nll(labels, p, t) - best), 0, NLL_TOLERANCE)


def score(program, folder, *options):
    run = subprocess.run([program, "score", folder / "a.csv", "--scheme", folder / "scheme.yaml", "--json", *options],
                         capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise SystemExit(f"parity: exit code {run.returncode}: {run.stderr}")
    return json.loads(run.stdout)


def compare_sides(found, labels, folds, p, q, where, differences):
    """McNemar's test, and the t-test over folds with the corrected variance of Nadeau and Bengio (2003)."""
    right_a, right_b = p.argmax(1) == labels, q.argmax(1) == labels
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    differences.compare("McNemar: p", where, found["mcnemar"]["p"], mcnemar(only_a, only_b))
    differences.compare("A - B of accuracy", where, found["accuracy"]["difference"], right_a.mean() - right_b.mean())
    numbers = sorted(set(folds))
    if len(numbers) < 2:
        return
    gaps = numpy.array([right_a[folds == f].mean() - right_b[folds == f].mean() for f in numbers])
    sizes = numpy.array([(folds == f).sum() for f in numbers])
    ratio = (sizes / (len(labels) - sizes)).mean()
    if numpy.ptp(gaps) < 1e-12:
        return  # no spread: t is not defined to any digit
    error = numpy.sqrt((1 / len(gaps) + ratio) * gaps.var(ddof=1))
    p_value = 2 * stats.t.sf(abs(gaps.mean() / error), len(gaps) - 1)
    differences.compare("folds: p", where, found["folds"]["accuracy"]["p"], p_value, 1e-9)


def mcnemar(only_a, only_b):
    n = only_a + only_b
    if n < 25:
        return min(1.0, stats.binomtest(only_a, n).pvalue) if n else 1.0
    return stats.chi2.sf(max(0, abs(only_a - only_b) - 1) ** 2 / n, 1)


def compare_set(program, rng, where, differences):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        codes, folds, labels, texts, others = random_set(rng)
        write_scheme(folder, codes)
        p = write_predictions(folder / "a.csv", codes, folds, labels, texts)
        q = write_predictions(folder / "b.csv", codes, folds, labels, others)
        found = score(program, folder, "--bootstrap", "0")
        against = score(program, folder, "--bootstrap", "0", "--against", folder / "b.csv")
    compare_sides(against, labels, folds, p, q, where, differences)
    compare_object(found["pooled"], expected_fold(codes, labels, p), f"{where} pooled", differences)
    compare_temperature(found["pooled"], labels, p, f"{where} pooled", differences)
    numbers = sorted(set(folds))
    if [fold["fold"] for fold in found["folds"]] != numbers:
        raise SystemExit(f"parity: {where}: folds {found['folds']}, expected {numbers}")
    folds_expected = [expected_fold(codes, labels[folds == f], p[folds == f]) for f in numbers]
    for fold, expected in zip(found["folds"], folds_expected):
        compare_object(fold, expected, f"{where} fold {fold['fold']}", differences)
    for key in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "nll", "ece", "mcc", "brier"):
        values = [expected[key,] for expected in folds_expected]
        differences.compare("mean over folds", f"{where} {key}", found["mean"][key], numpy.mean(values))
        differences.compare("SD over folds", f"{where} {key}", found["sd"][key],
                            numpy.std(values, ddof=1) if len(values) > 1 else 0)


class Questions:
    """Lines for dump_statistics and what the answers must be."""

    def __init__(self):
        self.lines, self.expected = [], []

    def ask(self, figure, line, expected, tolerance=TOLERANCE):
        self.lines.append(line)
        self.expected.append((figure, expected, tolerance))

    def check(self, program, differences):
        done = subprocess.run([program], input="\n".join(self.lines) + "\n", capture_output=True, text=True, check=True)
        for line, answer, (figure, expected, tolerance) in zip(self.lines, done.stdout.splitlines(), self.expected):
            found = [float(x) for x in answer.split()]
            if len(found) != len(expected):
                differences.compare(figure, line[:60], None, 0)
                continue
            for a, b in zip(found, expected):
                differences.compare(figure, line[:60], a, b, tolerance)


def ask_curve(rng, questions):
    n = int(rng.integers(2, 300))
    truth = rng.random(n) < rng.uniform(0.05, 0.95)
    scores = rng.random(n) + 0.5 * truth
    if rng.random() < 0.5:
        scores = numpy.floor(scores * 8) / 8
    if truth.all() or not truth.any():
        return
    rows = " ".join(f"{s!r} {int(t)}" for s, t in zip(scores.tolist(), truth))
    roc = numpy.column_stack(metrics.roc_curve(truth, scores))
    roc[0, 2] = numpy.inf  # older versions: the highest score and one
    questions.ask("ROC curve: points", f"roc {rows}", roc.ravel())
    try:
        precision, recall, thresholds = metrics.precision_recall_curve(truth, scores, drop_intermediate=True)
    except TypeError:
        return  # scikit-learn before 1.3 keeps all of them
    points = numpy.column_stack([recall, precision, numpy.append(thresholds, numpy.inf)])[::-1]
    questions.ask("precision-recall curve: points", f"pr {rows}", points.ravel())


def ask_statistics(rng, questions):
    a, b = int(rng.integers(0, 60)), int(rng.integers(0, 60))
    questions.ask("McNemar: p", f"mcnemar {a} {b}", [mcnemar(a, b)])
    t, df = rng.normal(0, 3), int(rng.integers(1, 30))
    questions.ask("Student: p", f"student {t!r} {df}", [2 * stats.t.sf(abs(t), df)], 1e-12)


def run_part(program, statistics, seed, sets):
    warnings.simplefilter("ignore")  # undefined figures are compared, not warned of
    differences, questions = Differences(), Questions()
    for i in sets:
        rng = numpy.random.default_rng([seed, i])
        compare_set(program, rng, f"set {i}", differences)
        ask_curve(rng, questions)
        ask_statistics(rng, questions)
    questions.check(statistics, differences)
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("statistics")
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=2021)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--markdown", help="write the table of largest differences to this file")
    arguments = parser.parse_args()
    differences, n = Differences(), arguments.processes
    parts = [(arguments.program, arguments.statistics, arguments.seed, range(i, arguments.sets, n)) for i in range(n)]
    with multiprocessing.Pool(n) as pool:
        for part in pool.starmap(run_part, parts):
            differences.merge(part)
    if arguments.markdown:
        Path(arguments.markdown).write_text("\n".join(differences.markdown()) + "\n", encoding="utf-8")
    else:
        print("\n".join(differences.markdown()))
    print(f"parity: scikit-learn {sklearn.__version__}, scipy {scipy.__version__}, seed {arguments.seed}: "
          f"{arguments.sets} sets, {sum(row[0] for row in differences.rows.values())} figures, "
          f"{differences.failures} beyond the tolerance")
    return 1 if differences.failures else 0


if __name__ == "__main__":
    sys.exit(main())
