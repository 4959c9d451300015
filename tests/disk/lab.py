"""A small job on phantom cells (synthetic) for tests that disturb it, and what its result is."""
import errno
import hashlib
import os
import re
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = os.path.join(os.path.dirname(HERE), "mpi", "tiny.yaml")
DEADLINE_S = 120
SKIPPED = 77


def scratch():
    """A folder in memory where possible: syncing costs nothing there."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="cytofold-disk-", dir=base)


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "CYTOFOLD_"))}
    env.update(LC_ALL="C", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1")
    env.update(more)
    return env


class Lab:
    def __init__(self, program, work):
        self.program, self.work = os.path.abspath(program), work
        self.cells = os.path.join(work, "cells.cells")
        phantoms = os.path.join(work, "phantoms")
        for command in (["synth", "-o", phantoms, "--images", "84", "--size", "32", "--scheme", "bm7"],
                        ["pack", phantoms, "--scheme", "bm7", "-o", self.cells]):
            subprocess.run([self.program] + command, check=True, stdout=subprocess.DEVNULL, env=environment())

    def command(self, run, workers, *more):
        command = [self.program, "train", CONFIG, "--run", run, "--workers", str(workers)]
        sets = ["data.cells=" + self.cells, "data.split=holdout", "data.test_share=0.3", "train.epochs=2",
                "run.device=cpu", "run.coordinator=" + ("thread" if workers == 1 else "rank")]
        for word in sets + list(more):
            command += ["--set", word]
        return command

    def train(self, run, workers, *more, env=None, limit=None):
        """Exit code and messages of a job; limit: called in its process before it starts."""
        done = subprocess.run(self.command(run, workers, *more), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              env=env or environment(), timeout=DEADLINE_S, preexec_fn=limit)
        return done.returncode, done.stderr.decode(errors="replace")


def checksums(run):
    """Of all that a result is: predictions, metrics, tables, the newest checkpoint."""
    fold = os.path.join(run, "fold-0")
    newest = max((n for n in os.listdir(fold) if n.endswith(".ckpt")), key=lambda n: int(re.findall(r"\d+", n)[0]))
    names = ["fold-0/predictions.csv", "fold-0/metrics.json", "fold-0/" + newest, "metrics.json", "table.csv",
             "table.md", "confusion.csv", "folds.csv", "scheme.yaml"]
    sums = {}
    for name in names:
        with open(os.path.join(run, name), "rb") as f:
            sums[name] = hashlib.sha256(f.read()).hexdigest()
    return sums


def leftovers(run):
    """Temporaries and locks of jobs that have ended."""
    found = [os.path.join(folder, name) for folder, _, names in os.walk(run) for name in names]
    return [f for f in found if ".tmp-" in f or f.endswith(".lock") and not f.endswith("/.lock") or "proof" in f]


def names_figures(text, run):
    """An error of the disk tells where, and the bytes needed and free."""
    return run in text and re.search(r"needs \d+ bytes[^\n]*, \d+ bytes are free", text) is not None


ERRNO = {"full": errno.ENOSPC, "quota": errno.EDQUOT, "input/output": errno.EIO, "read-only": errno.EROFS}
