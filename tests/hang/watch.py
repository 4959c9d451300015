#!/usr/bin/env python3
"""Jobs that hang, in every way we know how to make one.   watch.py PROGRAM SHIM CASE...

Each is named within run.hang_timeout and ten seconds (times the documented factor where one applies), ends with 8,
leaves no process and resumes to the same bytes; what only looks like a hang does no harm. SHIM is stuck.c, preloaded.
Prints the seed, and one line a case with the seconds it took.
"""
import os
import random
import re
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fault"))
from jobs import Broken, Workshop, poll, read_log, require  # noqa: E402

EPOCHS = 20
TIMEOUT = 2
GRACE = 10  # the promise: named within the time-out and this
FACTOR = 4  # of what is long by nature
MUTED = 2  # without heartbeats
HANG = [f"run.hang_timeout={TIMEOUT}"]
WAITING = r"waiting for (sums|images|its first images|other ranks in set-up|the coordinator's last word)"
DOING = rf"({WAITING}|computing|saving|testing|setting up|leaving)"
PLACE = r" at fold [0-2], step \d+"


class Shop(Workshop):
    """A workshop whose jobs can get stuck."""

    def __init__(self, program, shim, rng):
        super().__init__((program, program), rng, EPOCHS)
        self.shim = shim

    def __enter__(self):
        super().__enter__()
        self.tool("pack", "phantoms", "--scheme", "bm7", "--keep-encoded", "-o", "encoded.cells")
        return self

    def stuck(self, place, rank, call, what):
        return {"LD_PRELOAD": self.shim, "CYTOFOLD_STUCK": f"{place} {rank} {call} {what}",
                "ASAN_OPTIONS": f"{os.environ.get('ASAN_OPTIONS', '')}:verify_asan_link_order=0"}

    def hanging(self, sets=(), environment=None, workers=2):
        """mpirun kills what is left at once, to save time: its grace is a second."""
        kill = {"OMPI_MCA_odls_base_sigkill_timeout": "0"}
        return self.start(self.new_run(), workers, HANG + list(sets), dict(kill, **(environment or {})))


def wait_for_epoch(job, epoch=4):
    """Training is well under way."""
    def there():
        log = os.path.join(job.run, "log.jsonl")
        return not job.alive() or (os.path.exists(log) and f'"epoch": {epoch},' in open(log, encoding="utf-8").read())
    require(poll(there, 60) and job.alive(), f"{job.run}: ended before it could be stopped\n{job.messages()}")


def expect_named(shop, job, since, pattern, factor=1, kind="silent"):
    """Exit 8 in time, one message of that form, the event in the log, no process left, and the same bytes after."""
    limit = factor * TIMEOUT + GRACE
    code = job.wait(limit + 30)
    took = time.monotonic() - since
    told = job.messages()
    require(code == 8, f"exit {code}, expected 8\n{told}")
    require(took <= limit, f"took {took:.1f} s, expected at most {limit} s\n{told}")
    found = re.findall(pattern, told)
    require(len(found) == 1, f"{len(found)} messages like {pattern}\n{told}")
    job.expect_gone()
    events = [e for e in read_log(job.run) if e["event"] == "hang"]
    require(len(events) == (kind is not None), f"{len(events)} hang events in the log")
    require(not events or (events[0]["kind"] == kind and re.search(pattern.split("; the job")[0], events[0]["text"])),
            f"the event says {events}")
    again, code = shop.finish(job.run, shop.rng.choice([1, 2, 3]))
    require(code == 0, f"resumed: exit {code}\n{again.messages()}")
    shop.compare(job.run, "resumed")
    return f"named after {took:.1f} s"


def stop(shop, job, rank):
    """SIGSTOP; when, and the process."""
    pid = job.ranks()[rank]
    require(job.send(pid, signal.SIGSTOP), "nothing to stop")
    return time.monotonic(), pid


def answering(rank, pid, doing=DOING, place=PLACE):
    return (rf"rank {rank} on host \S+ \(process {pid}\) stopped answering: last heard \d+ s ago, {doing}{place}"
            r"; of the others 1 (is|are) ")


def stopped_worker(shop):
    job = shop.hanging(environment={"OMPI_MCA_odls_base_sigkill_timeout": "1"})
    wait_for_epoch(job)
    rank = shop.rng.choice([1, 2])
    since, pid = stop(shop, job, rank)
    return expect_named(shop, job, since, answering(rank, pid))


def stopped_coordinator(shop):
    """Nobody is left to watch: the workers' own threads end the job."""
    job = shop.hanging()
    wait_for_epoch(job)
    since, pid = stop(shop, job, 0)
    pattern = rf"\[rank 1\] nothing heard from the coordinator \(rank 0 on host \S+, process {pid}\) for \d+ s"
    return expect_named(shop, job, since, pattern, kind=None)


