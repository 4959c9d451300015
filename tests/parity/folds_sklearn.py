#!/usr/bin/env python3
"""Folds by patient beside scikit-learn's StratifiedGroupKFold: how evenly both spread every class.

usage: folds_sklearn.py PATH/TO/deal_folds [--manifests N] [--seed N]

Exit code 77 where scikit-learn is not installed. The figure is what StratifiedGroupKFold itself goes by: the standard
deviation over folds of a class's share of its images, mean over classes. Manifests are of two kinds: "mixed", where
every patient has several classes in shares of its own, and "rare", where most patients have one or two classes.
Patients have log-normal numbers of images. Passes when the mean over all manifests is no worse than scikit-learn's in
each kind. Manifests that cannot be split (a class of fewer patients than folds) are left out for both and counted.
"""
import argparse
import subprocess
import sys

try:
    import numpy
    import sklearn
    from sklearn.model_selection import StratifiedGroupKFold
except ImportError as error:
    print(f"parity: skipped: {error}")
    sys.exit(77)


def random_manifest(rng, kind):
    """folds, labels, patients."""
    n_classes, n_patients = int(rng.integers(2, 13)), int(rng.integers(15, 121))
    spread = 0.5 if kind == "mixed" else 0.08
    frequency = rng.dirichlet(numpy.full(n_classes, 2.0))
    sizes = numpy.ceil(rng.lognormal(2.5, 1.0, n_patients)).astype(int)
    labels = [rng.choice(n_classes, size, p=rng.dirichlet(spread * n_classes * frequency + 1e-3)) for size in sizes]
    patients = numpy.repeat(numpy.arange(n_patients), sizes)
    return int(rng.integers(2, 7)), numpy.concatenate(labels), patients


def spread_of(labels, folds, n_folds):
    counts = numpy.zeros((labels.max() + 1, n_folds))
    numpy.add.at(counts, (labels, folds), 1)
    counts = counts[counts.sum(1) > 0]
    return (counts / counts.sum(1, keepdims=True)).std(1).mean()


def sklearn_spread(n_folds, labels, patients, **options):
    folds = numpy.empty(len(labels), int)
    for fold, (_, test) in enumerate(StratifiedGroupKFold(n_folds, **options).split(labels, labels, patients)):
        folds[test] = fold
    return spread_of(labels, folds, n_folds)


def best_of_sklearn(n_folds, labels, patients, seed):
    """With shuffle=True some versions spread classes far worse than without: the better of both counts."""
    return min(sklearn_spread(n_folds, labels, patients),
               sklearn_spread(n_folds, labels, patients, shuffle=True, random_state=seed))


def our_folds(program, manifests):
    """An array of folds for each manifest; None where it was refused."""
    text = []
    for seed, (n_folds, labels, patients) in enumerate(manifests):
        text.append(f"{n_folds} {seed} {len(labels)} {labels.max() + 1} {patients.max() + 1}")
        text += [f"{label} {patient}" for label, patient in zip(labels, patients)]
    run = subprocess.run([program], input="\n".join(text), capture_output=True, text=True, check=False)
    lines = run.stdout.splitlines()
    if run.returncode != 0 or len(lines) != len(manifests):
        raise SystemExit(f"parity: {program}: exit code {run.returncode}, {len(lines)} lines: {run.stderr}")
    return [None if line.startswith("refused") else numpy.array(line.split(), int) for line in lines]


def assert_whole(folds, patients, where):
    for patient in numpy.unique(patients):
        if len(set(folds[patients == patient])) != 1:
            raise SystemExit(f"parity: {where}: patient {patient} stands in several folds")


def compare(program, kind, arguments):
    rng = numpy.random.default_rng([arguments.seed, len(kind)])
    manifests = [random_manifest(rng, kind) for _ in range(arguments.manifests)]
    ours, theirs = [], []
    for i, ((n_folds, labels, patients), folds) in enumerate(zip(manifests, our_folds(program, manifests))):
        if folds is None:
            continue
        assert_whole(folds, patients, f"{kind} manifest {i}")
        ours.append(spread_of(labels, folds, n_folds))
        theirs.append(best_of_sklearn(n_folds, labels, patients, i))
    ours, theirs = numpy.array(ours), numpy.array(theirs)
    print(f"parity: {kind}: {len(ours)} manifests, {len(manifests) - len(ours)} cannot be split; spread of class shares, "
          f"mean: cytofold {ours.mean():.4f}, scikit-learn {theirs.mean():.4f}; median {numpy.median(ours):.4f}, "
          f"{numpy.median(theirs):.4f}; worst {ours.max():.4f}, {theirs.max():.4f}; "
          f"no worse in {100 * (ours <= theirs + 1e-12).mean():.1f} %")
    if len(ours) < arguments.manifests / 4:
        raise SystemExit("parity: too few manifests can be split to say anything")
    return ours.mean() <= theirs.mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--manifests", type=int, default=200)
    parser.add_argument("--seed", type=int, default=2021)
    arguments = parser.parse_args()
    print(f"parity: scikit-learn {sklearn.__version__}, seed {arguments.seed}")
    fine = [compare(arguments.program, kind, arguments) for kind in ("mixed", "rare")]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
