"""A launcher that does not notice that its ranks have ended, as Open MPI's does at times when one of them dies while
it connects: `cytofold train` ends it and itself.   stuck_launcher.py PROGRAM
"""
import os
import random
import sys
import time

from jobs import Broken, Workshop, require

LAUNCHER = """#!{python}
import os, sys, time
if "--version" in sys.argv:
    print("mpirun (Open MPI) 4.1.4")
    sys.exit(0)
if os.fork() == 0:
    os._exit(1)
time.sleep(120)
"""
DEADLINE_S = 30


def main(program):
    with Workshop((program, program), random.Random(0), 4) as shop:
        folder = os.path.join(shop.folder, "bin")
        os.mkdir(folder)
        with open(os.path.join(folder, "mpirun"), "w", encoding="ascii") as file:
            file.write(LAUNCHER.format(python=sys.executable))
        os.chmod(os.path.join(folder, "mpirun"), 0o755)
        launcher = {"CYTOFOLD_MPIRUN": os.path.join(folder, "mpirun")}  # one in PATH may give way to the library's own
        start = time.monotonic()
        job = shop.start(shop.new_run(), 2, environment=launcher)
        code = job.wait(DEADLINE_S)
        require(code == 6, f"exit {code}, expected 6\n{job.messages()}")
        require("does not notice" in job.messages(), f"not told: {job.messages()}")
        job.expect_gone(5)
        print(f"ended after {time.monotonic() - start:.0f} s")


try:
    sys.exit(main(*sys.argv[1:]))
except Broken as broken:
    sys.exit(f"FAILED: {broken}")
