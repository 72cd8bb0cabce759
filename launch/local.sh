#!/usr/bin/env bash
# Makes a checkpoint like the bundled one, trained longer, from nothing, on this machine.
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
  --config.reader.people=400 --config.reader.poses=24

sources="'$data/synthetic','$data/fluent','$data/avatars'"
every=("--config.data.sources=$sources" "--config.data.weights=0.5,0.3,0.2")
# Avatars change from picture to picture at once: they are no clips.
sources="'$data/synthetic','$data/fluent'"
clips=("--config.data.sources=$sources" "--config.data.weights=0.6,0.4")
train() { # NAME CONFIG OPTION...: a run that was stopped has no weights, and nothing may follow
  python -m emoji_jax.train --workdir="$runs/$1" --config="configs/$2.py" "${@:3}"
  [[ -e $runs/$1/weights/config.json ]] || exit 1
}

train vae vae "${every[@]}" "$@"
# What it encodes stays; what it decodes becomes sharper.
train decoder vae "${every[@]}" --config.start="$runs/vae" \
  "--config.train.trainable='vae.decoder.*','vae.post_quant_conv.*'" --config.train.steps=2000 \
  --config.autoencoder.perceptual=1 --config.optimiser.learning_rate=6e-4 "$@"
train stage1 tiny_stage1 "${every[@]}" --config.start="$runs/decoder" "$@"
train stage2 tiny_stage2 "${clips[@]}" --config.start="$runs/stage1" "$@"
[[ -e $runs/tiny/config.json ]] ||
  python -m emoji_jax.export --workdir="$runs/stage2" --out="$runs/tiny" --dtype=bfloat16
