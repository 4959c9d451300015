#!/usr/bin/env python3
"""Counted fault tests, the rows of the table of promises.   faults.py PROGRAM ROW [--count N] [--seed S]

Prints the seed first and one line last: "row 1: 25 kills, 25 resumed to the same bytes, 31 s"; exit 1 where a
promise does not hold, with what was done and what was found, and the folder kept. Times are drawn from the seed, but
no two runs of a machine meet them at the same step: a failure is told in full so that it can be understood without
being repeated. PROGRAM is cytofold; rows 16 and 17 take cytofold_inject (inject.c) beside it.
"""
import argparse
import random
import sys

import rows_kill
import rows_numeric
import rows_signal
from jobs import Broken

# row: (function, count of a test run, count of a soak)
ROWS = {
    1: (rows_kill.kill_ranks, 25, 1000),
    3: (rows_kill.kill_heads, 5, 100),
    4: (rows_signal.signals, 10, 200),
    6: (rows_kill.rank_counts, 1, 10),
    16: (rows_numeric.spoilt_values, 1, 50),
    17: (rows_numeric.flipped_bits, 20, 1000),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("row", type=int, choices=sorted(ROWS))
    parser.add_argument("--inject", default="", help="cytofold_inject, for rows 16 and 17")
    parser.add_argument("--count", type=int, help="attempts (of each kind); default: of a test run")
    parser.add_argument("--soak", action="store_true", help="the large count")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    given = parser.parse_args()
    run, few, many = ROWS[given.row]
    count = given.count or (many if given.soak else few)
    print(f"row {given.row}: seed {given.seed}, count {count}", flush=True)
    try:
        told = run((given.program, given.inject), random.Random(given.seed), count)
    except Broken as broken:
        print(f"row {given.row}: FAILED with seed {given.seed}: {broken}", flush=True)
        return 1
    print(f"row {given.row}: {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
