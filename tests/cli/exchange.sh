#!/bin/bash
# export, import and model.init as a user meets them, on phantom cells (synthetic): out and in again bit by bit,
# training that starts from a file, and refusals.   exchange.sh PROGRAM
set -uo pipefail
export LC_ALL=C OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
program="$1"
tiny="$(cd "$(dirname "$0")/../mpi" && pwd)/tiny.yaml"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0 tried=0

complain() {
  failed=$((failed + 1))
  echo "FAILED: $*"
}
check() { # WHAT COMMAND...: the command must end well
  local what="$1"
  shift
  tried=$((tried + 1))
  "$@" || complain "$what"
}
expect() { # CODE REGEX VERB OPTIONS...: the verb must end with CODE, and its output match
  local code="$1" pattern="$2" found=0
  shift 2
  tried=$((tried + 1))
  timeout 120 "$program" "$@" >out 2>&1 </dev/null || found=$?
  if [ "$found" != "$code" ] || ! grep -qE -- "$pattern" out; then
    complain "$*: exit $found, expected $code; expected /$pattern/ in:"
    sed 's/^/    /' out
  fi
}
# put FILE NAME DTYPE SHAPE BYTES, by python3: one tensor of zeros more in a safetensors file
put() {
  python3 - "$@" <<'END'
import json, struct, sys
path, name, dtype, shape, size = sys.argv[1:6]
data = open(path, "rb").read()
n = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + n])
header.pop(name, None) if dtype == "none" else None
end = max([e["data_offsets"][1] for k, e in header.items() if k != "__metadata__"])
if dtype != "none":
    header[name] = {"dtype": dtype, "shape": json.loads(shape), "data_offsets": [end, end + int(size)]}
text = json.dumps(header).encode()
open(path, "wb").write(struct.pack("<Q", len(text)) + text + data[8 + n:] + bytes(int(size)))
END
}
# reword FROM TO OLD NEW: FROM's metadata with OLD replaced by NEW
reword() {
  python3 - "$@" <<'END'
import json, struct, sys
source, target, old, new = sys.argv[1:5]
data = open(source, "rb").read()
n = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + n])
notes = header["__metadata__"]
assert any(old in v for v in notes.values()), old
header["__metadata__"] = {k: v.replace(old, new) for k, v in notes.items()}
text = json.dumps(header).encode()
open(target, "wb").write(struct.pack("<Q", len(text)) + text + data[8 + n:])
END
}
# poison FILE: the first number of its classifier becomes no number
poison() {
  python3 - "$@" <<'END'
import json, struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
n = struct.unpack("<Q", data[:8])[0]
at = 8 + n + json.loads(data[8:8 + n])["fc.weight"]["data_offsets"][0]
data[at:at + 4] = struct.pack("<f", float("nan"))
open(sys.argv[1], "wb").write(data)
END
}
# strip FILE: without its metadata, as other programs write them
strip() {
  put "$1" __metadata__ none '[]' 0
}

"$program" synth -o phantoms --images 126 --size 40 --scheme bm7 --seed 5 >/dev/null || exit 1
"$program" pack phantoms --scheme bm7 --size 36 -o cells.cells >/dev/null || exit 1
job=("$tiny" --set data.cells=cells.cells --set train.epochs=1 --set train.warmup_epochs=0)
train() { # RUN OPTIONS...
  local run="$1"
  shift
  "$program" train "${job[@]}" --run "$run" --workers 1 "$@" >"$run.out" 2>"$run.log"
}
train run || { cat run.log; exit 1; }
"$program" predict run phantoms -o own.csv >/dev/null 2>&1 || exit 1

# out and in again: the same probabilities, under each family of names
for names in torchvision timm cytofold; do
  for k in 0 1 2; do expect 0 "fold $k of run" export run --fold "$k" --names "$names" -o "$names-$k.safetensors"; done
  expect 0 "$names: 3 networks" import "$names"-{0,1,2}.safetensors -o "$names"
  expect 0 "the mean of 3 folds" predict "$names" phantoms -o again.csv
  check "probabilities by $names" cmp own.csv again.csv
  expect 0 "step  *0 of 0" inspect "$names/fold-0/checkpoint-0.ckpt"
