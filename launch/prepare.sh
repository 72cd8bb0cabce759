#!/usr/bin/env bash
# Prepares videos on a cluster, by a runner of Apache Beam.
#
#   launch/prepare.sh [--dry-run] dataflow PROJECT REGION BUCKET IMAGE OPTION...
#   launch/prepare.sh [--dry-run] flink HOST:PORT IMAGE OPTION...
#
# OPTION... are those of python -m emoji_jax.prepare. Videos and --out lie where all workers see them,
# at the same path; IMAGE (launch/Containerfile) has what they need.
set -euo pipefail

dry=
[[ ${1:-} == --dry-run ]] && dry="echo" && shift
usage() {
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
case ${1:-} in
  dataflow)
    [[ $# -ge 6 ]] || usage
    beam=(--project="$2" --region="$3" --temp_location="gs://$4/temp" --sdk_container_image="$5"
      --experiments=use_runner_v2)
    runner=DataflowRunner
    shift 5
    ;;
  flink)
    [[ $# -ge 4 ]] || usage
    beam=(--flink_master="$2" --environment_type=DOCKER --environment_config="$3")
    runner=FlinkRunner
    shift 3
    ;;
  *) usage ;;
esac
$dry python -m emoji_jax.prepare "$@" --runner="$runner" "${beam[@]/#/--beam_arg=}"
