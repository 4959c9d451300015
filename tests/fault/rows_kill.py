"""Rows 1, 3 and 6: kill -9 of anything at any time, and any number of ranks at any resumption."""
import os
import signal
import time

from jobs import GONE_S, Workshop, checkpoints, poll, require

EPOCHS = 12


def kill_ranks(programs, rng, count):
    """Row 1: a random rank at a random time, several times in a row, other ranks at each resumption."""
    n, seconds = 0, time.monotonic()
    with Workshop(programs, rng, EPOCHS) as shop:
        while n < count:
            n += chain(shop, count - n)
    return f"{n} kills, {n} resumed to the same bytes, {time.monotonic() - seconds:.0f} s"


def chain(shop, left):
    """One run, killed until a coin says enough, then finished and compared. The number of kills."""
    run, story = shop.new_run(), []
    while len(story) < left and (not story or shop.rng.random() < 0.5):
        workers, sets = shop.random_shape()
        job = shop.start(run, workers, sets, shop.random_grace())
        at = shop.rng.uniform(0, shop.life)
        ranks = job.wait_until(at) and job.wait_for_ranks()
        rank = shop.rng.choice(sorted(ranks)) if ranks else None
        if rank is None or not job.send(ranks[rank], signal.SIGKILL):
            break  # it had ended before; what it left is compared
        code = job.wait(GONE_S)
        if code == 0:
            break  # killed after its last word
        story.append(f"rank {rank} of {workers} workers ({sets[0]}) after {at:.3f} s, exit {code}")
    workers, sets = shop.random_shape()
    what = f"{'; '.join(story) or 'not killed'}; finished by {workers} workers"
    job, code = shop.finish(run, workers, sets)
    require(code == 0, f"{what}: exit {code}\n{job.messages()}")
    shop.compare(run, what)
    return len(story)


def kill_heads(programs, rng, count):
    """Row 3: the coordinator; `cytofold train` or mpirun; every process at once; `count` times each."""
    seconds, n = time.monotonic(), 0
    with Workshop(programs, rng, EPOCHS) as shop:
        for _ in range(count):
            for who in ("coordinator", shop.rng.choice(("launcher", "mpirun")), "all"):
                run = shop.new_run()
                while not kill_head(shop, run, who):
                    run = shop.new_run()
                n += 1
    return f"{n} kills, no process left, {n} resumed to the same bytes, {time.monotonic() - seconds:.0f} s"


def victims(job, who):
    ranks, launchers = job.ranks(), job.launchers()
    return {"coordinator": [ranks.get(0)], "launcher": launchers[:1], "mpirun": launchers[-1:],
            "all": launchers + list(ranks.values())}[who]


def kill_head(shop, run, who):
    """False when the job had ended before."""
    workers = shop.rng.choice([2, 3])
    job = shop.start(run, workers, environment=shop.random_grace())
    at = shop.rng.uniform(0, shop.life)
    if not job.wait_until(at) or not job.wait_for_ranks(workers + 1):
        return False
    hit = [job.send(pid, signal.SIGKILL) for pid in victims(job, who) if pid]
    code = job.wait(GONE_S)
    if not any(hit) or code == 0:
        return False
    what = f"{who} of {workers} workers killed after {at:.3f} s, exit {code}"
    job.expect_gone()
    job, code = shop.finish(run, shop.rng.choice([1, 2, 3]))
    require(code == 0, f"{what}: resumed: exit {code}\n{job.messages()}")
    shop.compare(run, what)
    return True


def rank_counts(programs, rng, count):
    """Row 6: 1, 2, 3 and 4 workers, then 4, 2, 1 and 3 workers one after the other on one run."""
    seconds = time.monotonic()
    with Workshop(programs, rng, EPOCHS) as shop:
        for _ in range(count):
            for workers in (1, 2, 3, 4):
                run = shop.new_run()
                job, code = shop.finish(run, workers)
                require(code == 0, f"{workers} workers: exit {code}\n{job.messages()}")
                shop.compare(run, f"{workers} workers")
            relay(shop, (4, 2, 1, 3))
    return (f"{5 * count} runs of 1, 2, 3, 4 and 4->2->1->3 workers, the same bytes, "
            f"{time.monotonic() - seconds:.0f} s")


def relay(shop, workers):
    """One run: each number of workers takes it a part of the way, the last one to its end."""
    run = shop.new_run()
    last = max(step for step, *_ in shop.expected_epochs.values())
    for leg, n in enumerate(workers[:-1], 1):
        job = shop.start(run, n)
        goal = last * leg // len(workers)

        def there(goal=goal, job=job):
            steps = checkpoints(run)
            return not job.alive() or (len(steps) == 3 and all(s[-1] >= goal for s in steps.values()))
        require(poll(there, GONE_S) and job.alive(), f"{n} workers: step {goal} was not seen\n{job.messages()}")
        os.killpg(job.process.pid, signal.SIGKILL)
        job.wait(GONE_S)
        job.expect_gone()
    job, code = shop.finish(run, workers[-1])
    require(code == 0, f"{workers[-1]} workers took over: exit {code}\n{job.messages()}")
    require("goes on at step" in job.messages(), f"{workers[-1]} workers began anew\n{job.messages()}")
    shop.compare(run, "4->2->1->3 workers")
