#!/usr/bin/env bash
# Trains with several processes on this machine, and begins anew when one of them is lost.
#
#   launch/processes.sh [--dry-run] COUNT --config=configs/stage1.py --workdir=runs/stage1 ...
#
# On machines with GPUs each process has its own: as many processes as GPUs, or fewer.
# Of accelerators that one process can hold together (a TPU VM's), one process is enough.
set -uo pipefail

dry=
[[ ${1:-} == --dry-run ]] && dry="echo" && shift
[[ $# -ge 3 && $1 =~ ^[1-9][0-9]*$ ]] || {
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
count=$1
shift

IFS=, read -ra gpus <<<"${CUDA_VISIBLE_DEVICES:-$(seq -s, 0 $((count - 1)))}"
# A mistake (2) is not repeated; what was lost is, but not for ever.
for attempt in {1..100}; do
  port=$((20000 + RANDOM % 20000))
  pids=()
  for ((i = 0; i < count; i++)); do
    own=(env)
    command -v nvidia-smi >/dev/null && own=(env "CUDA_VISIBLE_DEVICES=${gpus[i]:?fewer GPUs than processes}")
    $dry "${own[@]}" python -m emoji_jax.train "$@" --stopped_code=75 \
      --coordinator="127.0.0.1:$port" --processes="$count" --process="$i" &
    pids+=($!)
  done
  # Who is told to stop tells all; training then saves, and this script ends.
  stopped=
  trap 'stopped=1; kill -TERM "${pids[@]}" 2>/dev/null' TERM INT
  code=0
  for pid in "${pids[@]}"; do
    wait "$pid"
    one=$?
    # A signal interrupts the waiting: wait again.
    [[ $stopped && $one -gt 128 ]] && { wait "$pid"; one=$?; }
    [[ $one -eq 2 ]] && code=2
    [[ $one -ne 0 && $code -eq 0 ]] && code=$one
  done
  trap - TERM INT
  [[ $code -eq 0 || $code -eq 2 || $stopped || $dry ]] && exit "$code"
  echo "attempt $attempt ended with exit code $code; again" >&2
  sleep 5
done
exit "$code"
