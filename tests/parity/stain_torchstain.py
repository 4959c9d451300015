#!/usr/bin/python3
"""Stain separation and normalisation beside torchstain's, on the same images.

torchstain is an independent implementation of the published algorithm (Macenko et al. 2009); its
numpy normaliser is the one compared with. Io, the background threshold and the percentiles are its
defaults and ours. Where definitions differ, they are set alike: it looks at the pixels that we look
at, but is also run on all of them, to show what thinning costs; its output is 240 exp(-OD) where
ours is that less 1, which inverts the density exactly.

  tests/parity/stain_torchstain.py PROGRAM DUMP_STAIN [FOLDER]    (default: data/bm7-original)

Needs numpy and torchstain (PyPI); the exit status 77 (skipped) where they or the images are not.
"""
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from torchstain.numpy.normalizers import NumpyMacenkoNormalizer
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

IMAGES = 200


def theirs(image):
    """Vectors [2,3] and maxima [2] as torchstain finds them."""
    normalizer = NumpyMacenkoNormalizer()
    normalizer.fit(image)
    return normalizer.HERef.T, normalizer.maxCRef


def degrees(a, b):
    a, b = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
    return np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(a - b, axis=-1) / 2, 0, 1)))


def show(what, unit, values):
    values = np.asarray(values)
    print(f"{what:<52} median {np.median(values):9.3g}  95 % {np.percentile(values, 95):9.3g}  "
          f"largest {values.max():9.3g} {unit}")


def density_to_value(density):
    return np.clip(240 * np.exp(-density) - 1, 0, 255)


def normalized(pixels, vectors, maxima, to_vectors, to_maxima):
    """torchstain's normalisation with the vectors given, in double and without its rounding."""
    density = -np.log((pixels.reshape(-1, 3).astype(float) + 1) / 240)
    concentrations = np.linalg.lstsq(vectors.T, density.T, rcond=None)[0]
    concentrations *= (to_maxima / maxima)[:, None]
    return density_to_value(to_vectors.T.dot(concentrations)).T.reshape(pixels.shape)


def main():
    program, dump = sys.argv[1:3]
    folder = sys.argv[3] if len(sys.argv) > 3 else ""
    if not os.path.isdir(folder):
        print("skipped: no folder of images")
        return 77
    with tempfile.TemporaryDirectory() as work:
        run = lambda *command: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        read = lambda name, kind: np.fromfile(os.path.join(work, name), kind)
        cells = os.path.join(work, "x.cells")
        run(program, "pack", folder, "--scheme", "auto", "-o", cells)
        run(dump, cells, work, str(IMAGES))
        shape = read("shape.i32", np.int32)
        pixels = read("pixels.u8", np.uint8).reshape(*shape, 3)
        stains = read("stains.f32", np.float32).reshape(-1, 9).astype(float)
        step = int(read("step.i32", np.int32)[0])
        found = stains[:, 0] == 1
        ours = stains[:, 1:7].reshape(-1, 2, 3), stains[:, 7:9]
        print(f"{shape[0]} images of {shape[1]} x {shape[2]} px, every {step}. pixel of every "
              f"{step}. row; without a pair of their own: {np.sum(~found)}")
        pixels, ours = pixels[found], (ours[0][found], ours[1][found])
        thinned = [theirs(p[::step, ::step]) for p in pixels]
        whole = [theirs(p) for p in pixels]
        same = [np.stack(part) for part in zip(*thinned)]
        full = [np.stack(part) for part in zip(*whole)]
        angles = degrees(ours[0], same[0])
        maxima = np.abs(ours[1] / same[1] - 1) * 100
        show("vectors, the same pixels", "degrees", angles)
        show("99th percentiles, the same pixels", "%", maxima)
        show("vectors, theirs on all pixels", "degrees", degrees(ours[0], full[0]))
        show("99th percentiles, theirs on all pixels", "%", np.abs(ours[1] / full[1] - 1) * 100)

        # normalisation to the first image: our formula with their vectors, then all our own
        def our_pixels(vectors, percentiles):
            np.array([found.sum(), *shape[1:]], np.int32).tofile(os.path.join(work, "shape.i32"))
            pixels.tofile(os.path.join(work, "pixels.u8"))
            rows = np.concatenate([vectors.reshape(-1, 6), percentiles], 1).astype(np.float32)
            rows.tofile(os.path.join(work, "from.f32"))
            rows[0].tofile(os.path.join(work, "to.f32"))
            run(dump, work)
            return read("normalized.f32", np.float32).reshape(pixels.shape)

        expected = np.stack([normalized(p, v, m, same[0][0], same[1][0])
                             for p, v, m in zip(pixels, *same)])
        formula = np.abs(our_pixels(*same) - expected)
        show("normalised pixels, their vectors", "grey levels", formula)
        # their own code, which cuts to whole numbers and adds the 1
        normalizer = NumpyMacenkoNormalizer()
        normalizer.fit(pixels[0])
        own = np.stack([normalizer.normalize(p, stains=False)[0] for p in pixels]).astype(float)
        mine = np.minimum(our_pixels(*full) + 1, 255)
        show("normalised pixels, their function", "grey levels", np.abs(mine - own - 0.5))
        show("normalised pixels, our vectors", "grey levels",
             np.abs(our_pixels(*ours) - expected))

        # An angle's bin is up to 0.11 degrees wide, a concentration's 0.4 %, and theirs are between
        # two pixels' values as ours are within a bin.
        good = np.percentile(angles, 95) < 0.1 and np.percentile(maxima, 95) < 0.4
        good = good and np.median(angles) < 0.03 and formula.max() < 0.05
        print("as expected" if good else "FAILED: further apart than the histograms' bins explain")
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
