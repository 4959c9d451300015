#!/usr/bin/python3
"""Augmentation with changes of stains on the CPU, beside torchstain and torchvision, in turns.

Ours is the training loader (augment_rate) on two threads, with stains found at packing. Peers run
in a torch DataLoader of two processes on the same images, decoded and in memory: torchvision's
flips, RandomAffine, ColorJitter and Normalize after one of
  torchstain  its Macenko augmentor, fitted to each image beforehand (augment() separates again)
  by hand     the same change of stains as ours in torch, with vectors found beforehand: what a
              careful user would write; no library does it
All change stains by alpha in 1 +- 0.2 and beta in +- 0.2. Prints medians and ranges of images a
second and the ratios of neighbouring runs as Markdown.

  tests/bench/augment.py PROGRAM AUGMENT_RATE FOLDER [--runs 5]
"""
import argparse
import glob
import os
import statistics
import subprocess
import tempfile
import time

import torch
import torchvision
from torchstain.torch.augmentors import TorchMacenkoAugmentor
from torchvision.transforms import v2

SIZE, BATCH, WORKERS, SIGMA = 250, 32, 2, 0.2
OURS = ["augment.rotation=180", "augment.flip_horizontal=true", "augment.flip_vertical=true",
        "augment.shift=0.25", "augment.shear=0.2", "augment.brightness=0.1",
        "augment.contrast=0.1", "augment.stain=medium", f"model.image_size={SIZE}",
        "augment.mean=[0.5, 0.5, 0.5]", "augment.std=[0.2, 0.2, 0.2]"]


def transforms():
    return v2.Compose([
        v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(),
        v2.RandomAffine(180, translate=(0.25, 0.25), shear=(-11.3, 11.3),  # arc tangent of 0.2
                        interpolation=v2.InterpolationMode.BILINEAR),
        v2.ColorJitter(brightness=0.1, contrast=0.1),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.5] * 3, [0.2] * 3),
    ])


class ByTorchstain(torch.utils.data.Dataset):
    def __init__(self, images, draws):
        self.draws, self.after, self.augmentors = draws, transforms(), []
        for image in images:
            augmentor = TorchMacenkoAugmentor(sigma1=SIGMA, sigma2=SIGMA)
            augmentor.fit(image)
            self.augmentors.append(augmentor)

    def __len__(self):
        return self.draws

    def __getitem__(self, i):
        stained = self.augmentors[i % len(self.augmentors)].augment()  # [H,W,3], 0..255
        return self.after(stained.clamp(0, 255).to(torch.uint8).permute(2, 0, 1))


class ByHand(torch.utils.data.Dataset):
    def __init__(self, images, draws):
        self.draws, self.after, self.images, self.vectors = draws, transforms(), images, []
        for image in images:
            augmentor = TorchMacenkoAugmentor()
            augmentor.fit(image)
            self.vectors.append((augmentor.HERef, torch.linalg.pinv(augmentor.HERef)))

    def __len__(self):
        return self.draws

    def __getitem__(self, i):
        image = self.images[i % len(self.images)]
        vectors, inverse = self.vectors[i % len(self.images)]
        change = (torch.rand(2) * 2 - 1) * SIGMA
        shift = (torch.rand(2) * 2 - 1) * SIGMA
        matrix = torch.eye(3) + vectors @ torch.diag(change) @ inverse
        density = -torch.log((image.reshape(3, -1).float() + 1) / 240)
        density = matrix @ density + (vectors @ shift)[:, None]
        stained = (240 * torch.exp(-density) - 1).clamp(0, 255).to(torch.uint8)
        return self.after(stained.reshape(image.shape))


def rate_of(dataset):
    """Images a second, the workers' start left out: from the third batch on."""
    loader = torch.utils.data.DataLoader(dataset, BATCH, num_workers=WORKERS, prefetch_factor=2)
    batches = iter(loader)
    for _ in range(2 * WORKERS):
        next(batches)
    start, n = time.monotonic(), 0
    for batch in batches:
        n += len(batch)
    return n / (time.monotonic() - start)


def ours(program, cells, draws):
    command = [program, cells, str(WORKERS), str(draws), *OURS]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0])


def spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the cytofold binary")
    parser.add_argument("rate", help="the augment_rate binary")
    parser.add_argument("folder", help="images of 250 x 250, a folder a class")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--draws", type=int, default=2048, help="of ours and by hand")
    parser.add_argument("--slow-draws", type=int, default=384, help="of torchstain")
    args = parser.parse_args()
    torch.set_num_threads(1)
    paths = sorted(glob.glob(os.path.join(args.folder, "*", "*.jpg")))
    images = [torchvision.io.read_image(path) for path in paths]
    peers = {"torchstain + torchvision": ByTorchstain(images, args.slow_draws),
             "stains by hand + torchvision": ByHand(images, args.draws)}
    rates = {name: [] for name in ["cytofold", *peers]}
    with tempfile.TemporaryDirectory() as work:
        cells = os.path.join(work, "x.cells")
        subprocess.run([args.program, "pack", args.folder, "--scheme", "auto", "-o", cells],
                       check=True, stdout=subprocess.DEVNULL)
        for _ in range(args.runs):
            rates["cytofold"].append(ours(args.rate, cells, args.draws))
            for name, dataset in peers.items():
                rates[name].append(rate_of(dataset))
    print(f"{len(images)} images of {SIZE} px, {WORKERS} threads or processes, {args.runs} runs in "
          f"turns; PyTorch {torch.__version__}, torchvision {torchvision.__version__}\n")
    print("| augmentation | images/s: median (range) | cytofold is |\n| --- | --- | --- |")
    print(f"| cytofold | {spread(rates['cytofold'])} | |")
    for name in peers:
        ratios = [a / b for a, b in zip(rates["cytofold"], rates[name])]
        print(f"| {name} | {spread(rates[name])} | {spread(ratios)} × |")


if __name__ == "__main__":
    main()
