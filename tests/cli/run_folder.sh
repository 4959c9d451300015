#!/bin/bash
# What is in a run folder, a sweep's and an imported one: only what README.md's lists of them name. On phantom
# cells (synthetic).   run_folder.sh PROGRAM
set -uo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
program="$1"
source="$(cd "$(dirname "$0")/../.." && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

"$program" synth -o phantoms --images 126 --size 40 --scheme bm7 --seed 5 >/dev/null &&
  "$program" pack phantoms --scheme bm7 --size 36 -o cells.cells >/dev/null || exit 1
job=("$source/tests/mpi/tiny.yaml" --set data.cells=cells.cells --set train.epochs=1 --set train.warmup_epochs=0
  --run sweep --set 'sweep.train.seed=[1,2]')
verb() {
  timeout 120 "$program" "$@" >out 2>&1 </dev/null || { echo "FAILED: cytofold $*"; cat out; exit 1; }
}
# Every verb that leaves something in a run folder.
run=sweep/point-000
verb train "${job[@]}" --workers 1
verb embed "$run" --neighbors 5
verb report "$run" --against sweep/point-001
verb predict "$run" phantoms --unlike 0.01 -o P.csv
verb submit "${job[@]}" --time 60
verb export "$run" --fold 0 -o w.safetensors
verb import w.safetensors -o imported

python3 - "$source/README.md" "$run" sweep imported <<'END'
import os, re, sys
readme, run, sweep, imported = sys.argv[1:]
text = open(readme).read()
paragraph = re.search(r"\*\*A run folder\*\*.*?\n\n", text, re.S).group()
whole = set(re.findall(r"[A-Za-z.][\w.<>-]*", " ".join(re.findall(r"`[^`]*`", paragraph))))
faults = 0

def named(path):  # point-007/fold-3/checkpoint-12.ckpt -> its last part, as the list writes it
    name = os.path.basename(path)
    name = re.sub(r"^fold-\d+$", "fold-K", re.sub(r"^point-\d+$", "point-NNN", name))
    return re.sub(r"^checkpoint-\d+\.ckpt$", "checkpoint-<step>.ckpt", name)

def look(folder, names, inside):
    global faults
    found = set()
    for at, folders, files in os.walk(folder):
        found |= {named(n) for n in folders + files}
        folders[:] = [f for f in folders if re.match(inside, f)]
    for name in sorted(found - names):
        print(f"{folder}: {name} is in no list of README.md")
        faults += 1
    return found

found = look(run, whole, r"fold-\d+$")
look(sweep, whole, "$")
plain = look(imported, whole, r"fold-\d+$")
if plain != {"run.yaml", "scheme.yaml", "fold-K", "checkpoint-<step>.ckpt"}:
    print("imported:", sorted(plain))
    faults += 1
# and nothing is listed that no verb wrote: only what this job cannot have (a GPU's, a lock that is held)
missing = {n for n in whole if re.search(r"\.\w+$", n)} - found - {named(n) for n in os.listdir(sweep)}
missing -= {"engines.txt", "run.lock", "fold-K.lock", "checkpoint-0.ckpt"}
if missing:
    print("README.md lists, but no verb wrote:", sorted(missing))
    faults += 1
print(f"{len(found)} names in a run folder, {faults} faults")
sys.exit(faults > 0)
END
