#!/usr/bin/python3
"""What `export` writes and `import` reads, beside the programs it is for.

ONNX: networks of every kind (variants, norms, stems, the sequential one, merged nodes, zoom), trained for some
epochs on phantom cells (synthetic), predict real images where there are any, else phantoms. ONNX Runtime and OpenCV
must give the probabilities of `predict` in fp32; onnx.checker must find nothing. safetensors: a resnext50_32x4d of
torchvision and of timm with random weights and moments goes in, gives the same logits here, and comes out again bit
by bit.

  tests/parity/exchange_peers.py PROGRAM [FOLDER of real images] [onnx|torch]...
  tests/parity/exchange_peers.py PROGRAM FOLDER RUN      (all folds of a run, 300 images)

Needs numpy and Pillow, and one of onnxruntime, cv2, torch with torchvision or timm (any is left out by name); the
exit status 77 (skipped) where nothing can be compared.
"""
import csv
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from PIL import Image
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

# Of probabilities: the task's own bound. Of logits (differences of logarithms of probabilities, which `predict`
# writes with nine digits): fp32 sums of 50 layers in another order, 1e-6 of logits that spread over some units.
MOST_P, MOST_LOGIT = 1e-5, 5e-5
# Of a class's probability over the images (standard deviation): a network that knows no image from another proves
# nothing.
LEAST_SPREAD = 0.02
SIDE, IMAGES, SEED = 48, 60, 11

TINY = """
data: {folds: 2}
model: {image_size: 40, depths: [1, 1], cardinality: 4, group_width: 4, stage_channels: 32, stem: small,
        stem_channels: 16}
train: {epochs: 8, batch: 16, micro_batch: 8, optimizer: adamw, learning_rate: 5e-3, precision: fp32}
augment: {mean: [0.56, 0.5, 0.73], std: [0.24, 0.28, 0.18]}
run: {threads: 1}
"""
# name -> overrides of TINY
NETWORKS = {
    "standard, small stem": [],
    "standard, full stem, zoom 1.25": ["model.stem=full", "augment.zoom=1.25"],
    "paper (LeakyReLU, biases, TF padding)": ["model.variant=paper", "model.stem=full"],
    "paper, odd sides": ["model.variant=paper", "model.image_size=37"],
    "group norm": ["model.norm=group", "model.norm_groups=8"],
    "sequential": ["model.network=sequential", "model.widths=[8, 8, 16]", "model.image_size=44"],
    "sequential, batch norm": ["model.network=sequential", "model.norm=batch", "model.widths=[8, 16, 16, 32, 32]"],
    "reduced to a third": ["model.image_size=16"],
    "averaged weights": ["train.ema=0.9"],
}
MERGED = """name: merged
classes: [{code: BLA}, {code: EOS}, {code: LYT}, {code: MON}, {code: NGS}, {code: NIF}, {code: PMO}]
merged_nodes: {BLA: [BLA_1, BLA_2], PMO: [PMO_1, PMO_2, PMO_3]}
"""

failed, compared = [], 0


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def show(what, figure, most):
    global compared
    compared += 1
    print(f"{what:<72} {figure:9.2g}")
    if not figure <= most:
        failed.append(f"{what}: {figure:.3g}, at most {most:g}")


def probabilities(program, folder, images, *options):
    """[n, classes] of `predict`, in the order of the images' names."""
    run(program, "predict", folder, images, "-o", "p.csv", "--device", "cpu", *options)
    with open("p.csv", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["id"])
    names = [name for name in rows[0] if name.startswith("p_")]
    return np.array([[float(row[name]) for name in names] for row in rows])