def stopped_both(shop):
    """The coordinator's thread and the first worker are one process."""
    job = shop.hanging(["run.coordinator=thread"])
    wait_for_epoch(job)
    since, pid = stop(shop, job, 0)
    pattern = r"\[rank 1\] nothing heard from the coordinator"
    return expect_named(shop, job, since, pattern, kind=None)


def stopped_set_up(shop):
    job = shop.hanging(environment=shop.stuck("set-up", 2, 1, "stop"))
    require(poll(lambda: "stuck: set-up" in job.messages(), 30), "never in set-up")
    return expect_named(shop, job, time.monotonic(),
                        answering(2, r"\d+", "(setting up|waiting for the plan)", ""))


def stopped_leaving(shop):
    """All is written, and one rank does not leave: the others would wait for it for ever."""
    job = shop.hanging(environment=shop.stuck("leave", 1, 1, "stop"))
    require(poll(lambda: "stuck: leave" in job.messages(), 60), "never left")
    return expect_named(shop, job, time.monotonic(), answering(1, r"\d+", "leaving", ""))


def stuck_loader(shop):
    """A thread of the loader never comes back from an image; the rank's heart goes on beating."""
    cells = os.path.join(shop.folder, "encoded.cells")
    job = shop.hanging([f"data.cells={cells}"], shop.stuck("image", 2, 300, "hang"))
    require(poll(lambda: "stuck: image" in job.messages(), 60), "no image was decoded")
    pattern = (r"rank 2 on host \S+ \(process \d+\) is stuck: for \d+ s without a move it is waiting for images"
               rf"{PLACE}, last heard \d+ s ago; of the others 1 is waiting for sums")
    return expect_named(shop, job, time.monotonic(), pattern, kind="stuck")


def stuck_disk(shop):
    """The leader's checkpoint is never flushed; the next save waits for it. It may take four times as long."""
    job = shop.hanging(["run.hang_timeout=1"], shop.stuck("save", 1, 20, "hang"))
    require(poll(lambda: "stuck: save" in job.messages(), 60), "nothing was saved")
    pattern = (r"rank 1 on host \S+ \(process \d+\) is stuck: for \d+ s without a move it is saving"
               rf"({PLACE})?, last heard \d+ s ago; of the others 1 is waiting for ")
    return expect_named(shop, job, time.monotonic(), pattern, FACTOR, "stuck")


def muted(shop):
    """No datagram of the workers arrives: a job is none the worse, and a stopped rank is found all the same."""
    drop = shop.stuck("datagram", -1, 1, "drop")
    job = shop.hanging(environment=drop)
    code = job.wait()
    require(code == 0, f"exit {code}, expected 0\n{job.messages()}")
    shop.compare(job.run, "without datagrams")
    job = shop.hanging(["run.hang_timeout=1"], drop)
    wait_for_epoch(job)
    rank = shop.rng.choice([1, 2])
    since, pid = stop(shop, job, rank)
    told = expect_named(shop, job, since, r"rank [12] on host \S+ \(process \d+\) stopped answering: last heard", MUTED)
    require(len(re.findall(r"no heartbeat of rank \d on host \S+ arrives over UDP", job.messages())) == 1,
            f"nothing said of UDP\n{job.messages()}")
    return told


def suspended(shop):
    """A batch system stops the whole job for longer than the time-out and lets it go on: nobody has hung."""
    job = shop.hanging()
    wait_for_epoch(job)
    members = job.launchers() + sorted(job.ranks().values())
    for pid in members:
        job.send(pid, signal.SIGSTOP)
    poll(lambda: False, 2 * TIMEOUT)
    for pid in reversed(members):
        job.send(pid, signal.SIGCONT)
    code = job.wait()
    require(code == 0, f"exit {code}, expected 0\n{job.messages()}")
    shop.compare(job.run, "suspended")
    return f"went on after {2 * TIMEOUT} s"


CASES = {f.__name__.replace("_", "-"): f for f in
         (stopped_worker, stopped_coordinator, stopped_both, stopped_set_up, stopped_leaving, stuck_loader,
          stuck_disk, muted, suspended)}


def main():
    program, shim, *names = sys.argv[1:]
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}", flush=True)
    with Shop(program, os.path.abspath(shim), random.Random(seed)) as shop:
        for name in names or CASES:
            try:
                print(f"{name}: {CASES[name](shop)}", flush=True)
            except Broken as broken:
                raise Broken(f"{name}: FAILED with seed {seed}: {broken}") from None


if __name__ == "__main__":
    try:
        main()
    except Broken as problem:
        sys.exit(str(problem))
