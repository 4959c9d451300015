#!/usr/bin/env python3
"""What a training step costs with group norm, as a ratio to the same step with batch norm, runs in turns.

  tests/bench/norm_step.py build/release/launch/cytofold configs/bm7.yaml --threads 2 --runs 7
"""
import argparse
import json
import statistics
import subprocess
import sys


def step_ms(args, norm):
    command = [args.program, "bench", "--config", args.config, "--set", f"model.norm={norm}", "--device", args.device,
               "--threads", str(args.threads), "--batch", str(args.batch), "--runs", "1", "--steps", str(args.steps),
               "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["step_ms"]


def spread(values, digits):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the cytofold binary")
    parser.add_argument("config")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="steps of a run")
    args = parser.parse_args()
    batch, group = [], []
    for run in range(args.runs):  # who goes first takes turns too
        for norm in ("batch", "group") if run % 2 == 0 else ("group", "batch"):
            (batch if norm == "batch" else group).append(step_ms(args, norm))
    ratios = [g / b for g, b in zip(group, batch)]
    print(f"{args.config}, {args.device}, {args.threads} threads, batch {args.batch}, {args.runs} runs of {args.steps} "
          "steps in turns; median (range)")
    print(f"batch norm {spread(batch, 1)} ms a step, group norm {spread(group, 1)} ms, ratio {spread(ratios, 2)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
