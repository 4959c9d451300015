#!/usr/bin/env python3
"""Two sets of predictions as a user compares them: `score --against`, `report --against`, intervals by patient.

usage: compare.py PROGRAM. Predictions are made up here, by hand: synthetic, and right as often as stated.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = sys.argv[1]
SCHEME = "name: ab\nclasses:\n  - {code: A}\n  - {code: B}\n"


def rows(images, wrong, fold=None, patient=False):
    """Image i is A where it is even, said wrongly where i is in `wrong`; four images of each patient."""
    lines = ["id,fold,label,predicted,p_A,p_B" + (",patient" if patient else "")]
    for i in images:
        label, said = i % 2, (i + (i in wrong)) % 2
        lines.append(f"image-{i},{i % 5 if fold is None else fold},{'AB'[label]},{'AB'[said]},"
                     f"{0.9 if said == 0 else 0.1},{0.1 if said == 0 else 0.9}" + (f",P{i // 4}" if patient else ""))
    return "\n".join(lines) + "\n"


def run(*arguments, code=0, says=""):
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != code or says not in done.stderr:
        raise SystemExit(f"FAILED: {' '.join(map(str, arguments))}: exit {done.returncode}, expected {code}; "
                         f"expected '{says}' in:\n{done.stderr}")
    return done.stdout


def expect(what, found, expected):
    if found != expected:
        raise SystemExit(f"FAILED: {what}: found {found}, expected {expected}")


def files_are_compared(folder):
    (folder / "a.csv").write_text(rows(range(100), {1, 2, 3}), encoding="utf-8")
    (folder / "b.csv").write_text(rows(range(20, 120), set(range(20, 100, 4))), encoding="utf-8")
    scheme = ["--scheme", folder / "s.yaml"]
    found = json.loads(run("score", folder / "a.csv", *scheme, "--against", folder / "b.csv", "--json",
                           "-o", folder / "c.json", says="over the 80 images of both"))
    expect("compare.json", json.loads((folder / "c.json").read_text(encoding="utf-8")), found)
    expect("images", [found[k] for k in ("images", "only_a", "only_b")], [80, 20, 20])
    expect("McNemar", [found["mcnemar"][k] for k in ("only_a_right", "only_b_right", "exact")], [20, 0, True])
    expect("p of McNemar", found["mcnemar"]["p"], 2 / 2 ** 20)
    expect("accuracies", [found["accuracy"][k] for k in "ab"], [1, 0.75])
    expect("folds", found["folds"]["n_folds"], 5)
    page = run("score", folder / "a.csv", *scheme, "--against", folder / "b.csv")
    expect("page", "McNemar: 20 images only A has right, 0 only B" in page, True)
    (folder / "bad.csv").write_text(rows(range(100), set()).replace("image-7,2,B,B,0.1,0.9", "image-7,2,A,B,0.1,0.9"),
                                    encoding="utf-8")
    run("score", folder / "a.csv", *scheme, "--against", folder / "bad.csv", code=3,
        says='image "image-7" is labelled B in A and A in B')


def run_folder(folder, name, wrong):
    for fold in range(2):
        path = folder / name / f"fold-{fold}"
        path.mkdir(parents=True)
        (path / "predictions.csv").write_text(rows(range(30 * fold, 30 * fold + 30), wrong, fold), encoding="utf-8")
    (folder / name / "scheme.yaml").write_text(SCHEME, encoding="utf-8")


def runs_are_compared(folder):
    run_folder(folder, "one", {0, 31})
    run_folder(folder, "two", set(range(0, 60, 5)))
    page = run("report", folder / "one", "--against", folder / "two")
    expect("compare.md", (folder / "one" / "compare.md").read_text(encoding="utf-8"), page)
    found = json.loads((folder / "one" / "compare.json").read_text(encoding="utf-8"))
    expect("by image for want of the cells file", found["cells_missing"], True)
    expect("and it is said", "by image; patients are not known: the run's cells file is not there" in page, True)
    expect("difference", round(found["accuracy"]["difference"], 12), round(58 / 60 - 48 / 60, 12))
    expect("other files", sorted(p.name for p in (folder / "one").iterdir()),
           ["compare.json", "compare.md", "fold-0", "fold-1", "scheme.yaml"])
    run("report", folder / "one", "--against", folder / "none", code=3, says="none")
    few = json.loads(run("report", folder / "one", "--against", folder / "two", "--bootstrap", "99", "--json"))
    expect("resamples", few["resamples"], 99)
    page = run("report", folder / "one", "--bootstrap", "0")
    expect("no intervals", "95 %" in page, False)
    expect("none in the JSON", json.loads((folder / "one" / "metrics.json").read_text(encoding="utf-8"))["interval"],
           None)
    expect("none on the page", "95 %" in (folder / "one" / "report.html").read_text(encoding="utf-8"), False)
    expect("resamples of the run",
           json.loads(run("report", folder / "one", "--bootstrap", "16", "--json"))["interval"]["resamples"], 16)
    run("report", folder / "one", "--bootstrap", "-1", code=2, says="bootstrap")
    (folder / "points").mkdir()
    (folder / "points" / "sweep.yaml").write_text("sweep:\n  train.seed: [1, 2]\n", encoding="utf-8")
    run("report", folder / "points", "--bootstrap", "9", code=2, says="follows from the number of its points")


def intervals_go_by_patient(folder):
    (folder / "p.csv").write_text(rows(range(100), {1, 2, 3, 50}, patient=True), encoding="utf-8")
    base = ["score", folder / "p.csv", "--scheme", folder / "s.yaml", "--json"]
    interval = json.loads(run(*base))["interval"]
    expect("unit", [interval[k] for k in ("unit", "units", "resamples")], ["patient", 25, 1000])
    expect("ends", interval["low"]["accuracy"] < 0.96 < interval["high"]["accuracy"], True)
    expect("again", json.loads(run(*base))["interval"], interval)
    expect("none", json.loads(run(*base, "--bootstrap", "0"))["interval"], None)
    run(*base, "--bootstrap", "-1", code=2, says="bootstrap")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "s.yaml").write_text(SCHEME, encoding="utf-8")
        files_are_compared(folder)
        runs_are_compared(folder)
        intervals_go_by_patient(folder)
    print("compare: all as expected")


if __name__ == "__main__":
    main()
