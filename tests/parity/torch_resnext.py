#!/usr/bin/env python3
"""The standard ResNeXt-50 32x4d beside torchvision's: same weights, same batch, fp32. Compares logits, loss, every
gradient, one SGD step and the running moments of batch norm; with --norm group the same network with group norm of
GROUPS groups, which has no moments.

usage: torch_resnext.py PATH/TO/dump_step [--size PX]... [--norm batch|group]... [--batch N] [--seed N]
       [--device cpu|cuda]

--device is cytofold's; PyTorch computes on the CPU.

Both programs compute in fp32 and differ in the order of sums, so neither is the truth: PyTorch in double precision
is. An error is |x - truth| / |truth| in the L2 norm of a tensor, |truth| at least FLOOR times the kind's mean norm. It
passes when it is below the stated tolerance, or below FACTOR times PyTorch's own fp32 error on that tensor; the same
for the median over tensors. A wrong formula (padding, variance, a missing term) is off by 1e-2 and more.

One ReLU that rounding flips changes a gradient by up to 1e-2, in any fp32 program, and with norms at their usual start
so many flip that PyTorch differs from its own double precision by 1e-2 in every gradient: real faults would hide there.
The norms' shifts are therefore drawn around SHIFT, in every fourth channel around -SHIFT: ReLUs are open or closed, rarely
near their kink, and both summands of a residual have the same sign.
"""
import argparse
import functools
import re
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy
    import torch
    import torchvision
except ImportError as error:
    print(f"parity: skipped: {error}")
    sys.exit(77)

OUTPUTS, GROUPS = 1000, 32
RATE, MOMENTUM, DECAY, SMOOTHING = 0.1, 0.9, 1e-2, 0.1
FACTOR, FLOOR, SHIFT = 4.0, 1e-2, 5.0
# Largest error of any tensor, and of the median tensor.
TOLERANCE = {"logits": (5e-6, 5e-6), "inferred": (5e-6, 5e-6), "loss": (2e-6, 2e-6), "gradient": (1e-3, 5e-5),
             "weights": (2e-5, 2e-7), "moments": (1e-5, 1e-6)}
MODULE = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "mean": "running_mean",
          "var": "running_var"}


def torch_name(name, kind):
    """cytofold's tensor name -> torchvision's key in state_dict."""
    part = name.rsplit(".", 1)[0]
    norm = kind in ("gamma", "beta", "mean", "var")
    if part == "stem":
        return ("bn1." if norm else "conv1.") + MODULE[kind]
    block = re.fullmatch(r"stage(\d+)\.(\d+)\.(conv(\d)|\w+)", part)
    if block:
        prefix = f"layer{block.group(1)}.{block.group(2)}."
        if block.group(4):
            return prefix + ("bn" if norm else "conv") + block.group(4) + "." + MODULE[kind]
        return prefix + f"downsample.{int(norm)}." + MODULE[kind]
    return "fc." + MODULE[kind]


def canonical(tensor):
    """torchvision's KCRS filters as KRSC; the rest as it is."""
    return tensor.permute(0, 2, 3, 1).contiguous() if tensor.dim() == 4 else tensor


class Flat:
    """The two flat buffers: which tensor lies where."""

    def __init__(self, text):
        self.entries = []  # torch name, kind, offset, dimensions
        for line in text.splitlines():
            name, kind, offset, *dims = line.split()
            self.entries.append((torch_name(name, kind), kind, int(offset), tuple(map(int, dims))))

    def pack(self, state, kinds):
        entries = [e for e in self.entries if e[1] in kinds]
        flat = numpy.zeros(sum(int(numpy.prod(e[3])) for e in entries), numpy.float32)
        for name, _, offset, dims in entries:
            value = canonical(state[name]).detach().numpy()
            if value.shape != dims:
                raise SystemExit(f"parity: {name}: cytofold has {dims}, torchvision {value.shape}")
            flat[offset:offset + value.size] = value.ravel()
        return flat

    def unpack(self, flat, kinds):
        return {name: flat[offset:offset + int(numpy.prod(dims))].reshape(dims)
                for name, kind, offset, dims in self.entries if kind in kinds}


WEIGHTS, STATE = ("weight", "bias", "gamma", "beta"), ("mean", "var")