def prepare_images(folder, side, n, to):
    """n images as PNG of side x side px, uint8 [n, side, side, 3]; of the folder of real ones, or drawn at random."""
    os.makedirs(to)
    paths = sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".tiff"))
    paths = paths[::max(1, len(paths) // n)][:n]
    for i, path in enumerate(paths):
        Image.open(path).convert("RGB").resize((side, side), Image.BILINEAR).save(f"{to}/{i:05d}.png")
    return np.stack([np.asarray(Image.open(f"{to}/{i:05d}.png")) for i in range(len(paths))])


def load(module):
    try:
        return __import__(module)
    except (ImportError, OSError) as missing:
        print(f"left out: {missing}")
        return None


# ---- ONNX ------------------------------------------------------------------------------------------------------------


def by_runtime(runtime, path, pixels):
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = ["probabilities", "logits"]
    outputs = [session.run(names, {"images": pixels[i:i + 16]}) for i in range(0, len(pixels), 16)]
    return [np.concatenate(part) for part in zip(*outputs)]


def by_opencv(cv2, path, pixels):
    net = cv2.dnn.readNetFromONNX(path)
    p = []
    levels = np.uint8 if int(cv2.__version__.split(".")[0]) >= 5 else np.float32  # before, all inputs are floats
    for image in pixels:
        net.setInput(image[None].astype(levels), "images")
        p.append(net.forward("probabilities").reshape(-1))
    return np.array(p)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def compare_onnx(program, name, path, folder, images, pixels, peers, *options):
    onnx, runtime, cv2 = peers
    ours = probabilities(program, folder, images, *options)
    spread = ours.std(axis=0).max()
    if spread < LEAST_SPREAD:
        failed.append(f"{name}: images have nearly the same probabilities ({spread:.2g}): nothing is compared")
    if onnx:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        said = {entry.key: entry.value for entry in model.metadata_props}
        assert len(json.loads(said["classes"])) == ours.shape[1], said["classes"]
    if runtime:
        p, z = by_runtime(runtime, path, pixels)
        show(f"ONNX Runtime, {name} (spread {spread:.2f})", np.abs(p - ours).max(), MOST_P)
        merge = np.array(json.loads(said["class_of_node"])) if onnx else np.arange(z.shape[2])
        q = softmax(z.astype(np.float64)).mean(axis=1)
        q = np.stack([q[:, merge == k].sum(axis=1) for k in range(ours.shape[1])], axis=1)
        show("  from its logits", np.abs(q - ours).max(), MOST_P)
    if cv2:
        try:
            p = by_opencv(cv2, path, pixels[:8])
        except cv2.error as refusal:
            print(f"left out: OpenCV {cv2.__version__}: {str(refusal).strip().splitlines()[-1]}")
            peers[2] = None
        else:
            show(f"OpenCV, {name}", np.abs(p - ours[:8]).max(), MOST_P)


def compare_networks(program, data):
    peers = [load("onnx"), load("onnxruntime"), load("cv2")]
    if not any(peers):
        return
    run(program, "synth", "-o", "phantoms", "--images", "126", "--size", str(SIDE), "--scheme", "bm7", "--seed",
        str(SEED))
    run(program, "pack", "phantoms", "--scheme", "bm7", "-o", "phantoms.cells")
    pixels = prepare_images(data or "phantoms", SIDE, IMAGES, "images")
    print(f"{len(pixels)} {'real images' if data else 'phantoms (synthetic)'}, largest difference of a probability:")
    pathlib.Path("tiny.yaml").write_text(TINY)
    pathlib.Path("merged.yaml").write_text(MERGED)
    run(program, "pack", "phantoms", "--scheme", "merged.yaml", "-o", "merged.cells")
    jobs = [(name, "phantoms.cells", sets) for name, sets in NETWORKS.items()] + [("merged nodes", "merged.cells", [])]
    for i, (name, cells, sets) in enumerate(jobs):
        if not any(peers):  # OpenCV alone, which refused
            return
        options = [word for key in [f"data.cells={cells}"] + sets for word in ("--set", key)]
        run(program, "train", "tiny.yaml", "--run", f"run{i}", "--workers", "1", *options)
        run(program, "export", f"run{i}", "-o", "model.onnx")
        compare_onnx(program, name, "model.onnx", f"run{i}", "images", pixels, peers)
    run(program, "export", "run0", "--fold", "1", "-o", "model.onnx")
    compare_onnx(program, "one fold", "model.onnx", "run0", "images", pixels, peers, "--fold", "1")


def compare_run(program, data, source):
    """A whole run as it is, but in fp32; and out to safetensors and in again in its own precision."""
    peers = [load("onnx"), load("onnxruntime"), load("cv2")]
    shutil.copytree(source, "run")
    text = pathlib.Path("run/run.yaml").read_text()
    side = int(text.split("# images: ")[1].split(" x ")[0]) if "# images: " in text else int(
        text.split("pack_size: ")[1].split()[0])
    pathlib.Path("run/run.yaml").write_text(re.sub("precision: [a-z0-9]+", "precision: fp32", text))
    pixels = prepare_images(data, side, 300, "images")
    run(program, "export", "run", "-o", "run.onnx")
    compare_onnx(program, f"{len(pixels)} images, all folds of the run", "run.onnx", "run", "images", pixels, peers)
    files = [f"{i}.safetensors" for i in range(len(list(pathlib.Path(source).glob("fold-*/*.csv"))))]
    for i, file in enumerate(files):
        run(program, "export", source, "--fold", str(i), "-o", file)
    run(program, "import", *files, "-o", "imported")
    there = probabilities(program, source, "images")
    again = probabilities(program, "imported", "images")
    show("safetensors out and in again, its own precision", np.abs(again - there).max(), 0)


# ---- safetensors -----------------------------------------------------------------------------------------------------


def randomised(torch, model):
    """Moments and scales of a network that has been trained, and not those of a new one."""
    for name, value in model.state_dict().items():
        if name.endswith("running_mean") or (value.dim() == 1 and name.endswith(".bias")):
            value.normal_(0, 0.2)
        elif name == "fc.weight":
            value.mul_(10)  # logits that spread
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.dim() == 1:
            value.uniform_(0.5, 1.2)
        elif value.dim() == 0:
            value.fill_(1000)
    return model.eval()


def save_tensors(torch, state, path):
    try:
        from safetensors.torch import save_file
        save_file(state, path)
        return "safetensors' own writer"
    except ImportError:
        pass
    header, blocks, at = {}, [], 0
    for name, value in state.items():
        bytes_ = value.contiguous().numpy().tobytes()
        dtype = {torch.float32: "F32", torch.int64: "I64"}[value.dtype]
        header[name] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": [at, at + len(bytes_)]}
        blocks.append(bytes_)
        at += len(bytes_)
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blocks))
    return "a writer of this test (no safetensors here)"


