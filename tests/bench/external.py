#!/usr/bin/env python3
"""Networks on another centre's images: one row a run and way of predicting, as a Markdown table.

    tests/bench/external.py PROGRAM --source FOLDER [--class-map FILE] [--tta N] [--zoom F]... RUN...

Every run is asked with its own moments and, where it has batch norm, with those of the images
(--adapt-norm); each once for every --zoom. Shares are over images with a class; "between" lets only
classes be predicted that some image has. No choice between the rows is made here: a zoom picked for its
score on these images would be fitted to them.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile


def predict(program, run, source, options):
    """The summary, or None where the network has no batch norm to adapt."""
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "predict", run, source, "--json", "-o", os.path.join(folder, "p.csv")] + options
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout)
    if "no batch norm" in done.stderr:
        return None
    sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")


def row(name, summary):
    shares = [summary["accuracy"], summary["balanced_accuracy"], summary["mapped"]["accuracy"],
              summary["mapped"]["balanced_accuracy"], summary["no_confident"]["share"]]
    cells = [name, f"{summary['labelled']} of {summary['images']}"] + [f"{share:.3f}" for share in shares]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--source", required=True)
    parser.add_argument("--class-map")
    parser.add_argument("--tta", type=int, default=1)
    parser.add_argument("--zoom", type=float, action="append", default=[])
    given = parser.parse_args()
    common = ["--tta", str(given.tta)]
    if given.class_map:
        common += ["--class-map", given.class_map]
    print("| run | images with a class | accuracy | balanced | between | balanced | no confident class |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for run in given.runs:
        for zoom in given.zoom or [None]:
            for adapt in (False, True):
                options = common + (["--zoom", str(zoom)] if zoom else []) + (["--adapt-norm"] if adapt else [])
                summary = predict(given.program, run, given.source, options)
                if summary is None:
                    continue
                name = os.path.basename(os.path.normpath(run))
                name += f", zoom {zoom:g}" if zoom else ""
                name += ", moments of these images" if adapt else ""
                print(row(name, summary), flush=True)


if __name__ == "__main__":
    main()
