"""Row 4: signals that ask a run to save and leave."""
import re
import signal
import time

from jobs import GONE_S, Workshop, checkpoints, epochs_of, poll, read_log, require, signal_name

EPOCHS = 12
SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
TO = ("launcher", "coordinator", "worker", "ranks")
AT_ONCE_S = 5
START_S = 0.3  # ranks are started in that time
EPOCHS_TO_STOP = 4  # heard of and agreed on in the next steps; two epochs are under way and in the log's queue


def signals(programs, rng, count):
    """Row 4: `count` of each signal at random times to one or all, then twice."""
    seconds, n, told = time.monotonic(), 0, {"saved": 0, "ended before": 0, "not begun": 0}
    with Workshop(programs, rng, EPOCHS) as shop:
        left = [number for number in SIGNALS for _ in range(count)]
        rng.shuffle(left)
        while left:
            for end in stop_chain(shop, left):
                told[end] += 1
                n += 1
        for number in SIGNALS:
            for _ in range(max(count // 5, 1)):
                twice(shop, number)
                at_once(shop, number)
                n += 2
    ends = ", ".join(f"{many} {end}" for end, many in told.items())
    return (f"{n} times signalled ({ends}; {n - sum(told.values())} twice), {n} resumed to the same bytes, "
            f"{time.monotonic() - seconds:.0f} s")


def stop_chain(shop, left):
    """One run, stopped a few times with signals from `left`, then finished: how each signal ended it."""
    run, ends, story = shop.new_run(), [], []
    saved = {}
    while left and (not ends or (ends[-1] != "ended before" and shop.rng.random() < 0.6)):
        number, to = left.pop(), shop.rng.choice(TO)
        workers, sets = shop.random_shape()
        job = shop.start(run, workers, sets)
        at = shop.rng.uniform(0, shop.rng.choice([START_S, shop.life, shop.life, shop.life]))
        if not job.wait_until(at):
            check_resumed(job, saved, "; ".join(story))
            saved = {}  # it is through
            left.append(number)
            break
        before = logged_epochs(run)
        sent = send(job, number, to, shop.rng)
        story.append(f"{signal_name(number)} to {to} ({sent}) of {workers} workers ({sets[0]}) after {at:.3f} s")
        end, saved = judge(job, run, number, before, saved, "; ".join(story))
        ends.append(end)
    workers, sets = shop.random_shape()
    what = "; ".join(story) or "not signalled"
    job, code = shop.finish(run, workers, sets)
    require(code == 0, f"{what}: resumed: exit {code}\n{job.messages()}")
    check_resumed(job, saved, what)
    shop.compare(run, what)
    told = [key for key, _ in epochs_of(run)]
    require(sorted(told) == sorted(shop.expected_epochs),
            f"{what}: epochs that log.jsonl misses or tells twice: "
            f"{sorted(set(k for k in shop.expected_epochs if told.count(k) != 1))}")
    return ends


def logged_epochs(run):
    try:
        return len(epochs_of(run))
    except FileNotFoundError:
        return 0


def send(job, number, to, rng):
    """The signal on its way; says to whom, as ranks."""
    ranks = {} if to == "launcher" else job.ranks()
    workers = sorted(ranks)[1:] or sorted(ranks)
    chosen = {"launcher": [], "coordinator": sorted(ranks)[:1], "worker": [rng.choice(workers)] if workers else [],
              "ranks": sorted(ranks)}[to]
    for rank in chosen:
        job.send(ranks[rank], number)
    if not chosen:  # no rank is there yet, or any more
        job.send(job.process.pid, number)
    return f"ranks {chosen}" if chosen else "launcher"


def judge(job, run, number, before, saved, what):
    """(how the signal ended the job, {fold: step saved})"""
    code = job.wait(GONE_S)
    job.expect_gone()
    began = re.search(r"workers? in \d+ groups?", job.messages()) is not None
    if code == 128 + number:  # nobody could hear it yet
        require(not began, f"{what}: exit {code} though the job had begun\n{job.messages()}")
        return "not begun", saved
    if code == 0:
        went_on = (logged_epochs(run) - before) / 3
        require(went_on <= EPOCHS_TO_STOP, f"{what}: went on for {went_on:.0f} epochs to its end\n{job.messages()}")
        check_resumed(job, saved, what)
        return "ended before", {}
    require(code == 85, f"{what}: exit {code}, expected 85\n{job.messages()}")
    if not began:
        return "not begun", saved
    check_resumed(job, saved, what)
    return "saved", check_saved(run, saved, what)


def check_saved(run, before, what):
    """Every fold has a checkpoint at the step that the log tells, none is behind where it was."""
    last = read_log(run)[-1]
    require(last["event"] == "stop", f"{what}: the log ends with {last}")
    told = {fold["fold"]: fold["step"] for fold in last["saved_folds"]}
    found = {fold: steps[-1] for fold, steps in checkpoints(run).items()}
    if not told:  # stopped before its first step
        return before
    require(all(found.get(fold, 0) == step for fold, step in told.items()),
            f"{what}: log.jsonl says that {told} is saved, the last checkpoints are of {found}")
    require(all(found.get(fold, 0) >= step for fold, step in before.items()),
            f"{what}: saved {found}, was at {before} before")
    return found


def check_resumed(job, saved, what):
    """Each fold goes on where it was saved: nothing is trained twice."""
    if not re.search(r"fold \d+ goes on", job.messages()):
        return
    told = {int(f): int(s) for f, s in re.findall(r"fold (\d+) goes on at step (\d+)", job.messages())}
    require(all(told.get(fold, 0) == step for fold, step in saved.items() if step > 0),
            f"{what}: saved {saved}, went on at {told}\n{job.messages()}")


def twice(shop, number):
    """A second signal at any time: it is gone soon, with 85 or the signal's code, and what is on disk is good."""
    run, workers = shop.new_run(), shop.rng.choice([1, 2, 3])
    job = shop.start(run, workers)
    first, pause = shop.rng.uniform(0, shop.life), shop.rng.uniform(0, 1)
    what = f"{signal_name(number)} twice to the launcher of {workers} workers after {first:.3f} s and {pause:.3f} s"
    job.wait_until(first)
    job.send(job.process.pid, number)
    job.wait_until(first + pause)
    job.send(job.process.pid, number)
    code = job.wait(GONE_S)
    job.expect_gone()
    require(code in (0, 85, 128 + number), f"{what}: exit {code}\n{job.messages()}")
    finish(shop, run, what)


def at_once(shop, number):
    """One rank cannot answer, so nothing can be saved: the second signal ends the job all the same."""
    run, workers = shop.new_run(), 2
    job = shop.start(run, workers)
    what = f"{signal_name(number)} twice to the launcher, one rank stopped"
    require(poll(lambda: checkpoints(run) or not job.alive(), GONE_S) and job.alive(), f"{what}: no checkpoint")
    job.send(job.ranks()[2], signal.SIGSTOP)
    job.send(job.process.pid, number)
    poll(lambda: not job.alive(), 1)
    require(job.alive(), f"{what}: ended at the first\n{job.messages()}")
    start = time.monotonic()
    job.send(job.process.pid, number)
    code = job.wait(AT_ONCE_S)
    require(code == 128 + number, f"{what}: exit {code} after {time.monotonic() - start:.1f} s\n{job.messages()}")
    job.expect_gone()
    finish(shop, run, what)


def finish(shop, run, what):
    job, code = shop.finish(run, shop.rng.choice([1, 2, 3]))
    require(code == 0, f"{what}: resumed: exit {code}\n{job.messages()}")
    shop.compare(run, what)
