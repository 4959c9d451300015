#!/usr/bin/env python3
"""Draws the README's picture from a run folder: confusion matrix in percent of the true class beside
precision and recall (mean, and SD over folds as a line), as one SVG.

usage: draw_result.py RUN_FOLDER OUT.svg
"""
import csv
import json
import os
import sys

CELL, LEFT, TOP, BARS = 52, 60, 66, 210
INK, MUTED, PRECISION, RECALL = "#1f2430", "#6b7280", "#4b5fa8", "#b0567f"


def shade(share):
    """White to deep violet, as a stained nucleus; monotone in lightness, so that it reads in grey."""
    low, high = (250, 247, 252), (74, 32, 110)
    return "#%02x%02x%02x" % tuple(round(a + (b - a) * share ** 0.7) for a, b in zip(low, high))


def read(folder):
    with open(os.path.join(folder, "confusion.csv"), encoding="utf-8") as file:
        rows = list(csv.reader(file))
    codes = rows[0][1:]
    counts = [[int(cell) for cell in row[1:]] for row in rows[1:]]
    with open(os.path.join(folder, "table.csv"), encoding="utf-8") as file:
        table = {row["code"]: row for row in csv.DictReader(file)}
    with open(os.path.join(folder, "metrics.json"), encoding="utf-8") as file:
        return codes, counts, table, json.load(file)


def text(x, y, words, size=13, anchor="middle", fill=INK, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}" '
            f'font-weight="{weight}">{words}</text>')


def matrix(codes, counts):
    out = []
    for i, row in enumerate(counts):
        total = sum(row) or 1
        y = TOP + i * CELL
        out.append(text(LEFT - 10, y + CELL / 2 + 5, codes[i], anchor="end", weight="bold"))
        out.append(text(LEFT + (i + 0.5) * CELL, TOP - 10, codes[i], weight="bold"))
        for j, count in enumerate(row):
            share = count / total
            out.append(f'<rect x="{LEFT + j * CELL}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" rx="3" '
                       f'fill="{shade(share)}"><title>{codes[i]} called {codes[j]}: {count}</title></rect>')
            if round(100 * share) > 0:
                fill = "#ffffff" if share > 0.35 else INK
                out.append(text(LEFT + (j + 0.5) * CELL - 1, y + CELL / 2 + 5, round(100 * share), fill=fill))
    return out


def bars(codes, table, x):
    out = [text(x, TOP - 10, "precision", anchor="start", fill=PRECISION, weight="bold"),
           text(x + 76, TOP - 10, "recall", anchor="start", fill=RECALL, weight="bold")]
    for i, code in enumerate(codes):
        for k, (name, color) in enumerate((("precision", PRECISION), ("recall", RECALL))):
            mean, sd = (float(table[code][f"{name}_strict_{part}"]) for part in ("mean", "sd"))
            y = TOP + i * CELL + 9 + 18 * k
            out.append(f'<rect x="{x}" y="{y}" width="{mean * BARS:.1f}" height="14" rx="2" fill="{color}"/>')
            out.append(f'<path d="M{x + (mean - sd) * BARS:.1f} {y + 7}h{2 * sd * BARS:.1f}" stroke="{INK}" '
                       'stroke-width="1.5"/>')
            out.append(text(x + BARS + 44, y + 11.5, f"{mean:.2f}", size=12, anchor="end", fill=color))
    return out


def main(folder, path):
    codes, counts, table, metrics = read(folder)
    n = len(codes)
    right = LEFT + n * CELL + 36
    width, height = right + BARS + 60, TOP + n * CELL + 34
    mean, sd = metrics["mean"], metrics["sd"]
    title = (f'{metrics["images"]:,} cells, {metrics["n_folds"]} folds: accuracy {mean["accuracy"]:.3f} ± '
             f'{sd["accuracy"]:.3f}, macro F1 {mean["macro_f1"]:.3f} ± {sd["macro_f1"]:.3f}')
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
             f'height="{height}" font-family="Helvetica, Arial, sans-serif">',
             f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
             text(LEFT, 26, title, size=16, anchor="start", weight="bold")]
    parts += matrix(codes, counts) + bars(codes, table, right)
    parts.append(text(LEFT, height - 12, "rows: truth, columns: prediction; percent of the true class, all folds "
                      "together", size=12, anchor="start", fill=MUTED))
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(parts + ["</svg>", ""]))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
