"""Rows 16 and 17: numbers that go wrong in one rank, by cytofold_inject (inject.c)."""
import json
import re
import subprocess
import time

from jobs import Workshop, checkpoints, require

EPOCHS = 12
STEP = re.compile(r"fold (\d+), step (\d+)")


def tensors(shop):
    """[(name, buffer, first element, end)] of the network, as they lie in the flat buffers; and {buffer: elements}."""
    run = f"{shop.folder}/run-1"
    path = f"{run}/fold-0/checkpoint-{checkpoints(run)[0][-1]}.ckpt"
    told = json.loads(subprocess.run([shop.program, "inspect", path, "--json"], check=True, capture_output=True,
                                     env=shop.environment).stdout)
    found, at = [], {}
    for tensor in told["tensors"]:
        n = 1
        for side in tensor["shape"]:
            n *= side
        first = at.get(tensor["buffer"], 0)
        found.append((tensor["name"], tensor["buffer"], first, first + n))
        at[tensor["buffer"]] = first + n
    return found, {b["name"]: b["elements"] for b in told["buffers"]}


def total_steps(shop):
    return max(step for step, *_ in shop.expected_epochs.values())


def inject(shop, run, workers, words, sets=()):
    """A job of one group with a fault in it. (job, exit code, messages)"""
    text = " ".join(str(word) for word in words)
    environment = {"CYTOFOLD_INJECT": text, **shop.random_grace()}
    job = shop.start(run, workers, ["run.groups=1", *sets], environment, shop.inject)
    code = job.wait()
    job.expect_gone()
    return job, code, job.messages()


def stopped_at(messages, what):
    """(fold, step) of the error that ended the job."""
    lines = [line for line in messages.splitlines() if STEP.search(line) and "test accuracy" not in line]
    require(lines, f"{what}: no fold and step are named\n{messages}")
    return tuple(int(number) for number in STEP.search(lines[-1]).groups())


def resume(shop, run, what, log=True):
    """Without the fault: what was kept is good."""
    job, code = shop.finish(run, shop.rng.choice([1, 2, 3]))
    require(code == 0, f"{what}: resumed: exit {code}\n{job.messages()}")
    shop.compare(run, what, log)


# ---- row 16 ---------------------------------------------------------------------------------------------------------

def spoilt_values(programs, rng, count):
    """Row 16: NaN, an infinity or a huge value in one rank's gradient or in one image; a learning rate of 1e30; a loss
    above the limit."""
    seconds, n = time.monotonic(), 0
    with Workshop(programs, rng, EPOCHS) as shop:
        table, _ = tensors(shop)
        for _ in range(count):
            for kind, value in (("gradient", "nan"), ("gradient", "inf"), ("gradient", "1e30"), ("image", "nan"),
                                ("image", "inf")):
                spoil(shop, table, kind, value)
                n += 1
            mad_rate(shop)
            high_loss(shop)
            n += 2
    return f"{n} faults, {n} named and stopped with 7, the last checkpoint resumed, {time.monotonic() - seconds:.0f} s"


def spoil(shop, table, kind, value):
    workers = shop.rng.choice([2, 3, 4])
    rank, fold, step = shop.rng.randint(1, workers), shop.rng.randrange(3), shop.rng.randrange(total_steps(shop))
    tensor, first, end = shop.rng.choice([(name, a, b) for name, buffer, a, b in table if buffer == "weights"])
    place = shop.rng.randrange(first, end) if kind == "gradient" else shop.rng.randrange(8 * 32 * 32 * 3)
    words = (kind, rank, fold, step, place, value)
    what, run = f"{words} of {workers} workers", shop.new_run()
    _, code, messages = inject(shop, run, workers, words)
    require("injected:" in messages, f"{what}: never met\n{messages}")
    require(code == 7, f"{what}: exit {code}, expected 7\n{messages}")
    at = stopped_at(messages, what)
    require(at == (fold, step), f"{what}: stopped at fold {at[0]}, step {at[1]}\n{messages}")
    named = tensor if kind == "gradient" else "stem."
    require(named in messages, f"{what}: {named} is not named\n{messages}")
    require(names_rank(messages, rank), f"{what}: rank {rank} is not named\n{messages}")
    resume(shop, run, what)


