#!/usr/bin/env python3
"""Grad-CAM and SmoothGrad beside PyTorch's autograd: the same network, image and noise; the methods written out here.

usage: torch_explain.py DUMP_EXPLAIN RUN X.cells [--images N] [--samples N] [--time PROGRAM] [--rounds N]

Networks of the standard ResNeXt with batch norm. For N images of each fold's own test, the class that the fold's
predictions name. PyTorch in double precision is the truth; an error is |x - truth| / |truth| in the L2 norm of a map.
It passes when the median error is below TOLERANCE and the correlation of every map with the truth above CORRELATION.
A ReLU that rounding flips moves a gradient by the image, in any fp32 program: hence the wider tolerance of SmoothGrad.

--time PROGRAM: `cytofold explain` and PyTorch take turns on the same images, each with as many threads as there are
cores and without its start; prints seconds an image of each round and the ratio.
"""
import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    import numpy
    import torch
    from torch.nn import functional
except ImportError as error:
    print(f"explain: skipped: {error}")
    sys.exit(77)

TOLERANCE, CORRELATION, CHUNK = {"Grad-CAM": 1e-5, "SmoothGrad": 1e-3}, 0.9999, 16
EPSILON = 1e-5


class Network:
    """The standard ResNeXt in inference, from the flat weights and their table."""

    def __init__(self, folder, stem_stride, dtype):
        flat = numpy.fromfile(folder / "weights.f32", numpy.float32)
        self.tensors, self.dtype = {}, dtype
        for line in (folder / "tensors.txt").read_text().splitlines():
            name, _, offset, *dims = line.split()
            dims = tuple(map(int, dims))
            value = torch.from_numpy(flat[int(offset):][:int(numpy.prod(dims))].reshape(dims).copy())
            if value.dim() == 4:
                value = value.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
            self.tensors[name] = value.to(dtype)
        self.stem_stride = stem_stride
        self.blocks = sorted({tuple(map(int, m.groups())) for m in
                              (re.match(r"stage(\d+)\.(\d+)\.", name) for name in self.tensors) if m})

    def conv(self, x, name, stride=1, relu=True):
        get = lambda kind: self.tensors.get(f"{name}.{kind}")
        weight = get("weight")
        x = functional.conv2d(x, weight, get("bias"), stride, weight.shape[2] // 2, 1, x.shape[1] // weight.shape[1])
        x = functional.batch_norm(x, get("mean"), get("var"), get("gamma"), get("beta"), False, 0.0, EPSILON)
        return functional.relu(x) if relu else x

    def features(self, x):
        """The last convolution's output, [N,C,H,W]."""
        x = functional.max_pool2d(self.conv(x, "stem", self.stem_stride), 3, 2, 1)
        for stage, index in self.blocks:
            name, stride = f"stage{stage}.{index}.", 2 if stage > 1 and index == 0 else 1
            y = self.conv(self.conv(x, name + "conv1"), name + "conv2", stride)
            y = self.conv(y, name + "conv3", relu=False)
            if index == 0:
                x = self.conv(x, name + "down", stride, relu=False)
            x = functional.relu(x + y)
        return x

    def logits(self, features):
        return functional.linear(features.mean((2, 3)), self.tensors["fc.weight"], self.tensors["fc.bias"])


def as_input(pixels, dtype):
    return torch.from_numpy(pixels).to(dtype).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def gradcam(network, image, klass):
    with torch.no_grad():
        features = network.features(as_input(image[None], network.dtype))
    features.requires_grad_(True)
    score = network.logits(features)[0, klass]
    gradient, = torch.autograd.grad(score, features)
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * features).sum(1).relu()[0].detach().numpy(), score.item()


def smoothgrad(network, noisy, klass):
    total = 0
    for first in range(0, len(noisy), CHUNK):
        x = as_input(noisy[first:first + CHUNK], network.dtype).requires_grad_(True)
        gradient, = torch.autograd.grad(network.logits(network.features(x))[:, klass].sum(), x)
        total = total + gradient.double().sum(0)
    return (total / len(noisy)).permute(1, 2, 0).numpy()


def error(found, truth):
    return float(numpy.linalg.norm(found - truth) / numpy.linalg.norm(truth))


def correlation(found, truth):
    return float(numpy.corrcoef(found.ravel(), truth.ravel())[0, 1])


