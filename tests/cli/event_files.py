#!/usr/bin/env python3
"""TensorBoard's files of a whole run, killed and taken up again, as others read them.   event_files.py PROGRAM

A run on phantom cells (synthetic) is killed twice and finished. Then every fold's event file is read three ways:
by the few lines below (framing, checksums, the wire format with the official field numbers), by protoc with our
.proto and by TensorBoard's own reader; the last two where they are installed. Each point stands once, forwards,
with the figure of log.jsonl or metrics.json.
"""
import csv
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = os.path.abspath((sys.argv + [""])[1])
HERE = Path(__file__).resolve().parent
TINY = HERE.parent / "mpi" / "tiny.yaml"
ENVIRONMENT = dict(os.environ, LC_ALL="C", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
TRAIN = [PROGRAM, "train", str(TINY), "--run", "run", "--workers", "1", "--set", "data.cells=cells.cells",
         "--set", "train.epochs=12", "--set", "train.warmup_epochs=1", "--set", "train.evaluate_every=5"]
DEADLINE_S = 60


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    data, at = path.read_bytes(), 0
    while at < len(data):
        length, crc = struct.unpack_from("<QI", data, at)
        assert crc == masked(data[at:at + 8]), f"{path}:{at}: checksum of the length"
        message = data[at + 12:at + 12 + length]
        assert len(message) == length, f"{path}:{at}: a record of {length} bytes, {len(message)} are there"
        if length < 1 << 16:  # slow in Python: pictures are left to TensorBoard
            assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(message), f"{path}:{at}: checksum"
        yield message
        at += 16 + length


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def fields(data):
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
        else:
            width = {1: 8, 5: 4}[key & 7]
            value, at = struct.unpack_from("<d" if width == 8 else "<f", data, at)[0], at + width
        yield key >> 3, value


def read_ours(path):
    """{tag: [(step, wall time, figure or PNG), ...]}, and whether the first record names the version."""
    points, versions = {}, []
    for n, message in enumerate(records(path)):
        event = dict(fields(message))
        if 3 in event:
            versions.append((n, event[3]))
        for number, value in fields(event.get(5, b"")):
            assert number == 1
            value = dict(fields(value))
            figure = value[2] if 2 in value else dict(fields(value[4]))[4]
            points.setdefault(value[1].decode(), []).append((event.get(2, 0), event.get(1, 0.0), figure))
    assert versions == [(0, b"brain.Event:2")], f"{path}: versions {versions}"
    return points


def read_protoc(path):
    points = {}
    for message in records(path):
        text = subprocess.run(["protoc", "--decode=cf.Event", f"-I{HERE.parent.parent}/proto", "events.proto"],
                              input=message, capture_output=True, check=True).stdout.decode()
        assert not re.search(r"^\s*\d+:", text, re.M), f"a field that events.proto does not name:\n{text}"
        step = int((re.search(r"^step: (\d+)", text, re.M) or [0, 0])[1])
        for tag, figure in re.findall(r'tag: "([^"]*)"\s+simple_value: (\S+)', text):
            points.setdefault(tag, []).append((step, float(figure)))
    return points


def read_tensorboard(path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    reader = EventAccumulator(str(path.parent), size_guidance={"scalars": 0, "images": 0})
    reader.Reload()
    tags = reader.Tags()
    points = {tag: [(e.step, e.wall_time, e.value) for e in reader.Scalars(tag)] for tag in tags["scalars"]}
    for tag in tags["images"]:
        points[tag] = [(e.step, e.wall_time, e.encoded_image_string) for e in reader.Images(tag)]
    return points


def kill_after(lines):
    """Starts the job and kills it once log.jsonl has so many lines of epochs. False when it was through before."""
    log = Path("run/log.jsonl")
    job = subprocess.Popen(TRAIN, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           start_new_session=True)
    deadline = time.monotonic() + DEADLINE_S
    while job.poll() is None and time.monotonic() < deadline:
        if log.exists() and log.read_text().count('"event": "epoch"') >= lines:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
            return True
        time.sleep(0.002)
    return False


def as_float(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def expected(fold):
    """{tag: [(step, figure), ...]} from log.jsonl and metrics.json."""
    points, steps = {}, {}
    for line in open("run/log.jsonl", encoding="utf-8"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # torn by the kill
        if entry.get("fold") != fold:
            continue
        if entry["event"] == "epoch" and entry["epoch"] not in steps:
            steps[entry["epoch"]] = entry["step"]
            for key in ("loss", "accuracy", "learning_rate", "images_per_second"):
                points.setdefault(f"train/{key}", []).append((entry["step"], entry[key]))
        if entry["event"] == "test":
            point = (steps[entry["epoch"]], entry["accuracy"])
            if point not in points.setdefault("test/accuracy", []):
                points["test/accuracy"].append(point)
    metrics = json.loads(Path(f"run/fold-{fold}/metrics.json").read_text())["folds"][0]
    last = max(steps.values())
    points["test/accuracy"].append((last, metrics["accuracy"]))
    for key in ("accuracy", "accuracy_tolerant", "balanced_accuracy", "macro_f1", "weighted_f1", "nll", "ece"):
        points[f"figures/{key}"] = [(last, metrics[key])]
    for code, figures in metrics["per_class"].items():
        for key in ("f1", "precision", "recall"):
            points[f"{key}/{code}"] = [(last, figures[f"{key}_strict"])]
    return {tag: [(step, as_float(x)) for step, x in row] for tag, row in points.items()}


def check_errors(fold, pictures):
    """Twelve tiles at most: the errors of predictions.csv, the surest first, JPEG of 128 px at most."""
    with open(f"run/fold-{fold}/predictions.csv", newline="", encoding="utf-8") as f:
        wrong = [row for row in csv.DictReader(f) if row["label"] != row["predicted"]]
    wrong.sort(key=lambda row: -float(row["p_" + row["predicted"]]))
    tags = [f"errors/{i:02d} {row['label']} as {row['predicted']}" for i, row in enumerate(wrong[:12], 1)]
    assert list(pictures) == tags, f"fold {fold}: pictures {list(pictures)}, expected {tags}"
    assert all(row[0][2].startswith(b"\xff\xd8\xff") for row in pictures.values()), "a tile is no JPEG"


def check_fold(fold, others):
    path = next(Path(f"run/fold-{fold}").glob("events.out.tfevents*"))
    ours = read_ours(path)
    figures = {tag: [(p[0], p[2]) for p in row] for tag, row in ours.items() if isinstance(row[0][2], float)}
    wanted = expected(fold)
    assert figures == wanted, f"{path}: found {figures}, expected {wanted}"
    pictures = {tag: row for tag, row in ours.items() if tag not in figures}
    check_errors(fold, {tag: row for tag, row in pictures.items() if tag != "figures/confusion"})
    assert pictures["figures/confusion"][0][2].startswith(b"\x89PNG\r\n"), f"{path}: no PNG"
    for tag, row in ours.items():
        assert all(a[0] < b[0] and a[1] <= b[1] for a, b in zip(row, row[1:])), f"{path}: {tag}: {row}"
    for name, read in others.items():
        theirs = read(path)
        if name == "TensorBoard":
            assert theirs == ours, f"{path}: {name} reads something else"
        else:  # its text has fewer digits than a float
            for tag, row in figures.items():
                assert [p[0] for p in theirs[tag]] == [p[0] for p in row], f"{path}: {name}: {tag}"
                assert all(abs(a[1] - b[1]) <= 1e-6 * abs(b[1]) for a, b in zip(theirs[tag], row)), tag
    return sum(len(row) for row in ours.values())


def available():
    readers = {}
    try:
        import tensorboard  # noqa: F401
        readers["TensorBoard"] = read_tensorboard
    except ImportError:
        print("TensorBoard is not installed: not read by it")
    try:
        subprocess.run(["protoc", "--version"], capture_output=True, check=True)
        readers["protoc"] = read_protoc
    except (OSError, subprocess.CalledProcessError):
        print("protoc is not installed: not read by it")
    return readers


def main():
    subprocess.run([PROGRAM, "synth", "-o", "phantoms", "--images", "63", "--size", "32", "--scheme", "bm7"],
                   check=True, stdout=subprocess.DEVNULL)
    subprocess.run([PROGRAM, "pack", "phantoms", "--scheme", "bm7", "-o", "cells.cells"], check=True,
                   stdout=subprocess.DEVNULL)
    kills = sum(kill_after(lines) for lines in (7, 20))
    assert kills > 0, "the job was through before it could be killed"
    done = subprocess.run(TRAIN, env=ENVIRONMENT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    files = sorted(Path("run").glob("fold-*/events.out.tfevents*"))
    assert len(files) == 3, files
    readers = available()
    n = [check_fold(fold, readers) for fold in range(3)]
    before = [path.read_bytes() for path in files]
    subprocess.run(TRAIN, env=ENVIRONMENT, capture_output=True, timeout=DEADLINE_S, check=True)
    assert before == [path.read_bytes() for path in files], "starting a finished run again changed its event files"
    subprocess.run([PROGRAM, "report", "run"], env=ENVIRONMENT, capture_output=True, timeout=DEADLINE_S, check=True)
    assert before == [path.read_bytes() for path in files], "report changed the event files"
    os.rename("cells.cells", "away.cells")
    subprocess.run([PROGRAM, "report", "run"], env=ENVIRONMENT, capture_output=True, timeout=DEADLINE_S, check=True)
    assert before == [path.read_bytes() for path in files], "report without the images changed the event files"
    os.rename("away.cells", "cells.cells")
    off = [word.replace("run", "off") if word == "run" else word for word in TRAIN]
    subprocess.run(off + ["--set", "run.tensorboard=false", "--set", "train.epochs=2"], env=ENVIRONMENT,
                   capture_output=True, timeout=DEADLINE_S, check=True)
    assert not list(Path("off").glob("fold-*/events*")), "run.tensorboard=false wrote event files"
    print(f"{kills} kills, {n} points in three files, read by {', '.join(['this test', *readers])}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        main()
        os.chdir("/")
