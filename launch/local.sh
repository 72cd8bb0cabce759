#!/usr/bin/env bash
# Makes the bundled checkpoint, from nothing, on this machine.
#
#   launch/local.sh tiny RUNS DATA EMOJI
#
# EMOJI holds the unpacked packages @lobehub/fluent-emoji-anim-1 and -3. The three datasets are
# prepared in DATA, the four trainings run in RUNS, and RUNS/tiny is the checkpoint. The same
# command goes on where it was stopped. Options of all trainings may follow: --config.data.workers=4
set -euo pipefail

usage() {
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

[[ $# -ge 4 && $1 == tiny ]] || usage
runs=$2 data=$3 emoji=$4
shift 4

crop=(--config.crop.size=128 --config.crop.smallest_face=40 --config.track.several=reject)
python -m emoji_jax.prepare --dataset=fluent --videos "$emoji" --out "$data/fluent" "${crop[@]}"
python -m emoji_jax.prepare --dataset=avatars --out "$data/avatars" "${crop[@]}" \
  --config.reader.people=90 --config.reader.size=320
python -m emoji_jax.prepare --dataset=synthetic --out "$data/synthetic" --config.crop.size=128 \
  --config.reader.people=400 --config.reader.poses=16

every=("--config.data.sources='$data/synthetic','$data/fluent','$data/avatars'"
  --config.data.weights=0.5,0.3,0.2)
# Avatars change from picture to picture at once: they are no clips.
clips=("--config.data.sources='$data/synthetic','$data/fluent'" --config.data.weights=0.6,0.4)
python -m emoji_jax.train --config=configs/vae.py --workdir="$runs/vae" "${every[@]}" "$@"
# What it encodes stays; what it decodes becomes sharper.
python -m emoji_jax.train --config=configs/vae.py --workdir="$runs/decoder" "${every[@]}" \
  --config.start="$runs/vae" "--config.train.trainable='vae.decoder.*','vae.post_quant_conv.*'" \
  --config.train.steps=2000 --config.autoencoder.perceptual=1 \
  --config.optimiser.learning_rate=6e-4 "$@"
python -m emoji_jax.train --config=configs/tiny_stage1.py --workdir="$runs/stage1" "${every[@]}" \
  --config.start="$runs/decoder" "$@"
python -m emoji_jax.train --config=configs/tiny_stage2.py --workdir="$runs/stage2" "${clips[@]}" \
  --config.start="$runs/stage1" "$@"
python -m emoji_jax.export --workdir="$runs/stage2" --out="$runs/tiny" --dtype=bfloat16