def chosen(run, n):
    """N rows of each fold's predictions, spread over the file: (fold, id, class index)."""
    rows = []
    for fold in sorted(run.glob("fold-*")):
        with open(fold / "predictions.csv", newline="") as file:
            table = list(csv.DictReader(file))
        codes = [key[2:] for key in table[0] if key.startswith("p_")]
        for row in table[::max(1, len(table) // n)][:n]:
            rows.append((int(fold.name[5:]), row["id"], codes.index(row["predicted"])))
    return rows


def measure(arguments, stem_stride, rows):
    errors = {"Grad-CAM": [], "SmoothGrad": []}
    correlations = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for fold, image_id, klass in rows:
            words = [arguments.dump, arguments.run, arguments.cells, str(fold), image_id, str(klass),
                     str(arguments.samples), name]
            score, height = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
            read = lambda what, *shape: numpy.fromfile(folder / (what + ".f32"), numpy.float32).reshape(shape)
            side = round((os.path.getsize(folder / "image.f32") / 12) ** 0.5)
            image, noisy = read("image", side, side, 3), read("noisy", -1, side, side, 3)
            ours = {"Grad-CAM": read("gradcam", int(height), -1), "SmoothGrad": read("smoothgrad", side, side, 3)}
            theirs = {}
            for dtype in (torch.float64, torch.float32):
                network = Network(folder, stem_stride, dtype)
                cam, own_score = gradcam(network, image, klass)
                theirs[dtype] = {"Grad-CAM": cam, "SmoothGrad": smoothgrad(network, noisy, klass)}
                if dtype == torch.float64:
                    truth_score = own_score
            for what, found in errors.items():
                truth = theirs[torch.float64][what]
                found.append((error(ours[what], truth), error(theirs[torch.float32][what], truth),
                              float(abs(ours[what] - truth).max() / abs(truth).max())))
                correlations.append(correlation(ours[what], truth))
            print(f"{image_id} fold {fold}: score {float(score):.4f} (PyTorch {truth_score:.4f}, ours as predicted), "
                  + ", ".join(f"{what} {found[-1][0]:.1e} (PyTorch fp32 {found[-1][1]:.1e})"
                              for what, found in errors.items()), flush=True)
    return errors, correlations


def take_times(arguments, stem_stride, rows):
    fold = rows[0][0]
    rows = [row for row in rows if row[0] == fold]
    print(f"{len(rows)} images of fold {fold}, {arguments.samples} samples, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = [arguments.dump, arguments.run, arguments.cells, str(fold), rows[0][1], "0", str(arguments.samples), name]
        subprocess.run(words, check=True, capture_output=True)
        side = round((os.path.getsize(folder / "image.f32") / 12) ** 0.5)
        noisy = numpy.fromfile(folder / "noisy.f32", numpy.float32).reshape(-1, side, side, 3)
        network = Network(folder, stem_stride, torch.float32)
        command = [arguments.time, "explain", arguments.run, arguments.cells, "--json", "-o", name + "/out", "--samples",
                   str(arguments.samples), "--threads", str(torch.get_num_threads())]
        for _, image_id, _ in rows:
            command += ["--id", image_id]
        smoothgrad(network, noisy[:CHUNK], 0)  # its start
        ratios = []
        for turn in range(arguments.rounds):
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            ours = json.loads(text)["seconds"] / len(rows)
            start = time.perf_counter()
            for _ in rows:
                gradcam(network, noisy[0], 0)
                smoothgrad(network, noisy, 0)
            theirs = (time.perf_counter() - start) / len(rows)
            ratios.append(theirs / ours)
            print(f"round {turn + 1}: cytofold {ours:.3f} s an image with its picture, PyTorch {theirs:.3f} s without, "
                  f"ratio {theirs / ours:.2f}", flush=True)
        print(f"median ratio {numpy.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dump")
    parser.add_argument("run")
    parser.add_argument("cells")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--time", metavar="PROGRAM")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    text = (Path(arguments.run) / "run.yaml").read_text()
    stem_stride = int(re.search(r"stem_stride: (\d+)", text).group(1))
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows = chosen(Path(arguments.run), arguments.images)
    if arguments.time:
        take_times(arguments, stem_stride, rows)
        return 0
    errors, correlations = measure(arguments, stem_stride, rows)
    passed = min(correlations) > CORRELATION
    for what, found in errors.items():
        ours, theirs, largest = numpy.median(numpy.array(found), 0)
        passed &= bool(ours < TOLERANCE[what])
        print(f"{what}, {len(found)} images: median error {ours:.1e}, PyTorch's in fp32 {theirs:.1e}; largest error of a "
              f"map {max(f[0] for f in found):.1e}; largest difference of a pixel, median {largest:.1e} of the highest")
    print(f"lowest correlation {min(correlations):.8f}: {'passed' if passed else 'FAILED'}")
    return 0 if passed else 1


sys.exit(main())
