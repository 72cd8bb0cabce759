#!/usr/bin/env bash
# Trains on this machine; the same command goes on where a run was stopped.
#
#   launch/local.sh tiny runs/tiny [DATASET ...]     the bundled checkpoint, from nothing
#
# DATASETs are folders that `python -m emoji_jax.prepare` wrote; synthetic portraits come with them.
set -euo pipefail

usage() {
  sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

[[ $# -ge 2 && $1 == tiny ]] || usage
runs=$2
shift 2

sources="'synthetic',"
for dataset in "$@"; do
  sources+="'$dataset',"
done
data="--config.data.sources=($sources)"

python -m emoji_jax.train --config=configs/vae.py --workdir="$runs/vae" "$data"
python -m emoji_jax.train --config=configs/tiny_stage1.py --workdir="$runs/stage1" "$data" \
  --config.start="$runs/vae"
python -m emoji_jax.train --config=configs/tiny_stage2.py --workdir="$runs/stage2" "$data" \
  --config.start="$runs/stage1"
