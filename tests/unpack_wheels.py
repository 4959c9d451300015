#!/usr/bin/env python3
"""Unpacks include/ and lib/ of Python wheels that carry a C library (oneDNN 3.x) into one folder.

usage: unpack_wheels.py FOLDER WHEEL...
A wheel keeps such files under NAME.data/data/. Wheels hold no symbolic links, so the plain name of the library
is made here.
"""
import os
import sys
import zipfile


def unpack(wheel, folder):
    with zipfile.ZipFile(wheel) as archive:
        for item in archive.infolist():
            inner = item.filename.partition(".data/data/")[2]
            if item.is_dir() or not inner.startswith(("include/", "lib/")) or ".." in inner.split("/"):
                continue
            path = os.path.join(folder, inner)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(item) as source, open(path, "wb") as target:
                target.write(source.read())


def main(folder, *wheels):
    for wheel in wheels:
        unpack(wheel, folder)
    libraries = os.path.join(folder, "lib")
    plain = os.path.join(libraries, "libdnnl.so")
    versions = sorted(n for n in os.listdir(libraries) if n.startswith("libdnnl.so."))
    if versions and not os.path.exists(plain):
        os.symlink(versions[0], plain)
    if not os.path.exists(plain) or not os.path.exists(os.path.join(folder, "include/oneapi/dnnl/dnnl.h")):
        return f"unpack_wheels: no libdnnl.so and dnnl.h in {' '.join(wheels)}"
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
