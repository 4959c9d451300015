#!/usr/bin/env python3
"""A training step of ResNeXt-50 32x4d in PyTorch on a GPU beside `cytofold bench`, in turns; and what the card
itself can do. Writes one JSON object.

A step is augmentation of stored uint8 images (rotation, flips, shift, shear), forward, cross-entropy, backward
and Adam, all on the GPU. PyTorch runs compiled and channels-last, with fused Adam: fp16 with loss scaling and
bf16 by autocast are both tried, the faster one is the peer. cytofold starts anew for each of its runs, with its
choice of convolution engines kept in a file.

  tests/bench/train_step_gpu.py build/cuda/launch/cytofold --out peer.json

Without torch the peer is left out and the JSON says so. --device cpu rehearses the script on a small network.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

try:
    import torch
    import torchvision
except ImportError as error:
    torch, WHY_NOT = None, str(error)

CLASSES, STORED = 22, 1024
KINDS = {"fp16": "float16", "bf16": "bfloat16"}


def maps(n, device):
    """[n,2,3]: random rotation, flips, shear and shift of the marrow protocol."""
    angle = (torch.rand(n, device=device) * 2 - 1) * torch.pi
    flip_x, flip_y = (torch.randint(2, (n,), device=device) * 2 - 1 for _ in range(2))
    shear = (torch.rand(n, device=device) * 2 - 1) * 0.2
    shift = (torch.rand(n, 2, device=device) * 2 - 1) * 0.5  # a quarter of a side of length 2
    c, s = torch.cos(angle), torch.sin(angle)
    rows = [torch.stack([c * flip_x, (c * shear - s) * flip_y, shift[:, 0]], 1),
            torch.stack([s * flip_x, (s * shear + c) * flip_y, shift[:, 1]], 1)]
    return torch.stack(rows, 1)


def augment(store, index, dtype):
    """Stored [N,H,W,3] uint8 to [n,3,H,W] in channels-last, in [0,1], sampled bilinearly."""
    images = store[index].permute(0, 3, 1, 2).to(dtype) / 255
    grid = torch.nn.functional.affine_grid(maps(len(index), store.device), images.shape, align_corners=False)
    images = torch.nn.functional.grid_sample(images, grid.to(dtype), padding_mode="border", align_corners=False)
    return images.contiguous(memory_format=torch.channels_last)


class Peer:
    """PyTorch's step in one 16-bit type."""

    def __init__(self, kind, args):
        torch.manual_seed(1)
        self.kind, self.batch, self.device = kind, args.batch, args.device
        self.on_gpu = args.device == "cuda"
        self.dtype = getattr(torch, KINDS[kind])
        model = torchvision.models.resnext50_32x4d(num_classes=CLASSES).to(args.device)
        self.model = model.to(memory_format=torch.channels_last).train()
        self.augment = augment
        if self.on_gpu:
            self.model, self.augment = torch.compile(self.model), torch.compile(augment)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=self.on_gpu)
        if hasattr(torch.amp, "GradScaler"):
            self.scaler = torch.amp.GradScaler(args.device, enabled=kind == "fp16")
        else:  # before 2.3
            self.scaler = torch.cuda.amp.GradScaler(enabled=kind == "fp16")
        shape = (STORED if self.on_gpu else 8, args.size, args.size, 3)
        self.store = torch.randint(256, shape, dtype=torch.uint8, device=args.device)
        self.labels = torch.randint(CLASSES, (args.batch,), device=args.device)

    def step(self):
        index = torch.randint(len(self.store), (self.batch,), device=self.device)
        images = self.augment(self.store, index, self.dtype)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device, self.dtype):
            logits = self.model(images)
        loss = torch.nn.functional.cross_entropy(logits.float(), self.labels)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def wait(self):
        if self.on_gpu:
            torch.cuda.synchronize()

    def rate(self, steps):
        self.wait()
        start = time.monotonic()
        for _ in range(steps):
            self.step()
        self.wait()
        return steps * self.batch / (time.monotonic() - start)


