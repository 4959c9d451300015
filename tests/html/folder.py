"""A run folder for trying its report: phantom cells (synthetic), and made-up predictions of two folds and two sites,
with names that try to be markup."""
import csv
import json
import math
import os
import random
import subprocess

CODES = ["AAA", "BBB", "CCC"]
SCHEME = """name: trial
title: "Trial <script>document.title='broken'</script> & more"
citation: "Nobody \\"et al.\\" <b>2026</b>"
published_source: "A paper <i>of note</i>"
classes:
  - code: AAA
    name: "<img src=x onerror=alert(1)>"
    published:
      precision_strict: [0.9, 0.02]
      recall_strict: [0.8, 0.03]
  - code: BBB
    name: "=cmd()|' /C calc'!A0"
  - code: CCC
    name: "Größe & 血球 \\"quoted\\""
tolerance:
  - [AAA, BBB]
questions:
  "first <b>": [AAA]
"""
IMAGES = 60


def run(program, *arguments, cwd):
    subprocess.run([program, *arguments], cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def make_cells(program, folder):
    """Ids and classes of the packed phantoms. One id has a name that tries to be markup."""
    run(program, "synth", "-o", "phantoms", "--images", str(IMAGES), "--size", "48", "--scheme", "bm7", "--seed", "3",
        cwd=folder)
    files = sorted(os.path.join(where, name) for where, _, names in os.walk(os.path.join(folder, "phantoms"))
                   for name in names if name.endswith((".png", ".jpg")))
    rows = []
    for i, path in enumerate(files):
        name = f"cell-{i}.png" if i else "<script>alert(1)<script>.png"
        code = CODES[i % len(CODES)]
        os.makedirs(os.path.join(folder, "images", code), exist_ok=True)
        os.rename(path, os.path.join(folder, "images", code, name))
        rows.append((f"{code}/{name}", code))
    with open(os.path.join(folder, "scheme.yaml"), "w", encoding="utf-8") as file:
        file.write(SCHEME)
    run(program, "pack", "images", "--scheme", "scheme.yaml", "-o", "trial.cells", cwd=folder)
    return rows


def probabilities(draw, label):
    values = [math.exp(draw.gauss(1.2 if code == label else 0, 1)) for code in CODES]
    return [value / sum(values) for value in values]


def make_predictions(folder, rows, draw):
    """embed.csv and fold-K/predictions.csv; the first image is the most confident error."""
    places = []
    for fold in range(2):
        os.makedirs(os.path.join(folder, f"fold-{fold}"))
        with open(os.path.join(folder, f"fold-{fold}", "predictions.csv"), "w", encoding="utf-8", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(["id", "site", "fold", "label", "predicted"] + [f"p_{code}" for code in CODES])
            for i, (name, label) in enumerate(rows):
                if i % 2 != fold:
                    continue
                p = [0.01, 0.98, 0.01] if i == 0 else probabilities(draw, label)
                called = CODES[p.index(max(p))]
                site = "north <b>" if i % 4 < 2 else "south"
                out.writerow([name, site, fold, label, called] + [f"{value:.9f}" for value in p])
                places.append((name, fold, label, called, p[0] + draw.gauss(0, .05), p[1] + draw.gauss(0, .05)))
    with open(os.path.join(folder, "embed.csv"), "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["id", "fold", "label", "predicted", "x", "y"])
        out.writerows(places)


def make_log(folder):
    with open(os.path.join(folder, "log.jsonl"), "w", encoding="utf-8") as file:
        for fold in range(2):
            for epoch in range(1, 9):
                line = {"event": "epoch", "seconds": epoch, "fold": fold, "epoch": epoch, "step": epoch,
                        "loss": 2 / (epoch + fold), "accuracy": 1 - 1 / (epoch + 1)}
                file.write(json.dumps(line) + "\n")


def make(program, folder, seed):
    """A run folder in `folder`, with report.html made by the program."""
    rows = make_cells(program, folder)
    make_predictions(folder, rows, random.Random(seed))
    make_log(folder)
    with open(os.path.join(folder, "run.yaml"), "w", encoding="utf-8") as file:
        file.write(f'# cytofold 0\n# configuration: 0123\ndata:\n  cells: "{folder}/trial.cells"\n')
    run(program, "report", ".", cwd=folder)
    return os.path.join(folder, "report.html")
