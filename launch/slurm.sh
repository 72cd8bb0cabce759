#!/usr/bin/env bash
#SBATCH --job-name=emoji_jax
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=48:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@300
#
# Trains on a Slurm cluster, a process on each GPU (JAX tells them apart, not Slurm); a job that is preempted or that loses a node is
# queued again, and goes on.
#
#   sbatch --nodes=4 launch/slurm.sh --config=configs/stage1.py --workdir=/shared/runs/stage1 ...
#   launch/slurm.sh --dry-run ...                         # prints what it would run
#
# The workdir and the data must be on a file system that all nodes see. Activate the environment
# before, or set EMOJI_JAX_ACTIVATE to a file to source.
set -uo pipefail

dry=
[[ ${1:-} == --dry-run ]] && dry="echo" && shift
[[ $# -ge 2 ]] || {
  sed -n '12,20s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
# shellcheck disable=SC1090
[[ -n ${EMOJI_JAX_ACTIVATE:-} ]] && source "$EMOJI_JAX_ACTIVATE"

# In the background, so that this shell hears of SIGTERM; srun passes it on.
$dry srun --kill-on-bad-exit=1 --gpu-bind=none python -m emoji_jax.train "$@" --stopped_code=75 &
run=$!
trap 'kill -TERM "$run" 2>/dev/null' TERM
wait "$run"
code=$?
while kill -0 "$run" 2>/dev/null; do
  wait "$run"
  code=$?
done
# 0 is done, 2 a mistake that would be made again. Of a mistake of one task the others are killed, and
# their code may be told: what ends within minutes, and not because it was stopped, is not repeated.
if [[ $code -ne 0 && $code -ne 2 && -z $dry && ($code -eq 75 || $SECONDS -gt 600) ]]; then
  echo "exit code $code; queued again" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
