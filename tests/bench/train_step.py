#!/usr/bin/python3
"""One training step of the standard ResNeXt-50 in PyTorch, beside `cytofold bench`, in turns.

A step is forward, cross-entropy, backward and Adam on random images already in memory. PyTorch runs
with what was fastest on this kind of machine: channels-last, oneDNN, bf16 by autocast or as a bf16
model (the faster of the two is kept). Prints medians, ranges and the ratio as Markdown.

  tests/bench/train_step.py build/release/launch/cytofold --threads 2 --runs 5
"""
import argparse
import json
import statistics
import subprocess
import sys
import time

import torch
import torchvision

SIZE, CLASSES = 250, 22


class Peer:
    """PyTorch's step. kind: fp32, autocast (fp32 weights), model (bf16 weights)."""

    def __init__(self, kind, batch):
        torch.manual_seed(1)
        self.kind = kind
        model = torchvision.models.resnext50_32x4d(num_classes=CLASSES)
        model = model.to(memory_format=torch.channels_last).train()
        self.images = torch.rand(batch, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
        self.labels = torch.randint(CLASSES, (batch,))
        if kind == "model":
            model, self.images = model.bfloat16(), self.images.bfloat16()
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.kind == "autocast"):
            logits = self.model(self.images)
        loss = torch.nn.functional.cross_entropy(logits.float(), self.labels)
        loss.backward()
        self.optimizer.step()

    def rate(self, steps):
        start = time.monotonic()
        for _ in range(steps):
            self.step()
        return steps * len(self.labels) / (time.monotonic() - start)


def ours(program, precision, args):
    command = [program, "bench", "--precision", precision, "--batch", str(args.batch), "--device",
               "cpu", "--threads", str(args.threads), "--runs", "1", "--steps", str(args.steps),
               "--json"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return result["images_per_second"], result


def fastest_peer(precision, args):
    if precision == "fp32":
        kinds = ["fp32"]
    else:
        kinds = ["autocast", "model"]
    peers = [Peer(kind, args.batch) for kind in kinds]
    for peer in peers:
        peer.step()
    rates = [peer.rate(1) for peer in peers]
    return peers[rates.index(max(rates))]


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the cytofold binary")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps of a run")
    parser.add_argument("--precisions", default="bf16,fp32")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"Standard ResNeXt-50 32x4d, {SIZE}x{SIZE}, batch {args.batch}, {args.threads} threads, "
          f"PyTorch {torch.__version__}, {args.runs} runs of {args.steps} steps in turns; images/s, "
          "median (range).\n")
    print("| precision | cytofold | PyTorch | ratio of pairs, median (range) | cytofold's memory |")
    print("| --- | --- | --- | --- | --- |")
    for precision in args.precisions.split(","):
        peer = fastest_peer(precision, args)
        mine, theirs, memory = [], [], 0.0
        for _ in range(args.runs):
            rate, result = ours(args.program, precision, args)
            mine.append(rate)
            memory = max(memory, result["peak_mib"])
            theirs.append(peer.rate(args.steps))
        ratios = [a / b for a, b in zip(mine, theirs)]
        print(f"| {precision} | {spread(mine)} | {spread(theirs)} ({peer.kind}) | {spread(ratios)} "
              f"| {memory:.0f} MiB |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