done
expect 0 "networks? of|names of" export torchvision --fold 1 --names cytofold -o back.safetensors
check "weights again" python3 -c "
import json, struct
def tensors(path):
    data = open(path, 'rb').read()
    n = struct.unpack('<Q', data[:8])[0]
    h = json.loads(data[8:8 + n])
    return {k: (v['shape'], data[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]])
            for k, v in h.items() if k != '__metadata__'}, h['__metadata__']
(a, ma), (b, mb) = tensors('cytofold-1.safetensors'), tensors('back.safetensors')
assert a == b and len(a) == 47, (len(a), len(b))
assert json.loads(ma['classes']) == ['BLA', 'EOS', 'LYT', 'MON', 'NGS', 'NIF', 'PMO'] and ma['scheme'] == 'bm7'
t, m = tensors('torchvision-1.safetensors')
assert t['conv1.weight'][0] == [16, 3, 3, 3] and m['format'] == 'pt' and m['images'].startswith('36 x 36 px')
assert t['layer1.0.downsample.1.num_batches_tracked'] == ([], bytes(8))
"

# without metadata: the scheme and the network have to be said
cp torchvision-0.safetensors bare.safetensors
strip bare.safetensors
expect 2 "does not say what its outputs are: --scheme S" import bare.safetensors -o bare
expect 4 "tensors of the network missing: layer1.1.conv1.weight \[128, 256, 1, 1\], .* \.\.\.$" \
  import bare.safetensors -o bare --scheme bm7
check "normalisation asked for" grep -q "bare.safetensors does not say how its images were normalised" out
check "nothing made" [ ! -e bare/run.yaml ]
expect 4 "missing" import bare.safetensors -o bare --scheme bm7 --set 'augment.std=[.2,.2,.2]'
check "normalisation said" bash -c '! grep -q normalised out'
expect 0 "bare: 1 network" import bare.safetensors -o bare --scheme bm7 --config "$tiny" --size 36
check "normalisation said by the configuration" bash -c '! grep -q normalised out'
expect 0 "by fold 0 of bare" predict bare phantoms -o bare.csv
"$program" predict run phantoms --fold 0 -o fold0.csv >/dev/null 2>&1
check "as fold 0" cmp fold0.csv bare.csv
expect 2 "bare: is a run already" import bare.safetensors -o bare --scheme bm7 --config "$tiny"
expect 4 "fc.weight \[11, 256\] \(found fc.weight \[7, 64\]\)|fc.weight \[11, 64\] \(found fc.weight \[7, 64\]\)" \
  import bare.safetensors -o other --scheme harmonised11 --config "$tiny"
cp bare.safetensors more.safetensors
put more.safetensors layer9.0.conv1.weight F32 '[2, 2]' 16
expect 4 "1 tensor without a place in the network: layer9.0.conv1.weight \[2, 2\]" \
  import more.safetensors -o other --scheme bm7 --config "$tiny"
head -c 20000 bare.safetensors >cut.safetensors
expect 4 "cut.safetensors: .* do not lie in" import cut.safetensors -o other --scheme bm7 --config "$tiny"
expect 3 "none.safetensors" import none.safetensors -o other
expect 4 "run/run.yaml: no safetensors file" import run/run.yaml -o other
expect 4 "checkpoint-2.ckpt: a checkpoint of cytofold; expected safetensors: .cytofold export RUN --fold K" \
  import run/fold-0/checkpoint-2.ckpt -o other
expect 3 "bare was imported: what images it was trained on is not known" embed bare
expect 3 "bare was imported" embed bare --cells cells.cells
expect 2 "import: -o RUN is missing" import bare.safetensors
check "nothing made" [ ! -e other ]

