"""The files of a run with hostile names, as other programs read them.   hostile_names.py CODE...

In the folder of the test: run/ and what predict and score wrote and printed. Every CSV parses and has no cell
that a spreadsheet would run; Markdown has no tag, no link and no column of its own; JSON, SVG and TensorBoard's
files parse and hold the codes as they are; report.html shows them as text, and has no tag, handler or script
that came from a name.
"""
import csv
import glob
import html.parser
import json
import re
import sys
import xml.etree.ElementTree
from pathlib import Path

from event_files import read_ours

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
    require(text == shown(text), f"{path}: a mark that turns the text")
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


class Page(html.parser.HTMLParser):
    """What a browser would make of a page."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.texts, self.scripts, self.open_script = [], [], None

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            require(not name.startswith("on"), f"report.html: <{tag} {name}={value!r}>")
            require(not re.match(r"\s*javascript:", value or "", re.I), f"report.html: {tag} {value!r}")
            self.texts.append(value or "")
        if tag == "img":
            require(dict(attributes).get("src", "").startswith("data:image/"), "report.html: an image of a name")
        if tag == "script":
            self.open_script = ""

    def handle_endtag(self, tag):
        if tag == "script":
            self.scripts.append(self.open_script)
            self.open_script = None

    def handle_data(self, data):
        if self.open_script is None:
            self.texts.append(data)
        else:
            self.open_script += data

    def handle_comment(self, data):
        require(False, f"report.html: a comment: {data[:80]!r}")


def shown(name):
    """As pages and pictures show a name: marks that turn the direction of text are replaced."""
    return re.sub("[\u202a-\u202e\u2066-\u2069]", "\ufffd", name)


def check_page(path):
    page = Page()
    page.feed(open(path, encoding="utf-8").read())
    page.close()
    text = " ".join(page.texts)
    for code in codes:
        require(shown(code) in text, f"{path}: {code!r} is not shown")
    for script in page.scripts:
        require("alert(1)" not in script or json.loads(script), f"{path}: a name inside a script")


def check_svg(path):
    tree = xml.etree.ElementTree.parse(path)
    for node in tree.iter():
        require(not node.tag.endswith("}script"), f"{path}: a script")
        require(not any(name.startswith("on") for name in node.attrib), f"{path}: a handler: {node.attrib}")
    return " ".join("".join(node.itertext()) for node in tree.iter() if node.tag.endswith("}text"))


def check_events():
    for fold in glob.glob("run/fold-*"):
        tags = read_ours(next(iter(map(Path, glob.glob(f"{fold}/events*")))))
        for code in codes:
            require(f"f1/{code}" in tags, f"{fold}: no tag of {code!r}")


tables = sorted(glob.glob("run/**/*.csv", recursive=True)) + ["folds.csv", "predicted.csv", "labels.csv"]
require(len(tables) >= 7, f"only {tables}")
cells = {cell for path in tables for row in check_csv(path) for cell in row}
seen = cells | {cell.removeprefix("'") for cell in cells}
for code in codes:
    require(code in seen, f"{code!r} is in no CSV file")
pages = glob.glob("run/**/*.md", recursive=True) + ["raters.md"]
require(pages, "no Markdown")
for path in pages:
    check_markdown(path)
for path in ["run/metrics.json", "inspect.json", "score.json"]:
    found = set(strings(json.load(open(path, encoding="utf-8"))))
    for code in codes:
        require(code in found, f"{path}: {code!r} is not there")
for name in ("predict.json", "raters.json"):
    found = set(strings(json.load(open(name, encoding="utf-8"))))
    require("=cmd()" in found or "=rater()" in found, f"{name}: names are not there")
check_page("run/report.html")
drawings = glob.glob("run/plots/*.svg") + ["labels.svg"]
require(len(drawings) > 2, f"only {drawings}")
drawn = " ".join(check_svg(path) for path in drawings)
for code in codes:
    require(shown(code) in drawn, f"{code!r} is in no SVG")
check_events()
for line in open("run/log.jsonl", encoding="utf-8"):
    json.loads(line)
print(f"{len(tables)} CSV files, {len(pages)} of Markdown, {len(drawings)} of SVG, {len(codes)} codes", *faults, sep="\n")
sys.exit(bool(faults))
