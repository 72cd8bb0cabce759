#!/usr/bin/env bash
# All that one GPU can tell, in nine minutes at most: bash benchmarks/gpu.sh RESULTS [PART ...]
# Parts: clip few_steps stage1 stage2 step; all of them, unless some are named.
# Needs jax with CUDA, what this package needs, and optax; with PyTorch and diffusers, their times
# stand beside ours. Packages may be brought on PYTHONPATH.
set -euo pipefail
out=$(realpath -m "${1:?folder for the results}")
shift
known=(clip few_steps stage1 stage2 step)
for part in "$@"; do
  if [[ " ${known[*]} " != *" $part "* ]]; then
    echo "no part is called $part; expected some of: ${known[*]}" >&2
    exit 2
  fi
done
parts=("${@:-${known[@]}}")
cd "$(dirname "$0")/.."
mkdir -p "$out"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export XLA_PYTHON_CLIENT_PREALLOCATE=false  # PyTorch wants memory, too
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
# What one part has compiled, the next ones need not; and none is there before the first.
export JAX_COMPILATION_CACHE_DIR=$scratch/programs JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.2
peers=()
if why=$(python3 -c "import torch, diffusers" 2>&1); then
  peers=(--compare torch compiled)
else
  echo "ours alone, as there is no PyTorch with diffusers: ${why##*$'\n'}"
fi
failed=0
run() {  # part, seconds from the beginning when it must be over, command
  local name=$1 left=$(($2 - SECONDS)) code=0
  shift 2
  if [[ " ${parts[*]} " != *" $name "* ]]; then return; fi
  echo "== $name, $left s at most"
  timeout -k 5 "$left" python3 "$@" >"$out/$name.txt" 2>&1 || code=$?
  # What was known when it failed or was stopped stands there all the same.
  tail -n 40 "$out/$name.txt"
  if [[ $code != 0 ]]; then
    failed=1
    if [[ $code == 124 || $code == 137 ]]; then echo "stopped: $name"; else echo "failed: $name"; fi
  fi
  # As one file: folders in folders may not come back from a borrowed machine.
  if [[ -d $scratch/$name ]]; then tar -C "$scratch" -czf "$out/$name.trace.tar.gz" "$name"; fi
}
# Time that a part leaves is the next one's.
clip=(benchmarks/sample.py --part clip --dtype bfloat16 --repeats 3 --json)
run clip 240 "${clip[@]}" --profile="$scratch/clip" ${peers[@]+"${peers[@]}"}
run few_steps 300 "${clip[@]}" --sampler unipc --steps 8 --cache fast
run stage1 390 benchmarks/train_step.py --config=configs/stage1.py --config.train.batch_size=16 \
  --config.data.workers=0 --json --profile="$scratch/stage1"
run stage2 475 benchmarks/train_step.py --config=configs/stage2.py --config.train.batch_size=2 \
  --config.data.workers=0 --json
# How far from fp32 numbers in bf16 are, ours and PyTorch's.
run step 530 benchmarks/sample.py --dtype bfloat16 --json ${peers[@]+"${peers[0]}" torch}
exit "$failed"
