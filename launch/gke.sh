#!/usr/bin/env bash
# Trains on Kubernetes (GKE): a JobSet whose pods are one run, started anew when one is lost.
#
#   launch/gke.sh [--dry-run] NAME IMAGE tpu|gpu PODS ACCELERATOR[:TOPOLOGY] CLAIM OPTION...
#
#   launch/gke.sh stage1 REGISTRY/emoji_jax tpu 16 tpu-v5-lite-podslice:8x8 data \
#       --config=configs/stage1.py --workdir=/data/runs/stage1 --config.data.sources=/data/hdtf
#
# CLAIM is a volume claim that many pods may write; it is at /data. Each pod has 4 TPU chips or 8 GPUs.
# --dry-run prints the manifest. The image is made by launch/Containerfile.
set -euo pipefail

dry=
[[ ${1:-} == --dry-run ]] && dry=1 && shift
[[ $# -ge 7 && $3 =~ ^(tpu|gpu)$ && $4 =~ ^[1-9][0-9]*$ ]] || {
  sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
name=$1 image=$2 kind=$3 pods=$4 accelerator=${5%%:*} topology="" claim=$6
[[ $5 == *:* ]] && topology=${5#*:}
shift 6

# JSON is YAML, and quoting it is no art.
manifest() {
  python3 - "$name" "$image" "$kind" "$pods" "$accelerator" "$topology" "$claim" "$@" <<'PYTHON'
import json, sys

name, image, kind, pods, accelerator, topology, claim, *options = sys.argv[1:]
pods = int(pods)
tpu = kind == "tpu"
resources = {"google.com/tpu": 4} if tpu else {"nvidia.com/gpu": 8}
where = {"cloud.google.com/gke-tpu-accelerator" if tpu else "cloud.google.com/gke-accelerator": accelerator}
if topology:
    where["cloud.google.com/gke-tpu-topology"] = topology
# TPU pods find each other by what GKE tells them; others are told here.
index = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}}
environment = [] if tpu else [
    {"name": "JAX_COORDINATOR_ADDRESS", "value": f"{name}-train-0-0.{name}:8476"},
    {"name": "JAX_NUM_PROCESSES", "value": str(pods)},
    {"name": "JAX_PROCESS_ID", "valueFrom": index},
]
container = {
    "name": "train",
    "image": image,
    "command": ["python", "-m", "emoji_jax.train", "--stopped_code=75", *options],
    "env": environment,
    "ports": [{"containerPort": 8476}],
    "resources": {"limits": resources},
    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
}
job = {
    "parallelism": pods,
    "completions": pods,
    "completionMode": "Indexed",
    "backoffLimit": 0,
    # A mistake would be made again; what was lost is not the job's fault.
    "podFailurePolicy": {"rules": [
        {"action": "FailJob", "onExitCodes": {"containerName": "train", "operator": "In", "values": [2]}},
    ]},
    "template": {"spec": {
        "restartPolicy": "Never",
        "nodeSelector": where,
        # Time to save after SIGTERM.
        "terminationGracePeriodSeconds": 300,
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
    }},
}
print(json.dumps({
    "apiVersion": "jobset.x-k8s.io/v1alpha2",
    "kind": "JobSet",
    "metadata": {"name": name},
    "spec": {
        "failurePolicy": {
            "maxRestarts": 100,
            "rules": [{"name": "mistake", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
        },
        "network": {"enableDNSHostnames": True, "subdomain": name},
        "replicatedJobs": [{"name": "train", "replicas": 1, "template": {"spec": job}}],
    },
}, indent=2))
PYTHON
}

if [[ $dry ]]; then
  manifest "$@"
else
  manifest "$@" | kubectl apply -f -
fi