def ours(args, precision, engines):
    command = [args.program, "bench", "--precision", precision, "--batch", str(args.batch), "--device", args.device,
               "--runs", "1", "--steps", str(args.steps), "--json", "--set", f"model.image_size={args.size}"]
    if args.device == "cuda":
        command += ["--engines", engines]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"cytofold bench: exit code {done.returncode}")
    return json.loads(done.stdout)


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def fastest_peer(args):
    """The faster of the two types after warm-up, and the rates of both."""
    best, rates = None, {}
    for kind in KINDS if args.device == "cuda" else ["bf16"]:
        peer = Peer(kind, args)
        for _ in range(args.warm_up):
            peer.step()
        rates[kind] = peer.rate(args.steps)
        if best is None or rates[kind] > rates[best.kind]:
            best = peer
        del peer
        if args.device == "cuda":
            torch.cuda.empty_cache()
    return best, rates


def fitting_peer(args):
    """Halves the batch until both programs fit the device."""
    while True:
        try:
            return fastest_peer(args)
        except torch.cuda.OutOfMemoryError:
            if args.batch <= 16:
                raise
            print(f"batch {args.batch} does not fit beside PyTorch", file=sys.stderr)
            args.batch //= 2
            torch.cuda.empty_cache()


def compare(args, engines):
    """Alternating pairs of runs; ours in bf16 and fp16 on a GPU, of which the faster one is compared."""
    result = {"size": args.size, "steps": args.steps, "torch": torch.__version__ if torch else None}
    peer, result["pytorch_kinds"] = fitting_peer(args) if torch else (None, {})
    result["batch"] = args.batch
    kinds = KINDS if args.device == "cuda" else ["bf16"]
    result["cytofold_kinds"] = {k: ours(args, k, engines)["images_per_second"] for k in kinds}
    precision = max(result["cytofold_kinds"], key=result["cytofold_kinds"].get)
    mine, theirs, last = [], [], {}
    for _ in range(args.pairs):
        last = ours(args, precision, engines)
        mine.append(last["images_per_second"])
        if peer:
            theirs.append(peer.rate(args.steps))
    result["cytofold"] = spread(mine) | {"precision": precision, "device_mib": last["device_mib"],
                                         "program_mib": last["program_mib"], "describe": last["device"]}
    if peer:
        result["pytorch"] = spread(theirs) | {"precision": peer.kind, "compiled": peer.on_gpu}
        result["ratio"] = spread([a / b for a, b in zip(mine, theirs)])
    else:
        result["pytorch_missing"] = WHY_NOT
    return result


def timed(run, repeats):
    """Seconds of the fastest of `repeats` runs on the GPU."""
    best = float("inf")
    for _ in range(repeats + 2):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        run()
        last.record()
        torch.cuda.synchronize()
        best = min(best, first.elapsed_time(last) * 1e-3)
    return best


def peaks():
    """What the card does at best: bytes read and written by a copy, FLOP of a large bf16 product, a second."""
    a = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    n = 8192
    x, y = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return {"copy_bytes_per_second": 2 * a.numel() / timed(lambda: b.copy_(a), 10),
            "matmul_flops_per_second": 2 * n**3 / timed(lambda: x @ y, 10)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the cytofold binary")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=250, help="side of the images")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps of a run")
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--engines", help="file of engine choices; without: a temporary one")
    parser.add_argument("--out", help="file for the JSON; without: stdout")
    args = parser.parse_args()
    if torch and args.device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    with tempfile.TemporaryDirectory() as folder:
        result = compare(args, args.engines or os.path.join(folder, "engines.txt"))
    result["device"] = torch.cuda.get_device_name() if torch and args.device == "cuda" else "none"
    if torch and args.device == "cuda":
        torch.cuda.empty_cache()
        result["peaks"] = peaks()
    text = json.dumps(result, indent=2) + "\n"
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
