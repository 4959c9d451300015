"""Whole jobs for the counted fault tests: started, watched, hurt, compared byte by byte.

A workshop holds phantom cells (synthetic) and the undisturbed run that all others are compared with. A job is one
`cytofold train`; every process of it carries a mark in its environment, so that ghosts are found wherever the
launcher left them. No fixed sleeps: everything is polled until a deadline. Read first: Workshop, Job.
"""
import glob
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time

CONFIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mpi", "tiny.yaml")
MARK = "CYTOFOLD_FAULT_JOB"
RANK = re.compile(rb"\0OMPI_COMM_WORLD_RANK=(\d+)\0")
GONE_S = 30  # RELIABILITY row 3: no process is left after that long
JOB_S = 120  # a job of seconds that takes longer hangs
POLL_S = 0.01


class Broken(Exception):
    """A promise that does not hold."""


def require(condition, what):
    if not condition:
        raise Broken(what)


def poll(condition, seconds):
    """The first true value of condition(), or its last value when the time is over."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(POLL_S)


def signal_name(number):
    return signal.Signals(number).name


class Job:
    """One `cytofold train` on a run folder. Its messages and table are appended to RUN.log and RUN.out."""

    def __init__(self, command, run, environment):
        self.run = run
        self.mark = f"{os.getpid()}-{random.getrandbits(64):016x}"
        self.log_path = f"{run}.log"
        self.log_start = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        with open(f"{run}.out", "a") as out, open(self.log_path, "a") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                                            env=dict(environment, **{MARK: self.mark}), start_new_session=True)
        self.start = time.monotonic()

    def members(self):
        """{pid: rank, or None for launchers} of the processes that live and bear the mark."""
        mark, found = f"\0{MARK}={self.mark}\0".encode(), {}
        for folder in glob.glob("/proc/[0-9]*"):
            try:
                with open(f"{folder}/environ", "rb") as file:
                    environment = b"\0" + file.read()
            except OSError:  # gone, or not ours
                continue
            if mark in environment:
                rank = RANK.search(environment)
                found[int(folder[6:])] = int(rank.group(1)) if rank else None
        return found

    def ranks(self):
        """{rank: pid}. A job of one rank without a launcher is rank 0 itself."""
        members = self.members()
        ranks = {rank: pid for pid, rank in members.items() if rank is not None}
        return ranks or ({0: self.process.pid} if len(members) == 1 and self.alive() else {})

    def launchers(self):
        """Pids, the first started first: `cytofold train` and mpirun, as far as they are two."""
        return sorted(pid for pid, rank in self.members().items() if rank is None)

    def alive(self):
        return self.process.poll() is None

    def messages(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            file.seek(self.log_start)
            return file.read()

    def wait(self, seconds=JOB_S):
        """The exit code as a shell sees it."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.clear()
            raise Broken(f"{self.run}: still running after {seconds} s\n{self.messages()}") from None
        return code if code >= 0 else 128 - code

    def wait_until(self, seconds_after_start):
        """Whether the job still runs at that time of its life."""
        poll(lambda: not self.alive(), self.start + seconds_after_start - time.monotonic())
        return self.alive()

    def wait_for_ranks(self, n=1):
        """{rank: pid} as soon as n ranks are there; {} when the job ended before."""
        return poll(lambda: not self.alive() or (len(self.ranks()) >= n and self.ranks()), GONE_S) and self.ranks()

    def send(self, pid, number):
        """False when the process was gone already."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def expect_gone(self, seconds=GONE_S):
        poll(lambda: not self.members(), seconds)
        left = self.members()
        if left:
            states = [self.describe(pid, rank) for pid, rank in left.items()]
            self.clear()
            raise Broken(f"{self.run}: processes left after {seconds} s: {', '.join(states)}\n{self.messages()}")

    @staticmethod
    def describe(pid, rank):
        try:
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                state = re.search(r"State:\s*(\S+)", file.read()).group(1)
        except OSError:
            state = "gone"
        return f"pid {pid} ({'launcher' if rank is None else f'rank {rank}'}, state {state})"

    def clear(self):
        """Leaves nothing behind, whatever happened."""
        for pid in self.members():
            self.send(pid, signal.SIGKILL)
        if self.alive():
            self.process.kill()
        self.process.wait()


def read_log(run):
    """The lines of log.jsonl; each must be whole."""
    with open(os.path.join(run, "log.jsonl"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    events = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(json.loads(line))
        except ValueError:
            raise Broken(f"{run}/log.jsonl:{number}: not JSON: {line!r}") from None
    return events


def epochs_of(run):
    """[((fold, epoch), what the epoch's line says of training)] in the order of the log."""
    return [((e["fold"], e["epoch"]), (e["step"], e["loss"], e["accuracy"], e["learning_rate"]))
            for e in read_log(run) if e["event"] == "epoch"]


def checkpoints(run):
    """{fold: steps of its checkpoints, ascending}."""
    steps = {}
    for path in glob.glob(os.path.join(run, "fold-*", "checkpoint-*.ckpt")):
        fold, step = re.search(r"fold-(\d+)/checkpoint-(\d+)\.ckpt$", path).groups()
        steps.setdefault(int(fold), []).append(int(step))
    return {fold: sorted(found) for fold, found in steps.items()}


def sums(run):
    """{file: SHA-256} of all that the one law speaks of: predictions, metrics, tables, last checkpoints."""
    files = [f"fold-{fold}/checkpoint-{steps[-1]}.ckpt" for fold, steps in checkpoints(run).items()]
    for pattern in ("fold-*/predictions.csv", "fold-*/metrics.json", "metrics.json", "table.*", "confusion.csv"):
        files += [os.path.relpath(path, run) for path in glob.glob(os.path.join(run, pattern))]
    found = {}
    for name in sorted(files):
        with open(os.path.join(run, name), "rb") as file:
            found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


class Workshop:
    """A folder with phantom cells and an undisturbed run. Use with `with`."""

    def __init__(self, programs, rng, epochs, sets=()):
        """programs: cytofold, and its copy with faults."""
        self.program, self.inject = (os.path.abspath(path) for path in programs)
        self.rng, self.epochs, self.sets = rng, epochs, list(sets)
        self.folder = tempfile.mkdtemp(prefix="cytofold-fault-")
        self.jobs, self.n_runs, self.life = [], 0, 0.0
        self.environment = dict(os.environ, LC_ALL="C", OMPI_ALLOW_RUN_AS_ROOT="1",
                                OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1")
        self.environment.pop("CYTOFOLD_TERMINAL", None)

    def __enter__(self):
        self.tool("synth", "-o", "phantoms", "--images", "126", "--size", "32", "--scheme", "bm7", "--seed", "5")
        self.tool("pack", "phantoms", "--scheme", "bm7", "-o", "cells.cells")
        whole, code = self.finish(self.new_run(), workers=2)
        require(code == 0, f"the undisturbed run: exit {code}\n{whole.messages()}")
        self.life = time.monotonic() - whole.start
        self.expected, self.expected_epochs = sums(whole.run), dict(epochs_of(whole.run))
        require(len(self.expected) >= 13, f"the undisturbed run has only {len(self.expected)} files to compare")
        return self

    def __exit__(self, kind, error, trace):
        for job in self.jobs:
            job.clear()
        if kind is None or kind is KeyboardInterrupt:
            shutil.rmtree(self.folder)
        else:
            print(f"kept: {self.folder}", flush=True)

    def tool(self, *words):
        subprocess.run([self.program, *words], cwd=self.folder, env=self.environment, check=True,
                       stdout=subprocess.DEVNULL)

    def new_run(self):
        self.n_runs += 1
        return os.path.join(self.folder, f"run-{self.n_runs}")

    def start(self, run, workers, sets=(), environment=None, program=None):
        """Keys of section run do not change a result, so jobs may differ in them."""
        command = [program or self.program, "train", CONFIG, "--run", run, "--workers", str(workers)]
        cells = os.path.join(self.folder, "cells.cells")
        for word in [f"data.cells={cells}", "run.device=cpu", f"train.epochs={self.epochs}", *self.sets, *sets]:
            command += ["--set", word]
        job = Job(command, run, dict(self.environment, **(environment or {})))
        self.jobs = [j for j in self.jobs if j.alive()] + [job]
        return job

    def finish(self, run, workers, sets=(), seconds=GONE_S):
        """Starts a job and lets it end; while a ghost of the job before still holds the folder (exit 9), again."""
        end = time.monotonic() + seconds
        while True:
            job = self.start(run, workers, sets)
            code = job.wait()
            if code != 9 or time.monotonic() > end:
                return job, code
            time.sleep(POLL_S)

    def random_shape(self):
        """Workers and keys of section run as a user may change them between jobs."""
        workers = self.rng.choice([1, 2, 2, 3, 4])
        where = "thread" if workers == 1 else self.rng.choice(["rank", "thread"])
        return workers, [f"run.coordinator={where}", f"run.groups={self.rng.choice([0, 1])}",
                         f"run.loader_threads={self.rng.choice([1, 2])}"]

    def random_grace(self):
        """Environment: how long mpirun waits between the TERM and the KILL of the ranks that are left. Mostly 0 s,
        to save time (its default is 1 s)."""
        return {"OMPI_MCA_odls_base_sigkill_timeout": self.rng.choice("0001")}

    def compare(self, run, what, log=True):
        """The same bytes as the undisturbed run; with `log`, no epoch of the log that tells another story."""
        found = sums(run)
        for name in sorted(self.expected.keys() | found.keys()):
            require(name in found, f"{what}: {run}/{name} is missing")
            require(name in self.expected, f"{what}: {run}/{name} is one file too many")
            require(found[name] == self.expected[name], f"{what}: {run}/{name} has other bytes")
        for key, told in epochs_of(run) if log else ():
            require(told == self.expected_epochs[key],
                    f"{what}: fold {key[0]}, epoch {key[1]} of log.jsonl: {told}, expected {self.expected_epochs[key]}")
