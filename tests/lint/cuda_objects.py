#!/usr/bin/env python3
"""What nvcc made of the kernels that decide the speed: no register spills, no local memory, tensor cores where
they are meant. usage: cuda_objects.py CUOBJDUMP OBJECT...

Reads `cuobjdump -res-usage` and `-sass` of each object, for every architecture in it; rules.py says which
objects are looked at and which of their kernels must use tensor cores. Exit code 77 where CUOBJDUMP is not
there: ctest then reports the test as skipped.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys

import rules

SKIP = 77
# Loads from and stores to local memory, and the matrix instructions of sm_80 and of sm_90.
LOCAL = re.compile(r"\b(LDL|STL)\b")
TENSOR = re.compile(r"\b(HMMA|HGMMA)\b")


def parse_usage(text):
    """{(architecture, kernel): bytes of stack and local memory} of `cuobjdump -res-usage`."""
    usage, arch, kernel = {}, None, None
    for line in text.splitlines():
        if found := re.match(r"arch = (\w+)", line):
            arch = found.group(1)
        elif found := re.match(r"\s*Function (\S+):", line):
            kernel = found.group(1)
        elif kernel and (found := re.search(r"STACK:(\d+).*LOCAL:(\d+)", line)):
            usage[arch, kernel] = int(found.group(1)) + int(found.group(2))
            kernel = None
    return usage


def parse_sass(text):
    """{(architecture, kernel): (local memory instructions, tensor-core instructions)} of `cuobjdump -sass`."""
    counts, arch, key = {}, None, None
    for line in text.splitlines():
        if line.lstrip().startswith("/*"):  # an instruction; most are none of ours
            if key and ("STL" in line or "LDL" in line or "MMA" in line):
                local, tensor = counts[key]
                counts[key] = local + bool(LOCAL.search(line)), tensor + bool(TENSOR.search(line))
        elif found := re.match(r"arch = (\w+)", line):
            arch, key = found.group(1), None
        elif found := re.match(r"\s*Function : (\S+)", line):
            key = arch, found.group(1)
            counts[key] = 0, 0
    return counts


def faults_of(name, pattern, usage, counts):
    """What is wrong with the object `name`; pattern: kernels that must use tensor cores, None for none."""
    faults = []
    if not counts or set(usage) != set(counts):
        return [f"{name}: {len(counts)} kernels disassembled, {len(usage)} with a resource line"]
    for (arch, kernel), (local, tensor) in sorted(counts.items()):
        where = f"{name}: {arch}: {kernel}"
        if usage[arch, kernel] or local:
            faults.append(f"{where}: {usage[arch, kernel]} bytes of local memory and {local} accesses to it, "
                          "expected none")
        if pattern and re.search(pattern, kernel) and not tensor:
            faults.append(f"{where}: no tensor-core instruction")
    for arch in sorted({arch for arch, _ in counts}):
        if pattern and not any(a == arch and re.search(pattern, kernel) for a, kernel in counts):
            faults.append(f"{name}: {arch}: no kernel is named like '{pattern}'")
    return faults


def dump(tool, option, path):
    done = subprocess.run([tool, option, path], capture_output=True, text=True, check=True)
    return done.stdout


def check(tool, name, path):
    counts = parse_sass(dump(tool, "-sass", path))
    print(f"{name}: {len(counts)} kernels, {len({arch for arch, _ in counts})} architectures")
    return faults_of(name, rules.CUDA_OBJECTS[name], parse_usage(dump(tool, "-res-usage", path)), counts)


def main(tool, *objects):
    if not shutil.which(tool):
        print(f"{tool}: cuobjdump is not installed")
        return SKIP
    paths = {os.path.basename(path).removesuffix(".o"): path for path in objects}
    faults = [f"{name}: there is no such object" for name in rules.CUDA_OBJECTS if name not in paths]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:  # each waits for a disassembler
        for found in pool.map(lambda name: check(tool, name, paths[name]), rules.CUDA_OBJECTS.keys() & paths.keys()):
            faults += found
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