# what is in a file of weights, and in one that is none
expect 0 "^numbers +[0-9]+$" inspect torchvision-0.safetensors
expect 0 "^. conv1.weight +. F32 +. 16 x 3 x 3 x 3 +. +432 .$" inspect torchvision-0.safetensors
expect 0 "^. cytofold.config +. [0-9]+ lines +.$" inspect torchvision-0.safetensors
expect 0 '"scheme": *"bm7"' inspect torchvision-0.safetensors --json
check "JSON" python3 -c "
import json
found = json.load(open('out'))
assert found['kind'] == 'safetensors' and len(found['tensors']) == 56, len(found['tensors'])
assert sum(t['name'] == 'fc.weight' and t['shape'] == [7, 64] for t in found['tensors']) == 1
"
expect 4 "cut.safetensors: .* do not lie in" inspect cut.safetensors

# several files make one run: of one network, one way with images, one scheme
own=(torchvision-0.safetensors torchvision-1.safetensors)
reword "${own[1]}" zoomed.safetensors "zoom: 1" "zoom: 1.25"
reword "${own[1]}" exact.safetensors "precision: bf16" "precision: fp32"
reword "${own[1]}" sized.safetensors "36 x 36 px, 0 um/px" "72 x 72 px, 0.1 um/px"
reword "${own[1]}" named.safetensors "name: bm7" "name: other"
expect 2 "zoomed.safetensors: augment.zoom is 1.25, but 1 in torchvision-0.safetensors" \
  import "${own[0]}" zoomed.safetensors -o two
expect 2 "exact.safetensors: train.precision is fp32, but bf16 in torchvision-0.safetensors" \
  import "${own[0]}" exact.safetensors -o two
expect 2 "sized.safetensors: trained on images of 72 x 72 px, 0.1 um/px, .* on 36 x 36 px" \
  import "${own[0]}" sized.safetensors -o two
expect 2 "named.safetensors: its scheme is not that of torchvision-0.safetensors; --scheme S" \
  import "${own[0]}" named.safetensors -o two
