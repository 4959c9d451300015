#!/usr/bin/env python3
"""sweep.html in a real browser. usage: sweep.py PROGRAM [SWEEP.html [SCREENSHOTS]]

Makes a sweep of three tiny points of phantom cells (synthetic), one of which diverges, or takes the page given. The
checks are those of page.py that a sweep's page has something for, and that links lead to the points' own pages.
Without Chromium: exit 77, which ctest reports as skipped.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import driver
import folder
import page

TINY = pathlib.Path(page.HERE, "..", "mpi", "tiny.yaml")
SWEEP = """
sweep:
  train.learning_rate: [2e-3, 1e-2, 1e30]
"""
DIVERGED = 7  # the exit code


def make(program, work):
    folder.run(program, "synth", "-o", "phantoms", "--images", "126", "--size", "32", "--scheme", "bm7", "--seed", "5",
               cwd=work)
    folder.run(program, "pack", "phantoms", "--scheme", "bm7", "-o", "cells.cells", cwd=work)
    pathlib.Path(work, "sweep.yaml").write_text(TINY.read_text(encoding="utf-8") + SWEEP, encoding="utf-8")
    trained = subprocess.run([program, "train", "sweep.yaml", "--run", "sweep", "--workers", "1",
                              "--set", "data.cells=cells.cells", "--set", "run.device=cpu", "--set", "train.epochs=2",
                              "--set", "train.schedule=constant"],
                             cwd=work, capture_output=True, text=True, check=False)
    if trained.returncode != DIVERGED:
        sys.exit(f"train: exit {trained.returncode}, expected {DIVERGED}\n{trained.stderr}")
    folder.run(program, "report", "sweep", cwd=work)
    return os.path.join(work, "sweep", "sweep.html")


def links_lead_to_points(b):
    """Every link into another folder, and the page behind the first one."""
    targets = b.run("return Array.from(document.querySelectorAll('main a')).map(a => a.href)")
    paths = [pathlib.Path(target.removeprefix("file://")) for target in targets]
    if not paths:
        return ["no links to points"]
    return [f"{path} is not there" for path in paths if not path.is_file()]


def unfinished_is_said(b):
    """Rows of figures and the names of the others are together all points."""
    ranked = b.run("return document.querySelectorAll('#summary tbody tr').length")
    told = b.run("const p = document.getElementById('unfinished'); return p ? p.textContent : ''")
    failed = b.run("return Array.from(document.querySelectorAll('.failed')).map(p => p.textContent)")
    title = b.run("return document.querySelector('h1').textContent")
    others = re.findall(r"point-[0-9]+", told)
    faults = [] if f"of {ranked + len(others)} points" in title else [f"{title}: {ranked} rows, others: {told}"]
    return faults + [f"not among the unfinished: {text}" for text in failed if text.split(" ")[0] not in others]


def last_column(b, section):
    return b.run("return document.querySelector(`${arguments[0]} thead tr`).cells.length - 1", section)


def check(programs, url, out):
    with driver.Browser(programs) as b:
        b.open(url)
        faults = unfinished_is_said(b) + links_lead_to_points(b)
        for section, column in (("#summary", last_column(b, "#summary")), ("#differences", 2)):
            faults += page.table_sorts_by_click(b, section, column)
            faults += page.table_sorts_by_keyboard(b, section, column)
        faults += page.look(b, out, texts=30) + page.page_prints(b, out)
        return faults + page.console_is_silent(b) + page.nothing_is_requested(b, url)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    programs, reason = driver.find()
    if programs is None:
        print(reason)
        return page.SKIP
    out = sys.argv[3] if len(sys.argv) > 3 else None
    with tempfile.TemporaryDirectory() as work:
        html = sys.argv[2] if len(sys.argv) > 2 else make(os.path.abspath(sys.argv[1]), work)
        faults = check(programs, pathlib.Path(html).resolve().as_uri(), out)
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
