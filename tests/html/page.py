#!/usr/bin/env python3
"""report.html in a real browser. usage: page.py PROGRAM [REPORT.html [SCREENSHOTS]]

Makes a run folder of phantom cells (synthetic), or takes the report given; with a folder for screenshots it leaves
some there. Checks: nothing on the console, no request but the page itself, images that load, tables that sort by
click and by keyboard, the matrix's cursor, the map, headings, captions, contrast in light and dark, a printed PDF.
Without Chromium: exit 77, which ctest reports as skipped.
"""
import base64
import json
import os
import pathlib
import sys
import tempfile

import driver
import folder

SKIP, SEED = 77, 20261122
WIDTH, PHONE = 1366, 390  # px
TAB, ENTER, RIGHT, DOWN = "\ue004", "\ue007", "\ue014", "\ue015"
HERE = os.path.dirname(os.path.abspath(__file__))
LOOK = pathlib.Path(HERE, "page.js").read_text(encoding="utf-8")

FIRST_COLUMN = """const t = document.querySelector(arguments[0] + ' tbody');
return Array.from(t.rows).map(r => r.cells[0].textContent)"""
COLUMN = """const t = document.querySelector(arguments[0] + ' tbody');
return Array.from(t.rows).map(r => r.cells[arguments[1]].dataset.v)"""


def console_is_silent(b):
    return [f"console: {entry['message']}" for entry in b.logs("browser") if entry["level"] in ("SEVERE", "WARNING")]


