"""The scripts in benchmarks/: each runs at the smallest size, and says what it shall."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = ("--preset", "tiny", "--frames", "1", "--side", "4", "--repeats", "1", "--json")
TRAINING = "--config=tests/training/small.py:stage1"


def run(script: str, *arguments: str, **environment: str) -> list[str]:
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_gpu_script_is_clean():
    installed = Path(sys.executable).with_name("shellcheck")
    program = str(installed) if installed.exists() else shutil.which("shellcheck")
    if not program:
        pytest.skip("shellcheck is not installed")
    script = ROOT / "benchmarks" / "gpu.sh"
    done = subprocess.run([program, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def gpu(folder: Path, tmp_path: Path, *parts: str) -> subprocess.CompletedProcess:
    """gpu.sh, from another folder, with a Python that runs nothing and says what it was given."""
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir(exist_ok=True)
    python.write_text(
        '#!/usr/bin/env bash\n[[ $1 != -c ]] || { echo "no torch here" >&2; exit 1; }\n'
        'echo "$PYTHONPATH $*"\nfor x in "$@"; do\n'
        '  [[ $x != --profile=* ]] || { mkdir "${x#*=}"; echo trace >"${x#*=}/trace"; }\n'
        "done\n[[ $* != *stage2* ]]\n"
    )
    python.chmod(0o755)
    path = f"{python.parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu.sh"), str(folder), *parts],
        cwd=tmp_path,
        env=os.environ | {"PATH": path, "PYTHONPATH": "/brought/along"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_gpu_script(tmp_path):
    """A part that fails stops no other; results are where the caller is, a trace is one file."""
    done = gpu(Path("results"), tmp_path)
    assert done.returncode == 1 and "failed: stage2" in done.stdout
    assert "ours alone" in done.stdout and "no torch here" in done.stdout
    told = {path.name for path in (tmp_path / "results").iterdir()}
    parts = ("clip", "few_steps", "stage1", "stage2", "step")
    traces = {"clip.trace.tar.gz", "stage1.trace.tar.gz"}
    assert told == {f"{part}.txt" for part in parts} | traces
    given = (tmp_path / "results" / "clip.txt").read_text()
    assert given.startswith(f"{ROOT}:/brought/along ") and "--compare" not in given


def test_parts_of_the_gpu_script(tmp_path):
    assert gpu(tmp_path / "some", tmp_path, "step", "few_steps").returncode == 0
    assert {p.name for p in (tmp_path / "some").iterdir()} == {"few_steps.txt", "step.txt"}
    wrong = gpu(tmp_path / "none", tmp_path, "nonsense")
    assert wrong.returncode == 2 and "nonsense" in wrong.stderr


def test_sample_step():
    """In bf16, with the difference to fp32."""
    told = run("sample.py", *SMALL, "--dtype", "bfloat16")
    numbers = json.loads(next(line for line in told if line.startswith("{")))
    assert numbers["tflop"] > 0 and numbers["product_tflop_s"] > 0 and numbers["first_s"]
    assert "differs from ours in fp32" in told[-1]


@pytest.mark.heavy
def test_sample_clip():
    """Stages, of which cached steps do less; and a peer that makes the same frames."""
    clip = ("--part", "clip", "--steps", "6")
    few = json.loads(run("sample.py", *SMALL, *clip, "--cache", "fast")[-1])
    full = json.loads(run("sample.py", *SMALL, *clip)[-1])
    work = [{name: told["tflop"] for name, told in x["stages"].items()} for x in (few, full)]
    assert work[0].pop("denoising") < work[1].pop("denoising")
    assert work[0] == work[1] and min(work[0].values()) > 0
    assert full["tflop"] == pytest.approx(sum(s["tflop"] for s in full["stages"].values()))
    for name in ("torch", "diffusers"):
        pytest.importorskip(name, reason="the peer is made of it: .[parity]")
    peer = json.loads(run("sample.py", *SMALL, *clip, "--compare", "torch")[-1])
    assert peer["ratio"] > 0 and peer["differences"]["torch to ours"] <= 1 / 255


@pytest.mark.heavy
def test_train_step():
    options = ("--config.train.batch_size=2", "--config.train.remat=True", "--repeats=1", "--json")
    told = json.loads(run("train_step.py", TRAINING, *options)[-1])
    assert told["tflop"] > 0 and len(told["seconds"]) == 2


@pytest.mark.heavy
def test_memory():
    told = run("memory.py", "--preset", "tiny", "--dtype", "float32")
    names = {line.split(" | ")[0].strip("| ") for line in told[3:]}
    assert names == {"portrait", "landmarks", "denoising", "decoding"}


@pytest.mark.heavy
def test_devices():
    """Each of two does half of it, and in sampling they exchange nothing."""
    told = run("devices.py", "--devices", "1", "2", "--config", "tests/training/small.py")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in told[2:]]
    work = {(name, count): float(gflop) for name, count, gflop, *_ in rows}
    for name, _, _, *moved in (row for row in rows if row[1] == "2"):
        assert work[name, "2"] == pytest.approx(work[name, "1"] / 2, rel=0.1)
        assert any(float(x) for x in moved) == (name == "training step")


@pytest.mark.heavy
def test_long_video(tmp_path, landmark_model):
    lengths = ("--lengths", "9", "--steps", "1", "--out", str(tmp_path))
    told = run("long_video.py", "memory", *lengths)
    rows = json.loads((tmp_path / "memory.json").read_text())
    assert [row["way"] for row in rows] == ["progressive", "overlap"] and len(told) == 4
    assert all(row["frames"] == 9 and row["ms_a_frame"] > 0 for row in rows)


@pytest.mark.heavy
def test_data():
    told = run("data.py", "--size", "64", "--frames", "1", "--seconds", "0.1", "--json")
    assert {row["source"] for row in json.loads(told[-1])["rows"]} == {
        "pictures",
        "encoded",
        "synthetic",
    }


def test_kinds_of_kernels(tmp_path, monkeypatch):
    """A trace of what a CPU does, taken for a device's."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import jax
    import jax.numpy as jnp
    import kernels

    x = jnp.ones((64, 64))
    product = jax.jit(jnp.dot)
    product(x, x)
    trace = kernels.record(tmp_path, lambda: product(x, x))
    found = kernels.by_kind(trace, "/host:CPU", ("",))
    assert found and all(seconds >= 0 and calls > 0 for seconds, calls in found.values())
    assert len(list(kernels.table(found, 3))) == min(3, len(found))
    assert kernels.by_kind(trace) == {}


def test_parts_of_a_block(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import drawn

    kernel = drawn.weights("a.kernel", (3, 3, 8, 16))
    assert (kernel == drawn.weights("a.kernel", (3, 3, 8, 16))).all()
    assert (kernel != drawn.weights("b.kernel", (3, 3, 8, 16))).any()
    assert kernel.std() * (3 * 3 * 8) ** 0.5 == pytest.approx(1, rel=0.05)
    assert drawn.weights("norm.scale", (99,)).mean() == pytest.approx(1, abs=0.05)
    assert drawn.weights("largest", (3, 3, 2560, 1280)).shape == (3, 3, 2560, 1280)
