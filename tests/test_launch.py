"""The scripts in launch/: checked, and what they would do."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[1] / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))
OPTIONS = ("--config=configs/stage1.py", "--workdir=/data/run one")


def dry(script: str, *arguments: str) -> str:
    done = subprocess.run(
        ["bash", str(LAUNCH / script), "--dry-run", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scripts_are_clean():
    installed = Path(sys.executable).with_name("shellcheck")
    program = str(installed) if installed.exists() else shutil.which("shellcheck")
    if not program:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([program, *map(str, SCRIPTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_usage(script):
    for arguments in ((), ("nonsense",)):
        done = subprocess.run(
            ["bash", str(script), *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert f"launch/{script.name}" in done.stderr
        assert not [x for x in done.stderr.splitlines() if x.startswith(("#", "set ", "dry"))]


def test_every_script_is_in_the_table():
    table = (LAUNCH / "README.md").read_text()
    assert all(f"`{path.name} " in table for path in SCRIPTS)


def test_processes():
    told = dry("processes.sh", "3", *OPTIONS).splitlines()
    assert sorted(line.split("--process=")[1] for line in told) == ["0", "1", "2"]
    assert all("--processes=3" in line and "--stopped_code=75" in line for line in told)
    assert len({line.split("--coordinator=")[1].split()[0] for line in told}) == 1


def test_slurm():
    (line,) = dry("slurm.sh", *OPTIONS).splitlines()
    assert line.startswith("srun ") and "--workdir=/data/run one" in line


def test_tpu_vm():
    told = dry("tpu_vm.sh", "keep", "pod", "zone", "v5litepod-64", "bucket", *OPTIONS)
    parts = [line.split()[4] for line in told.splitlines() if line.startswith("gcloud")]
    assert parts == ["create", "scp", "ssh", "ssh", "delete"]
    assert "--accelerator-type=v5litepod-64" in told and "v2-alpha-tpuv5-lite" in told


@pytest.mark.parametrize("kind", ["tpu", "gpu"])
def test_gke(kind):
    place = "tpu-v5-lite-podslice:8x8" if kind == "tpu" else "nvidia-h100-80gb"
    jobset = json.loads(dry("gke.sh", "run", "image", kind, "16", place, "claim", *OPTIONS))
    (jobs,) = jobset["spec"]["replicatedJobs"]
    spec = jobs["template"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"][-1] == OPTIONS[1]
    assert spec["completions"] == spec["parallelism"] == 16
    names = {variable["name"] for variable in container["env"]}
    assert ("JAX_COORDINATOR_ADDRESS" in names) == (kind == "gpu")
    validate = pytest.importorskip("kubernetes_validate")
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "run"}, "spec": spec}
    validate.validate(job, "1.31", strict=True)


def holds(whole, part) -> bool:
    """Whether everything of a part is in the whole; defaults may have been added."""
    if isinstance(part, dict):
        return all(name in whole and holds(whole[name], value) for name, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(holds, whole, part))
    return whole == part


@pytest.mark.parametrize("kind", ["tpu", "gpu"])
def test_gke_jobset_has_only_what_jobsets_have(kind):
    """Read as one and written again, nothing is lost, and nothing was refused."""
    models = pytest.importorskip("kubeflow_trainer_api.models")
    jobset = json.loads(dry("gke.sh", "run", "image", kind, "16", "kind", "claim", *OPTIONS))
    read = models.JobsetV1alpha2JobSet.from_dict(jobset)
    assert holds(json.loads(json.dumps(read.to_dict(), default=str)), jobset)
    with pytest.raises(ValueError):
        models.JobsetV1alpha2JobSet.from_dict(jobset | {"spec": {"failurePolicy": "none"}})


def test_prepare():
    told = dry("prepare.sh", "dataflow", "project", "region", "bucket", "image", "--out=x")
    assert (
        "--runner=DataflowRunner" in told and "--beam_arg=--temp_location=gs://bucket/temp" in told
    )
    assert "--runner=FlinkRunner" in dry("prepare.sh", "flink", "host:1", "image", "--out=x")
