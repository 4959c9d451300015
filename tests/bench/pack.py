#!/usr/bin/python3
"""Packing JPEG files, beside Python loops with Pillow and with torchvision's decoder, in turns.

Every side decodes the same files to RGB and puts all pixels, in order, into one file that is on disk
in the end (fsync). The page cache is warm. Pillow runs in one process and in several, torchvision in
one. Time of imports and of starting an interpreter is left out of theirs and not of cytofold's.
Prints medians, ranges and ratios as Markdown, of wall time and of processor time.

  tests/bench/pack.py build/release/launch/cytofold FOLDER --scheme bm7 --runs 5
"""
import argparse
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def decode_pillow(path):
    import numpy
    from PIL import Image
    with Image.open(path) as image:
        return numpy.array(image.convert("RGB"))


def decode_torchvision(path):
    import torchvision.io as io
    image = io.decode_jpeg(io.read_file(path), mode=io.ImageReadMode.RGB)
    return image.permute(1, 2, 0).contiguous().numpy()


def peer(kind, processes, list_file, output):
    """Runs in a process of its own; prints seconds of wall and processor time."""
    with open(list_file, encoding="utf-8") as file:
        paths = file.read().split("\n")
    decode = decode_torchvision if kind == "torchvision" else decode_pillow
    decode(paths[0])  # imports
    if kind == "torchvision":
        import torch
        torch.set_num_threads(1)
    pool = multiprocessing.Pool(processes) if processes > 1 else None
    if pool:
        pool.map(decode, paths[:processes])
    begin, used = time.perf_counter(), processor_time()
    with open(output, "wb") as file:
        for pixels in pool.imap(decode, paths, chunksize=16) if pool else map(decode, paths):
            file.write(pixels.data)
        file.flush()
        os.fsync(file.fileno())
    wall = time.perf_counter() - begin
    if pool:  # the children's time counts once they have ended
        pool.close()
        pool.join()
    print(json.dumps({"wall": wall, "processor": processor_time() - used}))


def processor_time():
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def run_peer(kind, processes, list_file, output):
    command = [sys.executable, __file__, "--peer", kind, str(processes), list_file, output]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def run_pack(program, manifest, scheme, output, options):
    before = processor_time()
    command = [program, "pack", manifest, "--scheme", scheme, "-o", output, "--json", *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"wall": json.loads(done.stdout)["seconds"], "processor": processor_time() - before}


def list_images(folder, limit):
    paths = []
    for base, folders, files in os.walk(folder):
        folders.sort()
        paths += [os.path.join(base, name) for name in sorted(files)]
    paths = [path for path in paths if path.lower().endswith((".jpg", ".jpeg"))]
    return paths[:: max(1, len(paths) // limit)] if limit else paths


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--peer":
        return peer(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("folder", help="a folder of JPEG files per class")
    parser.add_argument("--scheme", required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--images", type=int, default=0, help="about so many of them (default: all)")
    options = parser.parse_args()
    paths = list_images(os.path.abspath(options.folder), options.images)
    with tempfile.TemporaryDirectory() as work:
        list_file, manifest = os.path.join(work, "list"), os.path.join(work, "manifest.csv")
        with open(list_file, "w", encoding="utf-8") as file:
            file.write("\n".join(paths))
        with open(manifest, "w", encoding="utf-8") as file:
            rows = [f"{path},{os.path.basename(os.path.dirname(path))}\n" for path in paths]
            file.write("path,label\n" + "".join(rows))
        output = os.path.join(work, "out")

        def pack(*more):
            return lambda: run_pack(options.program, manifest, options.scheme, output, more)

        sides = {
            "Pillow, 1 process": lambda: run_peer("pillow", 1, list_file, output),
            "Pillow, 2 processes": lambda: run_peer("pillow", 2, list_file, output),
            "torchvision, 1 thread": lambda: run_peer("torchvision", 1, list_file, output),
            "pack, 1 thread, no stains": pack("--threads", "1", "--no-stain"),
            "pack, 2 threads, no stains": pack("--threads", "2", "--no-stain"),
            "pack, 2 threads, stains": pack("--threads", "2"),
            "pack, 2 threads, --keep-encoded, no stains":
                pack("--threads", "2", "--no-stain", "--keep-encoded"),
        }
        report(measure(sides, options.runs), len(paths), options.runs)
    return None


def measure(sides, runs):
    for side in sides.values():
        side()  # warms the page cache
    results = {name: [] for name in sides}
    for _ in range(runs):  # in turns, so that a busy machine is busy for all
        for name, side in sides.items():
            results[name].append(side())
    return results


def report(results, n, runs):
    base = {key: statistics.median(r[key] for r in results["Pillow, 1 process"])
            for key in ("wall", "processor")}
    print(f"{n} files, {runs} runs each, in turns; load of the machine {os.getloadavg()[0]:.1f} "
          f"on {os.cpu_count()} cores.\n")
    print("| | images/s of wall time: median (range) | x Pillow | "
          "images/s of processor time: median (range) | x Pillow |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, side in results.items():
        cells = [name]
        for key in ("wall", "processor"):
            times = [r[key] for r in side]
            middle = statistics.median(times)
            cells += [f"{n / middle:.0f} ({n / max(times):.0f} to {n / min(times):.0f})",
                      f"{base[key] / middle:.2f}"]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
