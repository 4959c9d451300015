#!/usr/bin/env python3
"""The confusion of another centre's labels with a run's classes, as a table and as pictures.   label_sets.py PROGRAM

Phantom cells (synthetic) whose folders bear names that a spreadsheet or a browser would obey. Counts are compared
with those of the predictions file itself.
"""
import collections
import csv
import os
import struct
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from pathlib import Path

PROGRAM = os.path.abspath(sys.argv[1])
TINY = Path(__file__).resolve().parent.parent / "mpi" / "tiny.yaml"
ENVIRONMENT = dict(os.environ, LC_ALL="C.UTF-8", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
LONG = "Größe, die auf beiden Seiten länger ist, als dort steht"  # of this both ends are drawn
LABELS = {"=cmd()": "BLA", "<script>x": "EOS", 'a"b,c': "LYT", "\u202eright": "MON", LONG: "NGS", "NIF": "NIF",
          "PMO": None}  # the last: no class here


def run(*words, code=0):
    done = subprocess.run([PROGRAM, *map(str, words)], env=ENVIRONMENT, capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == code, f"{words}: exit {done.returncode}, expected {code}: {done.stderr}"
    return done


def make_run():
    run("synth", "-o", "phantoms", "--images", 42, "--size", 32, "--scheme", "bm7")
    run("pack", "phantoms", "--scheme", "bm7", "-o", "c.cells")
    run("train", TINY, "--run", "run", "--workers", 1, "--set", "data.cells=c.cells", "--set", "train.epochs=1",
        "--set", "train.warmup_epochs=0", "--set", "train.evaluate_every=0")


def make_source():
    os.mkdir("other")
    folders = sorted(p for p in Path("phantoms").iterdir() if p.is_dir())
    assert len(folders) == len(LABELS), folders
    for folder, label in zip(folders, LABELS):
        folder.rename(Path("other") / label)
    with open("map.yaml", "w", encoding="utf-8") as out:
        for label, code in LABELS.items():
            out.write("'%s': %s\n" % (label, code or "~"))


def check_table():
    with open("t.csv", newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    with open("p.csv", newline="", encoding="utf-8") as f:
        predictions = list(csv.DictReader(f))
    counts = collections.defaultdict(collections.Counter)
    for row in predictions:
        label = next(name for name in LABELS if f"/{name}/" in f"/{row['id']}".replace("'=", "="))
        counts[label][row["predicted"]] += 1
    plain = {row["label"].removeprefix("'"): row for row in rows}
    assert set(plain) == set(LABELS), list(plain)
    for label, row in plain.items():
        n = sum(counts[label].values())
        assert row["label"][:1] not in "=+-@", f"a formula: {row['label']}"
        assert row["class"] == (LABELS[label] or ""), row
        assert int(row["images"]) == n and int(row["no_confident"]) == counts[label]["NIF"], row
        assert abs(float(row["share_no_confident"]) * n - counts[label]["NIF"]) < 1e-6 * n, row
        for code in ("BLA", "EOS", "LYT", "MON", "NGS", "NIF", "PMO"):
            assert int(row[f"n_{code}"]) == counts[label][code], (label, code, row)
            assert abs(float(row[f"share_{code}"]) * n - counts[label][code]) < 1e-6 * n, row


def check_pictures():
    png = Path("t.png").read_bytes()
    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG\r\n") and width > 400 and height > 400, (width, height)
    tree = xml.etree.ElementTree.parse("t.svg")
    texts = {"".join(node.itertext()) for node in tree.iter() if node.tag.endswith("}text")}
    for wanted in ("=cmd() (BLA)", "<script>x (EOS)", "PMO (none)", "NIF", "no confident class",
                   f"{LONG[:17]}…{LONG[-17:]} (NGS)"):
        assert wanted in texts, f"{wanted} is not among {texts}"
    frames = [node for node in tree.iter() if node.tag.endswith("}path") and node.get("stroke")]
    assert len(frames) == sum(code is not None for code in LABELS.values()), f"{len(frames)} frames"
    assert not any(node.tag.endswith("}script") for node in tree.iter())


def main():
    make_run()
    make_source()
    ask = ("predict", "run", "other", "--class-map", "map.yaml", "-o", "p.csv")
    run(*ask, "--confusion", "t.csv", "--confusion", "t.png", "--confusion", "t.svg")
    check_table()
    check_pictures()
    assert "has to end in .csv, .png or .svg" in run(*ask, "--confusion", "t.pdf", code=2).stderr
    run(*ask, "--confusion", "missing/t.csv", code=5)
    print(f"{len(LABELS)} labels of another set: a table and two pictures")


with tempfile.TemporaryDirectory() as work:
    os.chdir(work)
    main()
    os.chdir("/")