def nothing_is_requested(b, url):
    faults = []
    for entry in b.logs("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] != "Network.requestWillBeSent":
            continue
        asked = message["params"]["request"]["url"]
        if asked.split("#")[0] != url and not asked.startswith("data:"):
            faults.append(f"asks for {asked[:100]}")
    return faults


def images_load(b):
    b.run("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
    widths = b.post("/execute/async", {"args": [], "script": """
const done = arguments[arguments.length - 1], all = Array.from(document.images);
Promise.all(all.map(i => i.decode().catch(() => 0))).then(() => done(all.map(i => i.naturalWidth)))"""})
    if not widths:
        return ["no image in the page"]
    return [f"{widths.count(0)} of {len(widths)} images do not load"] if 0 in widths else []


def is_sorted(values, falling):
    known = [float(v) for v in values if v]
    return known == sorted(known, reverse=falling) and all(values[:len(known)])


def table_sorts_by_click(b, section="#classes", column=3):
    faults = []
    before = b.run(FIRST_COLUMN, section)
    for falling, direction in ((True, "descending"), (False, "ascending")):
        b.run("document.querySelectorAll(`${arguments[0]} thead button`)[arguments[1]].click()", section, column)
        values = b.run(COLUMN, section, column)
        if not is_sorted(values, falling):
            faults.append(f"click: column {column} is not {direction}: {values}")
        state = b.run("return document.querySelectorAll(`${arguments[0]} thead th`)[arguments[1]]"
                      ".getAttribute('aria-sort')", section, column)
        if state != direction:
            faults.append(f"click: aria-sort is {state}, expected {direction}")
    b.run("document.querySelector(`${arguments[0]} thead button`).click()", section)
    if sorted(b.run(FIRST_COLUMN, section)) != sorted(before):
        faults.append("click: rows were lost")
    return faults


def table_sorts_by_keyboard(b, section="#classes", column=3):
    """The tab key alone leads to the header, Enter sorts."""
    b.run("document.activeElement.blur(); window.scrollTo(0, 0); document.querySelector('.skip').focus()")
    for _ in range(60):
        b.press(TAB)
        if b.run("const a = document.activeElement; return a.tagName === 'BUTTON' && !!a.closest(arguments[0] + ' thead')"
                 " && a.closest('th').cellIndex === arguments[1]", section, column):
            break
    else:
        return [f"keyboard: 60 tabs do not lead to the header of {section}"]
    style = b.run("const s = getComputedStyle(document.activeElement); return s.outlineStyle + ' ' + s.outlineWidth")
    faults = [] if style.startswith("solid") else [f"keyboard: the focus cannot be seen ({style})"]
    b.press(ENTER)
    if not is_sorted(b.run(COLUMN, section, column), True):
        faults.append("keyboard: Enter does not sort")
    return faults


def matrix_tells_counts(b):
    b.run("document.querySelector('.confusion td[tabindex=\"0\"]').focus()")
    first = b.run("return document.getElementById('cell').textContent")
    b.press(RIGHT, DOWN)
    second = b.run("return document.getElementById('cell').textContent")
    at = b.run("const a = document.activeElement; return [a.parentNode.sectionRowIndex, a.cellIndex]")
    faults = [] if at == [1, 2] else [f"matrix: the arrows lead to {at}, expected [1, 2]"]
    count = b.run("return document.activeElement.dataset.n")
    if f": {count} image" not in second or " %" not in second or first == second:
        faults.append(f"matrix: cell of {count} says: {second}")
    stops = b.run("return document.querySelectorAll('.confusion td[tabindex=\"0\"]').length")
    return faults if stops == 1 else faults + [f"matrix: {stops} stops for the tab key, expected one"]


def map_shows_cells(b):
    if not b.run("return !!document.getElementById('map-canvas')"):
        return []
    b.run("document.getElementById('map-canvas').focus()")
    b.press(RIGHT)
    told = b.run("return document.getElementById('map-status').textContent")
    faults = [] if "label " in told else [f"map: the first point says: {told}"]
    if not b.run("const i = document.querySelector('.map .tip img'); return !!i && i.naturalWidth > 0"):
        faults.append("map: no picture of the first point")
    colors = b.run("""const c = document.getElementById('map-canvas'), s = new Set();
const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
for (let i = 0; i < d.length; i += 4) s.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]);
return s.size""")
    return faults if colors > 5 else faults + [f"map: {colors} colours"]


def series_can_be_picked(b):
    b.run("document.querySelector('#plot-roc .pick button').click()")
    shown = b.run("""return Array.from(document.querySelectorAll('#plot-roc g.series')).map(
g => Number(getComputedStyle(g).opacity))""")
    b.run("document.querySelector('#plot-roc .pick button').click()")
    return [] if 1 in shown and min(shown) < 0.5 else [f"series: opacities {shown} with one picked"]


def page_prints(b, out):
    pdf = base64.b64decode(b.post("/print", {"background": False}))
    if out:
        pathlib.Path(out, "print.pdf").write_bytes(pdf)
    pages = pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ")
    return [] if pdf.startswith(b"%PDF") and len(pdf) > 20000 else [f"print: {len(pdf)} bytes, {pages} pages"]


def emulate(b, scheme):
    b.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


def shoot(b, out, name, width=WIDTH, height=900, whole=False):
    if not out:
        return
    b.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
              mobile=width < 600)
    shot = b.command("Page.captureScreenshot", captureBeyondViewport=whole)
    pathlib.Path(out, f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def look(b, out, texts=100):
    """Contrast and structure, in light and dark, on a laptop and on a phone; texts: at least so many."""
    faults = []
    for scheme in ("light", "dark"):
        emulate(b, scheme)
        faults += [f"{scheme}: {fault}" for fault in b.run(LOOK, "contrast", WIDTH, texts)]
        shoot(b, out, scheme, whole=True)
    emulate(b, "light")
    faults += b.run(LOOK, "structure", WIDTH)
    b.command("Emulation.setDeviceMetricsOverride", width=PHONE, height=844, deviceScaleFactor=1, mobile=True)
    faults += [f"phone: {fault}" for fault in b.run(LOOK, "structure", PHONE)]
    shoot(b, out, "phone", PHONE, 844, whole=True)
    b.command("Emulation.clearDeviceMetricsOverride")
    return faults


def check(programs, page, out):
    url = pathlib.Path(page).resolve().as_uri()
    with driver.Browser(programs) as b:
        b.open(url)
        faults = images_load(b) + table_sorts_by_click(b) + table_sorts_by_keyboard(b) + matrix_tells_counts(b)
        faults += map_shows_cells(b) + series_can_be_picked(b) + look(b, out) + page_prints(b, out)
        return faults + console_is_silent(b) + nothing_is_requested(b, url)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    programs, reason = driver.find()
    if programs is None:
        print(reason)
        return SKIP
    out = sys.argv[3] if len(sys.argv) > 3 else None
    with tempfile.TemporaryDirectory() as work:
        if len(sys.argv) > 2:
            page = sys.argv[2]
        else:
            print(f"seed {SEED}")
            page = folder.make(os.path.abspath(sys.argv[1]), work, SEED)
        faults = check(programs, page, out)
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