def names_rank(messages, rank):
    """Workers count from 0 behind the coordinator's rank."""
    return re.search(rf"\brank {rank}\b|\bworker {rank - 1}\b", messages) is not None


def mad_rate(shop):
    """Nothing is good in that run but what stood there before its first step: no such checkpoint may be kept."""
    run, workers = shop.new_run(), shop.rng.choice([1, 2, 3])
    job = shop.start(run, workers, ["train.learning_rate=1e30", "train.schedule=constant"])
    code, what = job.wait(), f"learning rate 1e30 on {workers} workers"
    require(code == 7, f"{what}: exit {code}, expected 7\n{job.messages()}")
    _, step = stopped_at(job.messages(), what)
    require(step <= 2, f"{what}: went on until step {step}\n{job.messages()}")
    for fold, steps in checkpoints(run).items():
        for kept in steps:
            path = f"{run}/fold-{fold}/checkpoint-{kept}.ckpt"
            told = subprocess.run([shop.program, "inspect", path], check=True, capture_output=True, text=True,
                                  env=shop.environment).stdout
            require(not re.search(r"\b(nan|inf)\b", told), f"{what}: {path} is not finite\n{told}")


def high_loss(shop):
    """train.stop_loss below what an untrained network has: stopped at the first step, which is not kept."""
    run, workers = shop.new_run(), shop.rng.choice([1, 2, 3])
    job = shop.start(run, workers, ["train.stop_loss=0.001"])
    code, what = job.wait(), f"train.stop_loss=0.001 on {workers} workers"
    messages = job.messages()
    require(code == 7, f"{what}: exit {code}, expected 7\n{messages}")
    require("train.stop_loss" in messages, f"{what}: the limit is not named\n{messages}")
    _, step = stopped_at(messages, what)
    require(step <= 1, f"{what}: went on until step {step}\n{messages}")
    resume(shop, run, what)


# ---- row 17 ---------------------------------------------------------------------------------------------------------

WITHIN = 100  # steps: twice the default of run.replica_check


def flipped_bits(programs, rng, count):
    """Row 17: one bit of one weight of one rank, at any step; and a fourth as many of the other buffers."""
    seconds = time.monotonic()
    with Workshop(programs, rng, EPOCHS) as shop:
        _, elements = tensors(shop)
        others = sorted(set(elements) - {"weights"})
        weights = sum(flip(shop, "weights", elements["weights"]) for _ in range(count))
        extra = (count + 3) // 4
        buffers = [shop.rng.choice(others) for _ in range(extra)]
        rest = sum(flip(shop, buffer, elements[buffer]) for buffer in buffers)
    return (f"{count} bits of weights flipped, {weights} found within {WITHIN} steps and resumed to the same bytes, "
            f"{count - weights} without effect on any byte; {extra} of moments and averages, {rest} found, "
            f"{extra - rest} without effect; {time.monotonic() - seconds:.0f} s")


def flip(shop, buffer, n_elements):
    """Whether it was found; else the result must be the undisturbed one."""
    workers = shop.rng.choice([2, 3, 4])
    rank, fold, step = shop.rng.randint(1, workers), shop.rng.randrange(3), shop.rng.randrange(total_steps(shop))
    words = (buffer, rank, fold, step, shop.rng.randrange(n_elements), shop.rng.randrange(32))
    every, sets = shop.rng.choice([(50, []), (10, ["run.replica_check=10", "train.checkpoint_every=1000"])])
    what, run = f"{words} of {workers} workers, compared every {every} steps", shop.new_run()
    _, code, messages = inject(shop, run, workers, words, sets)
    require("injected:" in messages, f"{what}: never met\n{messages}")
    if code == 0:
        shop.compare(run, f"{what}: not found")
        return False
    require(code == 7, f"{what}: exit {code}, expected 7\n{messages}")
    at = stopped_at(messages, what)
    require(at[0] == fold and step <= at[1] <= step + min(2 * every, WITHIN),
            f"{what}: found at fold {at[0]}, step {at[1]}\n{messages}")
    require(names_rank(messages, rank), f"{what}: rank {rank} is not named\n{messages}")
    if workers > 2 and "not the same bits" in messages:
        require(f": rank {rank} on " in messages and "differs from the others" in messages,
                f"{what}: more than rank {rank} is named\n{messages}")
    # Steps between the flip and its discovery told the log what they met.
    resume(shop, run, what, log=False)
    return True
