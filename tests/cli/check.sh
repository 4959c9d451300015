#!/bin/bash
# usage: check.sh PROGRAM: cytofold check as a user meets it: findings are a result, damage and --strict are not,
# and wrong uses are named.
set -u
program="$1"
work="$(mktemp -d "${TMPDIR:-/tmp}/cytofold-check-XXXXXX")"
trap 'rm -rf "$work"' EXIT
failed=0

# expect CODE WORD COMMAND...: the exit code, and a word of its output
expect() {
  local code="$1" word="$2" rc
  shift 2
  "$@" >"$work/out" 2>&1
  rc=$?
  if [ "$rc" -ne "$code" ] || ! grep -qF -- "$word" "$work/out"; then
    echo "FAILED: $*: exit $rc, expected $code with '$word'; it said:"
    cat "$work/out"
    failed=1
  fi
}

"$program" synth -o "$work/images" --images 140 --size 48 --seed 3 >/dev/null || exit 1
cp "$work/images/BLA/BLA_00001.png" "$work/images/EOS/EOS_00099.png"
"$program" pack "$work/images" --scheme bm7 -o "$work/x.cells" >/dev/null || exit 1
"$program" split "$work/x.cells" --folds 5 -o "$work/folds.csv" >/dev/null || exit 1

expect 0 "LABELS: 1 pair of the same picture" "$program" check "$work/x.cells"
expect 0 "labels BLA and EOS" "$program" check "$work/x.cells" --folds "$work/folds.csv" -o "$work/report"
expect 3 "(--strict)" "$program" check "$work/x.cells" --strict
expect 0 '"label_conflicts": 1' "$program" check "$work/x.cells" --json
expect 2 "First: cytofold pack" "$program" check "$work/images"
expect 3 "nothing.cells" "$program" check "$work/nothing.cells"
expect 2 "--similarity" "$program" check "$work/x.cells" --similarity 2
for file in counts.csv duplicates.csv odd.csv sites.csv site_pairs.csv pairs-01.png; do
  [ -s "$work/report/$file" ] || { echo "FAILED: no $file"; failed=1; }
done

# a folder that cannot be made is told before the search, and a file that cannot be written costs no findings
: >"$work/file"
expect 5 "make folder" "$program" check "$work/x.cells" -o "$work/file/report"
if grep -q "LABELS" "$work/out"; then echo "FAILED: searched before -o was looked at"; failed=1; fi
mkdir -p "$work/taken/duplicates.csv"
expect 5 "LABELS: 1 pair of the same picture" "$program" check "$work/x.cells" -o "$work/taken"
expect 5 "duplicates.csv" "$program" check "$work/x.cells" -o "$work/taken"

# names are told on one line and give no orders to the terminal: a line feed, an escape and U+009B (CSI). The header's
# CRC-32C (byte 32) is made right, and its content hash is the one that the program says it found.
python3 - "$program" "$work/x.cells" "$work/named.cells" <<'PYTHON' || exit 1
import re, struct, subprocess, sys
def write(b):
    crc = 0xffffffff
    for byte in b[struct.unpack_from("<Q", b, 24)[0]:]:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    struct.pack_into("<I", b, 32, crc ^ 0xffffffff)
    open(sys.argv[3], "wb").write(b)
b = bytearray(open(sys.argv[2], "rb").read().replace(b"EOS_00099", b"E\nS\x1b[m\xc2\x9b9"))
write(b)
said = subprocess.run([sys.argv[1], "check", sys.argv[3]], capture_output=True, text=True).stderr
hashes = re.search("expected content hash ([0-9a-f]+), found ([0-9a-f]+)", said).groups()
write(b.replace(*(struct.pack("<Q", int(h, 16)) for h in hashes)))
PYTHON
expect 0 "EOS/E S [m 9.png" "$program" check "$work/named.cells"
python3 - "$work/x.cells" <<'PYTHON' || exit 1
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(4096 + 5 * 48 * 48 * 3 + 100)
    byte = f.read(1)[0]
    f.seek(-1, 1)
    f.write(bytes([byte ^ 16]))
PYTHON
expect 3 "1 image are not those that were packed" "$program" check "$work/x.cells"
expect 3 "damaged" "$program" check "$work/x.cells"
[ "$failed" -eq 0 ] && echo "check: all as expected"
exit "$failed"
