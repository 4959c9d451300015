#!/usr/bin/env python3
"""One JSON and one Markdown file from what the steps of launch/gpu-check.sh left in their folder.

Device, driver and library versions stand in both. A step that failed leaves its part out; nothing is filled in.
With --device none (a rehearsal on the CPU) the files have the same shape and say so.
"""
import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys

# MB of device memory traffic an image and step of ResNeXt-50 32x4d at 250x250 in 16 bits, batch 256, when this
# much is fused; counted layer by layer over the network's tensors.
FUSION = [("nothing", 774), ("batch norm + add + ReLU in one pass", 600),
          ("+ sums in the convolution", 485), ("+ batch norm in the next convolution's prologue", 393),
          ("+ 1x1 outputs of stages 1-2 not stored", 299)]
GFLOP_PER_IMAGE = 32.9
# The marrow protocol: 21 classes of 25,000 draws an epoch, 13 epochs, five folds; tested once a fold.
DRAWS, IMAGES, PAPER_HOURS = 21 * 25000 * 13 * 5, 171374, 5 * 48


def run(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def load(results, name):
    try:
        with open(os.path.join(results, name), encoding="utf-8") as file:
            return json.load(file) if name.endswith(".json") else file.read()
    except (OSError, ValueError):
        return None


def device_facts(kind):
    if kind == "none":
        return {"name": "none"}
    keys = ["name", "driver_version", "compute_cap", "memory.total", "power.limit", "clocks.max.sm"]
    values = run("nvidia-smi", f"--query-gpu={','.join(keys)}", "--format=csv,noheader").splitlines()
    return dict(zip(keys, [v.strip() for v in values[0].split(",")])) if values else {"name": "unknown"}


def versions(build, bench):
    text = load(build, "cuda-versions.txt") or ""
    found = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    found["cytofold"] = run(os.path.join(build, "launch/cytofold"), "--help").split(":")[0].removeprefix("cytofold ")
    here = os.path.dirname(os.path.abspath(__file__))
    found["commit"] = run("git", "-C", here, "rev-parse", "--short", "HEAD") or None
    found["torch"] = (bench or {}).get("torch")
    found["python"], found["system"] = platform.python_version(), platform.platform()
    found["cpu_cores"] = os.cpu_count()
    return found


def read_steps(results):
    steps = []
    for line in (load(results, "steps.tsv") or "").splitlines():
        name, result, seconds, last = line.split("\t", 3)
        steps.append({"name": name, "result": result, "seconds": int(seconds), "last_line": last})
    return steps


def read_tests(results):
    found = re.search(r"(\d+) passed, (\d+) failed, (\d+) skipped\s*$", load(results, "tests.txt") or "")
    return dict(zip(("passed", "failed", "skipped"), map(int, found.groups()))) if found else None


def roofline(bench):
    """The share of each line that the measured rate is, at the card's own copy rate."""
    if not bench or "peaks" not in bench or bench["size"] != 250:
        return None
    rate, peaks = bench["cytofold"]["median"], bench["peaks"]
    lines = [{"fused": text, "mb_per_image": mb, "images_per_second": peaks["copy_bytes_per_second"] / (mb * 1e6)}
             for text, mb in FUSION]
    for line in lines:
        line["share"] = rate / line["images_per_second"]
    compute = peaks["matmul_flops_per_second"] / (GFLOP_PER_IMAGE * 1e9)
    return {"memory": lines, "compute_images_per_second": compute, "compute_share": rate / compute, **peaks}


def projection(matek):
    """Hours for five folds of the marrow protocol at the measured rate. A test image costs a third of a training
    image: a forward pass of three."""
    if not matek or matek["backend"] != "cuda" or matek["image_size"] != 250:
        return None
    rate = matek["images_per_second"]
    return {"draws": DRAWS, "tested": IMAGES, "images_per_second": rate, "micro_batch": matek["batch"],
            "precision": matek["precision"], "hours": (DRAWS + IMAGES / 3) / rate / 3600, "paper_hours": PAPER_HOURS}


def accuracy(metrics):
    return metrics and {key: metrics["pooled"][key] for key in ("images", "accuracy", "macro_f1")}


def gather(args):
    bench = load(args.results, "bench.json")
    return {
        "what": "rehearsal on the CPU: no figure of a GPU" if args.device == "none" else "measured on one GPU",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "device": device_facts(args.device), "versions": versions(args.build, bench),
        "steps": read_steps(args.results), "tests": read_tests(args.results), "bits": load(args.results, "bits.json"),
        "bench": bench, "roofline": roofline(bench), "phases": load(args.results, "phases.json"),
        "matek2021": load(args.results, "matek.json"), "projection": projection(load(args.results, "matek.json")),
        "demo": accuracy(load(args.results, "demo.json")), "bm7": accuracy(load(args.results, "real.json")),
    }


# ---- Markdown ---------------------------------------------------------------------------------------------


def spread(values):
    return f"{values['median']:,.4g} ({values['min']:,.4g}–{values['max']:,.4g})"


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)] + \
        ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows] + [""]


