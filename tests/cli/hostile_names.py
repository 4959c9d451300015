"""The files of a run with hostile names, as other programs read them.   hostile_names.py CODE...

In the folder of the test: run/ and what inspect and score printed as JSON. Every CSV parses and has no cell
that a spreadsheet would run; Markdown has no tag, no link and no column of its own; JSON parses and holds the
codes as they are.
"""
import csv
import glob
import json
import re
import sys

codes = sys.argv[1:]
faults = []


def require(condition, what):
    if not condition:
        faults.append(what)


def is_number(cell):
    return re.fullmatch(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell) is not None


def check_csv(path):
    with open(path, newline="", encoding="utf-8") as f:
        rows = list(csv.reader(f))
    require(len(rows) > 1, f"{path}: no rows")
    for line, row in enumerate(rows, 1):
        require(len(row) == len(rows[0]), f"{path}:{line}: {len(row)} cells, expected {len(rows[0])}")
        for cell in row:
            formula = cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not is_number(cell)
            require(not formula, f"{path}:{line}: a formula: {cell!r}")
    return rows


def check_markdown(path):
    text = open(path, encoding="utf-8").read()
    require("<script" not in text and "</td" not in text, f"{path}: a tag")
    require(not re.search(r"(?<!\\)\[l\]\(u\)", text), f"{path}: a link")
    columns = None
    for line, row in enumerate(text.splitlines(), 1):
        n = len(re.findall(r"(?<!\\)\|", row))
        if not row.startswith("|"):
            columns = None
            continue
        columns = columns or n
        require(n == columns, f"{path}:{line}: {n} bars, expected {columns}")


def strings(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


tables = sorted(glob.glob("run/**/*.csv", recursive=True)) + ["folds.csv"]
require(len(tables) >= 7, f"only {tables}")
seen = {cell.removeprefix("'") for path in tables for row in check_csv(path) for cell in row}
for code in codes:
    require(code in seen, f"{code!r} is in no CSV file")
pages = glob.glob("run/**/*.md", recursive=True)
require(pages, "no Markdown")
for path in pages:
    check_markdown(path)
for path in ["run/metrics.json", "inspect.json", "score.json"]:
    found = set(strings(json.load(open(path, encoding="utf-8"))))
    for code in codes:
        require(code in found, f"{path}: {code!r} is not there")
for line in open("run/log.jsonl", encoding="utf-8"):
    json.loads(line)
print(f"{len(tables)} CSV files, {len(pages)} of Markdown, {len(codes)} codes", *faults, sep="\n")
sys.exit(bool(faults))
