#!/usr/bin/env bash
# All that one GPU can tell, in under nine minutes: bash benchmarks/gpu.sh RESULTS
# Needs jax with CUDA and this package; with PyTorch and diffusers, their times stand beside ours.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?folder for the results}
mkdir -p "$out"
export XLA_PYTHON_CLIENT_PREALLOCATE=false  # PyTorch wants memory, too
export PYTHONPATH=.
peers=()
python -c "import torch, diffusers" 2>/dev/null && peers=(--compare torch compiled)
failed=0
run() {  # name, seconds at most, command: what fails or takes too long does not stop the others
  local name=$1 most=$2
  shift 2
  echo "== $name"
  timeout "$most" python "$@" >"$out/$name.txt" 2>&1 || { echo "failed: $name"; failed=1; }
  tail -n 12 "$out/$name.txt"
}
clip=(benchmarks/sample.py --part clip --dtype bfloat16 --repeats 3 --json)
run clip 200 "${clip[@]}" "${peers[@]}"
run few_steps 60 "${clip[@]}" --sampler unipc --steps 8 --cache fast
run stage1 90 benchmarks/train_step.py --config=configs/stage1.py --config.train.batch_size=16 \
  --config.data.workers=0 --json --profile="$out/profile"
run stage2 120 benchmarks/train_step.py --config=configs/stage2.py --config.train.batch_size=2 \
  --config.data.workers=0 --json
exit "$failed"
