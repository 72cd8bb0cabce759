#!/usr/bin/env bash
# Trains on a TPU pod slice: creates it, installs, runs on all workers, and again after a preemption.
#
#   launch/tpu_vm.sh [--dry-run] create  NAME ZONE TYPE          # e.g. v5litepod-64; spot
#   launch/tpu_vm.sh [--dry-run] install NAME ZONE BUCKET        # this tree, and the bucket at ~/bucket
#   launch/tpu_vm.sh [--dry-run] run     NAME ZONE OPTION...     # of python -m emoji_jax.train
#   launch/tpu_vm.sh [--dry-run] keep    NAME ZONE TYPE BUCKET OPTION...   # all of it, until it is done
#   launch/tpu_vm.sh [--dry-run] stop    NAME ZONE               # saves, and ends the training
#   launch/tpu_vm.sh [--dry-run] delete  NAME ZONE
#
# Data and workdir are in the bucket: --workdir=bucket/runs/stage1. It must have hierarchical namespace,
# by which a checkpoint gets its name in one step. End keep before stop, or it begins anew. TPU_RUNTIME names the software of
# the machines, by default what the type needs.
set -uo pipefail

dry=
[[ ${1:-} == --dry-run ]] && dry=1 && shift
usage() {
  sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
[[ $# -ge 3 ]] || usage
what=$1 name=$2 zone=$3
shift 3
here=$(cd "$(dirname "$0")/.." && pwd)

cloud() { # in a dry run only told
  if [[ $dry ]]; then
    printf 'gcloud'
    printf ' %q' "$@"
    echo
  else
    gcloud "$@"
  fi
}
everywhere() { cloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"; }

runtime() {
  case $1 in
    v6e-*) echo v2-alpha-tpuv6e ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v5lite*) echo v2-alpha-tpuv5-lite ;;
    *) echo tpu-ubuntu2204-base ;;
  esac
}

create() { # TYPE
  cloud compute tpus queued-resources create "$name" --node-id="$name" --zone="$zone" \
    --accelerator-type="$1" --runtime-version="${TPU_RUNTIME:-$(runtime "$1")}" --spot
}

state() {
  gcloud compute tpus queued-resources describe "$name" --zone="$zone" --format='value(state.state)'
}

await() { # until the machines are there
  local found
  [[ $dry ]] && return
  until found=$(state) && [[ $found == ACTIVE ]]; do
    [[ $found == FAILED || $found == SUSPENDED ]] && return 1
    sleep 30
  done
}

install() { # BUCKET
  local packed
  packed=$(mktemp -d)
  tar -C "$here" --exclude=.git --exclude=.venv --exclude=shared -czf "$packed/emoji_jax.tar.gz" .
  cloud compute tpus tpu-vm scp "$packed/emoji_jax.tar.gz" "$name:" --zone="$zone" --worker=all
  rm -r "$packed"
  everywhere "set -e
    mkdir -p emoji_jax bucket && tar -C emoji_jax -xzf emoji_jax.tar.gz
    command -v gcsfuse || {
      source=/etc/apt/sources.list.d/gcsfuse.list key=/usr/share/keyrings/cloud.google.asc
      curl -fsS https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo tee \$key >/dev/null
      echo \"deb [signed-by=\$key] https://packages.cloud.google.com/apt gcsfuse-\$(lsb_release -cs) main\" |
        sudo tee \$source
      sudo apt-get -qq update && sudo apt-get -qq install -y gcsfuse
    }
    mountpoint -q bucket || gcsfuse --implicit-dirs $(printf %q "$1") bucket
    python3 -m pip install -q --user uv
    python3 -m uv venv -q --python 3.12 env
    python3 -m uv pip install -q --python env './emoji_jax[tpu,train]'"
}

run() { # OPTION...: of all workers' exit codes the command's is one
  everywhere "env/bin/python -m emoji_jax.train --stopped_code=75 $(printf '%q ' "$@")"
}

delete() {
  cloud compute tpus queued-resources delete "$name" --zone="$zone" --force --quiet
}

keep() { # TYPE BUCKET OPTION...
  local type=$1 bucket=$2 code failed=0
  shift 2
  trap 'echo "what was created costs: launch/tpu_vm.sh delete $name $zone" >&2; exit 130' INT TERM
  while :; do
    SECONDS=0
    create "$type" && await && install "$bucket" && run "$@"
    code=$?
    delete
    # 0 is done, 2 a mistake that would be made again.
    [[ $dry || $code -eq 0 || $code -eq 2 ]] && return "$code"
    # What fails within minutes is not repeated for ever: machines cost.
    ((SECONDS < 900 ? ++failed : (failed = 0)))
    ((failed < 3)) || return "$code"
    echo "exit code $code; again" >&2
    sleep 60
  done
}

case $what:$# in
  create:1 | install:1) "$what" "$1" ;;
  run:[1-9]*) run "$@" ;;
  keep:[3-9]* | keep:[1-9][0-9]*) keep "$@" ;;
  stop:0) everywhere "pkill -TERM -f emoji_jax.train" ;;
  delete:0) delete ;;
  *) usage ;;
esac