check "nothing made" [ ! -e two ]
expect 0 "zoomed: 2 networks" import "${own[0]}" zoomed.safetensors -o zoomed --set augment.zoom=1.25
expect 0 "sized: 2 networks" import sized.safetensors "${own[0]}" -o sized --size 36 --scheme bm7
check "the same field" grep -qx "# images: 36 x 36 px, 0.2 um/px" sized/run.yaml
expect 0 "sized.onnx" export sized -o sized.onnx --size 144
check "the same field again" grep -qa "144 x 144 px, 0.05 um/px" sized.onnx
expect 0 "mixed: 2 networks" import "${own[0]}" bare.safetensors -o mixed # the first speaks for both
# an import that failed or was killed is repeated by the same command
expect 4 "cut.safetensors: .* do not lie in" import "${own[0]}" cut.safetensors -o two
check "nothing made" [ ! -e two ]
cp "${own[1]}" poisoned.safetensors
poison poisoned.safetensors
expect 4 "poisoned.safetensors: .*fc.weight" import "${own[0]}" poisoned.safetensors -o two
check "nothing made" [ ! -e two ]
"$program" import "${own[@]}" -o two >/dev/null && rm two/run.yaml two/scheme.yaml && : >two/fold-1/checkpoint-0.ckpt
expect 2 "two holds fold-1; expected a new or an empty folder" import "${own[0]}" -o two
expect 0 "two: 2 networks" import "${own[@]}" -o two
rm two/run.yaml two/scheme.yaml two/fold-?/*
# a file grows too large, and the program is killed
{ (ulimit -c 0 -f 20 && exec "$program" import "${own[@]}" -o two); } >/dev/null 2>&1
left="$(cd two/fold-0 && echo checkpoint-0.ckpt.tmp-*)"
check "killed in a write" [ -f "two/fold-0/$left" ]
cp "two/fold-0/$left" "two/scheme.yaml${left#checkpoint-0.ckpt}"
expect 0 "two: 2 networks" import "${own[@]}" -o two
check "no temporaries" [ -z "$(find two -name '*.tmp-*')" ]
check "whole again" cmp torchvision/fold-1/checkpoint-0.ckpt two/fold-1/checkpoint-0.ckpt
mkdir mine && cp run/scheme.yaml mine
expect 2 "mine holds scheme.yaml; expected a new" import "${own[0]}" -o mine
mkdir trained && cp -r run/fold-0 trained
expect 2 "trained/fold-0 holds checkpoint-2.ckpt" import "${own[0]}" -o trained

# training starts from a file; the classifier of other classes is left out
expect 2 "3 folds have one: --fold K" export run -o x.safetensors
expect 2 "say --format" export run -o x.bin
expect 2 "--format takes" export run -o x --format pickle
expect 2 "--names takes" export run -o x.safetensors --fold 0 --names keras
expect 2 "--names timm is for safetensors" export run -o x.onnx --names timm
expect 2 "--size is for ONNX" export run --fold 0 -o x.safetensors --size 64
expect 2 "--format onnx, but -o x.safetensors" export run --format onnx -o x.safetensors
expect 4 "fold-5: no checkpoint" export run --fold 5 -o x.onnx
expect 5 "none/x.onnx" export run -o none/x.onnx
expect 3 "not a run folder" export phantoms -o x.onnx
expect 2 "export: -o FILE is missing" export run
check "trains from a file" train start --set model.init=torchvision-0.safetensors
check "says so" grep -q "torchvision-0.safetensors: 47 of 47 tensors of the network start there$" start.log
check "from other weights" bash -c '! cmp -s run/fold-0/predictions.csv start/fold-0/predictions.csv'
check "trains from it on two ranks" "$program" train "${job[@]}" --run start2 --workers 2 \
  --set model.init=torchvision-0.safetensors >/dev/null 2>start2.log
for k in 0 1 2; do check "same bits on two ranks" cmp start/fold-$k/checkpoint-2.ckpt start2/fold-$k/checkpoint-2.ckpt; done
# such a run is one like any other
cp -r start folds
rm folds/folds.csv
expect 0 "cells.cells is left aside: not what folds was trained on: folds/folds.csv: No such file" report folds
check "told once" [ "$(grep -c "left aside" out)" = 1 ]
expect 0 "" embed start --neighbors 5
expect 0 "unlike" predict start phantoms --unlike 0.01 -o start.csv
check "a flag for each image" [ "$(head -1 start.csv | grep -c unlike)" = 1 ]
check "where its file lies is nobody's business" bash -c '! grep -qF "$0" start/report.html' "$work"
check "which file it is" grep -q "torchvision-0.safetensors" start/report.html
cp -r start resumed
rm -r resumed/fold-1 resumed/fold-2/checkpoint-2.ckpt
check "goes on" train resumed --set model.init=torchvision-0.safetensors
for k in 0 1 2; do check "same bits after it" cmp start/fold-$k/checkpoint-2.ckpt resumed/fold-$k/checkpoint-2.ckpt; done
# a learning rate of nought leaves weights as they started; batch norm's moments move
check "trains from another family" train still --set model.init=cytofold-0.safetensors --set train.learning_rate=0 \
  --set train.ema=0
"$program" export still --fold 2 --names cytofold -o still.safetensors >/dev/null
check "weights are the file's" python3 -c "
import json, struct
def tensors(path):
    data = open(path, 'rb').read()
    n = struct.unpack('<Q', data[:8])[0]
    h = json.loads(data[8:8 + n])
    return {k: data[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]]
            for k, v in h.items() if k != '__metadata__'}
a, b = tensors('cytofold-0.safetensors'), tensors('still.safetensors')
assert all(a[k] == b[k] for k in a if not k.endswith(('.mean', '.var'))), 'weights moved'
assert any(a[k] != b[k] for k in a if k.endswith('.mean')), 'moments did not'
"
sed 's/^name: bm7/name: swapped/' run/scheme.yaml >swapped.yaml
sed -i 's/code: BLA/code: @/; s/code: EOS/code: BLA/; s/code: @/code: EOS/' swapped.yaml
"$program" pack phantoms --scheme swapped.yaml --size 36 -o swapped.cells >/dev/null || complain "packing"
check "trains for other classes" train swapped --set data.cells=swapped.cells --set model.init=timm-0.safetensors
check "classifier left out" grep -q "45 of 47 tensors .*; the classifier starts at random: the file's classes are others" \
  swapped.log
cp bare.safetensors large.safetensors
put large.safetensors fc.weight none '[]' 0
# before a rank starts, or a job waits in a queue: by train, plan and submit
verbs=("train $tiny --run hole --workers 1" "plan $tiny --workers 1" "submit $tiny --run hole --time 60")
for verb in "${verbs[@]}"; do
  read -ra words <<<"$verb"
  words+=(--set data.cells=cells.cells)
  expect 4 "^cytofold: model.init: .*large.safetensors: .*(gap|end at)" "${words[@]}" \
    --set model.init=large.safetensors
  expect 4 "missing: conv1.bias .* \(here the paper's variant has biases" "${words[@]}" \
    --set model.init=torchvision-0.safetensors --set model.variant=paper
  expect 3 "nowhere.safetensors" "${words[@]}" --set model.init=nowhere.safetensors
done
check "no folder" [ ! -e hole ]
mkdir configs
sed 's/^model:/model:\n  init: w.safetensors/' "$tiny" >configs/init.yaml
cp torchvision-0.safetensors w.safetensors # beside us, not beside the configuration
expect 3 "configs/init.yaml: model.init: no such file: w.safetensors" plan configs/init.yaml --workers 1 \
  --set data.cells=cells.cells
mv w.safetensors configs
check "starts beside the configuration" "$program" train configs/init.yaml --run beside --workers 1 \
  --set data.cells=cells.cells --set train.epochs=1 --set train.warmup_epochs=0 >/dev/null 2>&1
check "the same start" cmp start/fold-0/checkpoint-2.ckpt beside/fold-0/checkpoint-2.ckpt

# another file under the same name, and none
cp torchvision-0.safetensors named.safetensors
check "trains" train named --set model.init=named.safetensors
cp torchvision-1.safetensors named.safetensors
rm named/fold-0/checkpoint-2.ckpt
again=(train "${job[@]}" --workers 1)
expect 2 "other initial weights \([0-9a-f]{16}\) than model.init has now \(.*named.safetensors " "${again[@]}" \
  --run named --set model.init=named.safetensors
expect 2 "started from initial weights" "${again[@]}" --run named
expect 2 "run was started without model.init" "${again[@]}" --run run --set model.init=named.safetensors
cp torchvision-0.safetensors moved.safetensors
check "the same weights elsewhere are the same" train named --set model.init=moved.safetensors

# ONNX: written, whole or a fold; its content is held against ONNX Runtime in tests/parity
expect 0 "all.onnx: the mean of 3 folds .* images uint8 \[N, 36, 36, 3\] to probabilities \[N, 7\]" export run -o all.onnx
expect 0 "one.onnx: fold 2 of run" export run --fold 2 -o one.onnx --size 250
expect 0 "twice.onnx" export run --format onnx -o twice.onnx
check "the same bytes twice" cmp all.onnx twice.onnx
expect 3 "one.onnx: an ONNX file; inspect takes a cells file" inspect one.onnx
expect 4 "one.onnx: an ONNX file; expected safetensors" import one.onnx -o other --scheme bm7
check "the size given" grep -qa "250 x 250 px, 0 um/px" one.onnx
check "classes are named" grep -qa '\["BLA", "EOS", "LYT", "MON", "NGS", "NIF", "PMO"\]' all.onnx
check "no x" bash -c '! ls x* 2>/dev/null | grep -q .'

echo "$tried expectations, $failed failed"
[ "$failed" = 0 ]