def bench_lines(report):
    bench, lines = report["bench"], []
    if not bench:
        return lines
    lines += [f"## A step beside PyTorch: {bench['size']}×{bench['size']}, batch {bench['batch']}, in turns", ""]
    mine = bench["cytofold"]
    rows = [("cytofold", mine["precision"], spread(mine))]
    if "pytorch" in bench:
        peer = bench["pytorch"]
        name = f"PyTorch {bench['torch']}" + (", compiled, channels-last" if peer["compiled"] else ", eager")
        rows += [(name, peer["precision"], spread(peer)), ("ratio of pairs", "", spread(bench["ratio"]))]
    lines += table(["program", "precision", "images/s, median (range)"], rows)
    others = [f"{program} {kind} {rate:,.4g}" for program, kinds in
              (("cytofold", bench["cytofold_kinds"]), ("PyTorch", bench["pytorch_kinds"])) for kind, rate in kinds.items()]
    lines += ["One run of each: " + ", ".join(others) + " images/s.", ""]
    if "pytorch_missing" in bench:
        lines += [f"No PyTorch: {bench['pytorch_missing']}.", ""]
    return lines


def roofline_lines(report):
    found = report["roofline"]
    if not found:
        return []
    rows = [(line["fused"], line["mb_per_image"], f"{line['images_per_second']:,.0f}", f"{100 * line['share']:.0f} %")
            for line in found["memory"]]
    rows.append(("(arithmetic alone)", "", f"{found['compute_images_per_second']:,.0f}",
                 f"{100 * found['compute_share']:.0f} %"))
    return ["## Share of the roofline", "",
            f"Copy {found['copy_bytes_per_second'] / 1e12:.2f} TB/s, bf16 product "
            f"{found['matmul_flops_per_second'] / 1e12:.0f} TFLOP/s, measured beside the steps.", ""] + \
        table(["what is fused", "MB an image", "bound, images/s", "reached"], rows)


def phase_lines(report):
    phases = report["phases"]
    if not phases:
        return []
    rows = sorted(phases["phase_ms"].items(), key=lambda item: -item[1])
    return [f"## Time by kind of work: {phases['precision']}, batch {phases['batch']}, "
            f"{phases['image_size']}×{phases['image_size']}", ""] + \
        table(["kind", "ms a step", "share"], [(k, f"{v:.3f}", f"{100 * phases['shares'][k]:.1f} %") for k, v in rows])


def result_lines(report):
    lines = []
    on_device = "" if report["device"]["name"] == "none" else " on the device"
    if report["tests"]:
        lines.append(f"- Tests{on_device}: " + "{passed} passed, {failed} failed, {skipped} skipped.".format(**report["tests"]))
    if report["bits"]:
        bits = report["bits"]
        lines.append(f"- The same job twice, and on 1, 2 and 3 ranks: {bits['files']} files, "
                     f"{'the same bytes' if bits['same'] else 'bytes DIFFER'}, `{bits['sha256'][:16]}…`.")
    for name, text in (("demo", "configs/demo.yaml on phantom cells"), ("bm7", "configs/bm7-gpu.yaml on real cells")):
        if report[name]:
            lines.append(f"- {text}: accuracy {report[name]['accuracy']:.3f}, macro F1 {report[name]['macro_f1']:.3f} "
                         f"({report[name]['images']} images, pooled over folds).")
    if report["projection"]:
        p = report["projection"]
        lines.append(f"- Five folds of configs/matek2021.yaml, projected from {p['images_per_second']:,.0f} images/s "
                     f"(micro-batch {p['micro_batch']}, {p['precision']}): {p['hours']:.1f} hours; the paper took about "
                     f"{p['paper_hours']} (48 a network).")
    return lines + [""]


def markdown(report):
    device = report["device"]
    lines = [f"# gpu-check: {device['name']}", "", report["what"] + ", " + report["date"] + ".", ""]
    lines += table(["what", "version"], [(k, v) for k, v in {**device, **report["versions"]}.items() if v])
    lines += result_lines(report) + bench_lines(report) + roofline_lines(report) + phase_lines(report)
    lines += ["## Steps", ""] + table(["step", "result", "s", "last line"],
                                      [(s["name"], s["result"], s["seconds"], s["last_line"]) for s in report["steps"]])
    return "\n".join(lines).rstrip() + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("results", "build", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--device", choices=["cuda", "none"], required=True)
    args = parser.parse_args()
    report = gather(args)
    name = re.sub(r"[^a-z0-9]+", "-", report["device"]["name"].lower()).strip("-")
    path = os.path.join(args.out, f"gpu-check-{name}")
    with open(path + ".json", "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2)
        file.write("\n")
    with open(path + ".md", "w", encoding="utf-8") as file:
        file.write(markdown(report))
    print("\n".join(result_lines(report)).rstrip())
    print(f"{path}.json and .md: " + ", ".join(f"{s['name']} {s['result']}" for s in report["steps"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