def load_tensors(torch, path):
    try:
        from safetensors.torch import load_file
        return load_file(path)
    except ImportError:
        pass
    data = pathlib.Path(path).read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    types = {"F32": np.float32, "I64": np.int64}
    state = {}
    for name, e in json.loads(data[8:8 + n]).items():
        if name != "__metadata__":
            begin, end = e["data_offsets"]
            array = np.frombuffer(data[8 + n + begin:8 + n + end], types[e["dtype"]]).reshape(e["shape"])
            state[name] = torch.from_numpy(array.copy())
    return state


def centred(p):
    """Logits less their mean, from probabilities; those below 1e-4 have too few digits for it."""
    z = np.log(np.maximum(p, 1e-30))
    return np.where(p > 1e-4, z, np.nan) - np.nanmean(np.where(p > 1e-4, z, np.nan), axis=1, keepdims=True)


def compare_model(program, torch, name, model, images, pixels):
    folder, mean, std = f"{name}-run", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    model = randomised(torch, model)
    writer = save_tensors(torch, model.state_dict(), f"{name}.safetensors")
    print(f"{name}: resnext50_32x4d, random weights, {writer}")
    options = [word for key in [f"model.image_size={pixels.shape[1]}", "train.precision=fp32", f"augment.mean={mean}",
                                f"augment.std={std}"] for word in ("--set", key)]
    run(program, "import", f"{name}.safetensors", "-o", folder, "--scheme", "bm7", "--size", str(pixels.shape[1]),
        *options)
    ours = probabilities(program, folder, images)
    x = (torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).double() / 255 - torch.tensor(mean)[:, None, None]) / \
        torch.tensor(std)[:, None, None]
    with torch.no_grad():
        theirs = torch.softmax(model.double()(x), dim=1).numpy()
        model.float()
    show(f"{name} in, probabilities ({len(pixels)} images)", np.abs(ours - theirs).max(), MOST_P)
    where = (ours > 1e-4) & (theirs > 1e-4)
    a, b = np.where(where, ours, 0), np.where(where, theirs, 0)
    show(f"{name} in, logits (spread {np.nanmax(centred(a)) - np.nanmin(centred(a)):.1f})",
         np.nanmax(np.abs(centred(a) - centred(b))), MOST_LOGIT)
    run(program, "export", folder, "-o", "out.safetensors", "--names", name)
    state = load_tensors(torch, "out.safetensors")
    model.load_state_dict(state, strict=True)
    before = load_tensors(torch, f"{name}.safetensors")
    differ = [key for key in before
              if not key.endswith("num_batches_tracked") and not torch.equal(before[key], state[key])]
    show(f"{name} out again, tensors that differ of {len(before)}", len(differ), 0)


def compare_models(program, data):
    torch = load("torch")
    zoos = {"torchvision": load("torchvision"), "timm": load("timm")} if torch else {}
    if not any(zoos.values()):
        return
    if not data:
        run(program, "synth", "-o", "drawn", "--images", "21", "--size", "96", "--scheme", "bm7", "--seed", str(SEED))
    pixels = prepare_images(data or "drawn", 96, 16, "large")
    for i, (name, zoo) in enumerate(zoos.items()):
        if zoo:
            torch.manual_seed(SEED + i)
            model = zoo.models.resnext50_32x4d(num_classes=7) if name == "torchvision" else \
                zoo.create_model("resnext50_32x4d", pretrained=False, num_classes=7)
            compare_model(program, torch, name, model, "large", pixels)


def main():
    program = os.path.abspath(sys.argv[1])
    words = sys.argv[2:]
    parts = [word for word in words if word in ("onnx", "torch")] or ["onnx", "torch"]
    folders = [os.path.abspath(word) for word in words if word not in ("onnx", "torch")]
    runs = [folder for folder in folders if os.path.exists(f"{folder}/run.yaml")]
    folders = [folder for folder in folders if folder not in runs and os.path.isdir(folder)]
    data = folders[0] if folders else None
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        if runs:
            compare_run(program, data, runs[0])
            parts = []
        if "onnx" in parts:
            compare_networks(program, data)
        if "torch" in parts:
            compare_models(program, data)
        os.chdir("/")
    if failed:
        sys.exit("\n".join(failed))
    if not compared:
        print("skipped: neither onnxruntime nor cv2 nor torch with torchvision or timm")
        sys.exit(77)
    print(f"{compared} comparisons, seed {SEED}")


if __name__ == "__main__":
    main()