def make_problem(size, batch, seed, norm):
    """Smooth random images, and a network whose norms are not at their trivial start."""
    torch.manual_seed(seed)
    layer = None if norm == "batch" else functools.partial(torch.nn.GroupNorm, GROUPS)
    model = torchvision.models.resnext50_32x4d(weights=None, num_classes=OUTPUTS, norm_layer=layer)
    for name, value in model.state_dict().items():
        if re.search(r"(bn\d|downsample\.1)\.", name) and value.dim() == 1:
            if name.endswith("weight") or name.endswith("var"):
                value.uniform_(0.5, 1.5)
            elif name.endswith("mean"):
                value.normal_(0.0, 0.2)
            else:
                value.normal_(SHIFT, 0.2)[3::4] *= -1.0
    coarse = torch.randn(batch, 3, max(size // 8, 2), max(size // 8, 2))
    images = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
    return model, images + 0.1 * torch.randn_like(images), torch.randint(0, OUTPUTS, (batch,))


def torch_step(model, images, labels):
    """Everything dump_step writes, by PyTorch, in the model's own precision; numpy arrays."""
    with torch.no_grad():
        inferred = model.eval()(images)
    model.train().zero_grad(set_to_none=True)
    optimizer = torch.optim.SGD([
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}], lr=RATE, momentum=MOMENTUM)
    logits = model(images)
    loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
    loss.backward()
    gradients = {n: canonical(p.grad).numpy().copy() for n, p in model.named_parameters()}
    optimizer.step()
    state = {n: canonical(v).detach().numpy().copy() for n, v in model.state_dict().items() if v.dim() > 0}
    return {"inferred": {"inferred": inferred.numpy()}, "logits": {"logits": logits.detach().numpy()},
            "loss": {"loss": loss.detach().numpy().reshape(1)}, "gradient": gradients,
            "weights": {n: state[n] for n in gradients},
            "moments": {n: v for n, v in state.items() if "running" in n}}


def cytofold_step(program, folder, size, norm, device, model, images, labels):
    """The same by cytofold; without logits where the backend has not kept them."""
    keys = [f"model.image_size={size}", f"model.outputs={OUTPUTS}", f"train.micro_batch={len(labels)}",
            f"train.label_smoothing={SMOOTHING}", "train.precision=fp32", f"run.device={device}",
            f"model.norm={norm}", f"model.norm_groups={GROUPS}"]
    subprocess.run([program, folder, "params", *keys], check=True)
    flat = Flat((folder / "params.txt").read_text())
    state = model.state_dict()
    missing = {n for n, v in state.items() if v.dim() > 0} ^ {e[0] for e in flat.entries}
    if missing:
        raise SystemExit(f"parity: tensors of one program only: {sorted(missing)[:5]}")
    flat.pack(state, WEIGHTS).tofile(folder / "weights.f32")
    flat.pack(state, STATE).tofile(folder / "state.f32")
    images.permute(0, 2, 3, 1).contiguous().numpy().tofile(folder / "images.f32")
    labels.numpy().astype(numpy.int32).tofile(folder / "labels.i32")
    subprocess.run([program, folder, "step", str(RATE), str(MOMENTUM), str(DECAY), *keys], check=True)

    def load(name):
        return numpy.fromfile(folder / name, numpy.float32)
    kept = (folder / "logits.f32").exists()
    return {"inferred": {"inferred": load("inferred.f32").reshape(-1, OUTPUTS)},
            "logits": {"logits": load("logits.f32").reshape(-1, OUTPUTS)} if kept else {},
            "loss": {"loss": load("loss.f32")[:1]}, "gradient": flat.unpack(load("gradients.f32"), WEIGHTS),
            "weights": flat.unpack(load("new_weights.f32"), WEIGHTS),
            "moments": flat.unpack(load("new_state.f32"), STATE)}


def distance(x, truth, floor):
    return float(numpy.linalg.norm((x - truth).ravel()) / max(numpy.linalg.norm(truth.ravel()), floor))


def compare(ours, peer, truth):
    """Prints the worst tensor of each kind; returns the number of tensors outside the tolerance."""
    faults = 0
    for kind, tensors in truth.items():
        if not tensors:
            continue  # group norm has no moments
        if not ours[kind]:
            print(f"  {kind:9s} not kept by the backend")
            continue
        floor = FLOOR * numpy.mean([numpy.linalg.norm(t.ravel()) for t in tensors.values()])
        rows = [(distance(ours[kind][name], value, floor), distance(peer[kind][name], value, floor), name)
                for name, value in tensors.items()]
        single, typical = TOLERANCE[kind]
        for error, theirs, name in rows:
            if not error <= max(single, FACTOR * theirs):  # a NaN is a fault
                faults += 1
                print(f"  FAULT {kind} {name}: {error:.2e}, PyTorch fp32 {theirs:.2e}, tolerance {single:.0e}")
        median, their_median = (sorted(column)[len(rows) // 2] for column in list(zip(*rows))[:2])
        if not median <= max(typical, FACTOR * their_median):
            faults += 1
            print(f"  FAULT {kind}, median: {median:.2e}, PyTorch fp32 {their_median:.2e}, tolerance {typical:.0e}")
        error, theirs, name = max(rows)
        print(f"  {kind:9s} {len(rows):4d} tensors: median {median:.1e} (PyTorch fp32 {their_median:.1e}), worst "
              f"{error:.1e} ({name}; PyTorch fp32 there {theirs:.1e})")
    return faults


def check(options, size, norm):
    """One size and norm; returns the number of tensors outside the tolerance."""
    # double precision at 250 px is slow and large: half the batch
    batch = options.batch if size < 128 else max(options.batch // 2, 2)
    print(f"ResNeXt-50 32x4d, {norm} norm, {size}x{size}, batch {batch}, seed {options.seed}, PyTorch "
          f"{torch.__version__}")
    model, images, labels = make_problem(size, batch, options.seed, norm)
    start = {n: v.clone() for n, v in model.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        ours = cytofold_step(options.program, Path(folder), size, norm, options.device, model, images, labels)
    peer = torch_step(model, images, labels)
    model.load_state_dict(start)
    truth = torch_step(model.double(), images.double(), labels)
    return compare(ours, peer, truth)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--size", type=int, action="append")
    parser.add_argument("--norm", choices=["batch", "group"], action="append")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    faults = 0
    for size in options.size or [64, 250]:
        for norm in options.norm or ["batch"]:
            faults += check(options, size, norm)
    print(f"parity: {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
