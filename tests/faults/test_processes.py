"""Several processes that train as one."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from emoji_jax import checkpoint
from tests.training.test_run import arguments, losses, wait_for_step

DEVICES = 4  # of all processes together


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(
    workdir: Path, count: int, *options: str, said=None, last: Mapping[str, str] | None = None
) -> list[subprocess.Popen]:
    """A run of `count` processes that share the devices; `last`: environment of the last one."""
    together = [f"--coordinator=127.0.0.1:{port()}", f"--processes={count}"]
    environment = os.environ | {
        "PYTHONPATH": os.getcwd(),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES // count}",
        # Of several processes only the first keeps what it compiles, would be ready long before the
        # others the next time, and Gloo waits for them no longer than 30 s.
        "JAX_ENABLE_COMPILATION_CACHE": "false" if count > 1 else "true",
    }
    return [
        subprocess.Popen(
            [
                *arguments(workdir, *options),
                *([*together, f"--process={i}"] if count > 1 else []),
            ],
            env=environment | (last if last and i == count - 1 else {}),
            stdout=said,
            stderr=subprocess.STDOUT if said else None,
        )
        for i in range(count)
    ]


def end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def finish(processes: list[subprocess.Popen], seconds: float = 300) -> list[int]:
    try:
        return [process.wait(seconds) for process in processes]
    finally:
        end(processes)


OPTIONS = ("--config.checkpoint.every=3", "--config.log.validate=3", "--config.mesh.fsdp=2")


def steps(count: int) -> str:
    return f"--config.train.steps={count}"


@pytest.mark.heavy
def test_two_processes_are_one(tmp_path):
    """The same losses, and a run that goes on with another number of processes."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert finish(start(whole, 1, *OPTIONS, steps(9))) == [0]
    assert finish(start(parts, 2, *OPTIONS, steps(3))) == [0, 0]
    assert finish(start(parts, 1, *OPTIONS, steps(6))) == [0]
    assert finish(start(parts, 2, *OPTIONS, steps(9))) == [0, 0]
    expected, found = losses(whole), losses(parts)
    assert list(found) == list(expected) == list(range(1, 10))
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-5)
    for network in ("unet", "appearance"):
        a, b = (weights(run, network) for run in (whole, parts))
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=2e-3, atol=2e-5)
    assert checkpoint.read_config(parts / "weights") == checkpoint.read_config(whole / "weights")


def weights(run: Path, network: str) -> dict[str, np.ndarray]:
    import jax

    directory = checkpoint.find(run) / network
    shapes = checkpoint.shapes(directory)
    wanted = {name: jax.ShapeDtypeStruct(s, np.float32) for name, s in shapes.items()}
    return {name: np.asarray(x) for name, x in checkpoint.restore(directory, wanted).items()}


@pytest.mark.heavy
def test_one_of_two_is_killed(tmp_path):
    """The other one ends within a minute; the same command goes on."""
    run = tmp_path / "run"
    processes = start(run, 2, *OPTIONS, steps(2000))
    wait_for_step(run, 5, processes[0])
    processes[1].send_signal(signal.SIGKILL)
    before = time.monotonic()
    try:
        code = processes[0].wait(90)
    finally:
        end(processes)
    assert code
    assert time.monotonic() - before < 60
    done = max(map(int, (path.name for path in (run / "checkpoints").glob("[0-9]*"))))
    assert done >= 3
    assert finish(start(run, 2, *OPTIONS, steps(done + 3))) == [0, 0]
    assert list(losses(run)) == list(range(1, done + 4))


@pytest.mark.heavy
def test_one_of_two_stops_answering(tmp_path):
    """Its connections stay, but its heartbeat is missed."""
    run = tmp_path / "run"
    with (tmp_path / "said").open("w") as said:
        options = (*OPTIONS, steps(2000))
        processes = start(run, 2, *options, said=said)
        wait_for_step(run, 5, processes[0])
        processes[1].send_signal(signal.SIGSTOP)
        try:
            code = processes[0].wait(90)
        finally:
            end(processes)
    assert code


@pytest.mark.heavy
def test_a_collective_that_hangs_prints_stacks(tmp_path):
    """A process that answers all heartbeats, but that takes no further step."""
    asleep = (
        "import faulthandler, signal, time\n"
        "def sleep(*_):\n"
        "    faulthandler.cancel_dump_traceback_later()  # its own watchdog shall not tell\n"
        "    time.sleep(10**6)\n"
        "signal.signal(signal.SIGUSR1, sleep)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(asleep)
    run = tmp_path / "run"
    with (tmp_path / "said").open("w") as said:
        options = (*OPTIONS, steps(2000), "--config.mesh.patience=150")
        last = {"PYTHONPATH": f"{tmp_path}:{os.getcwd()}"}
        processes = start(run, 2, *options, said=said, last=last)
        wait_for_step(run, 5, processes[0])
        processes[1].send_signal(signal.SIGUSR1)
        try:
            code = processes[0].wait(300)
        finally:
            end(processes)
    assert code == 1
    told = (tmp_path / "said").read_text()
    assert "Timeout (0:02:30)!" in told and "training/run.py" in told


@pytest.mark.heavy
def test_a_damaged_checkpoint_of_two_processes(tmp_path):
    """Whoever notices puts it aside, and all end; the same command goes on from the one before."""
    run = tmp_path / "run"
    assert finish(start(run, 2, *OPTIONS, steps(9))) == [0, 0]
    saved = sorted((run / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    assert [path.name for path in saved] == ["6", "9"]
    for path in (saved[-1] / "state").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-50])
    with (tmp_path / "said").open("w") as said:
        codes = finish(start(run, 2, *OPTIONS, steps(12), said=said))
    assert all(code not in (0, 2) for code in codes)
    assert "step 9 is damaged" in (tmp_path / "said").read_text()
    assert not (run / "checkpoints" / "9").exists() and list((run / "damaged").iterdir())
    assert finish(start(run, 2, *OPTIONS, steps(12))) == [0, 0]
    assert list(losses(run)) == list(range(1, 13))


@pytest.mark.heavy
def test_sigterm_to_one_stops_all(tmp_path):
    run = tmp_path / "run"
    processes = start(run, 2, *OPTIONS, steps(2000), "--stopped_code=75")
    wait_for_step(run, 4, processes[0])
    processes[1].send_signal(signal.SIGTERM)
    assert finish(processes) == [75, 75]
    stopped = max(losses(run))
    assert (run / "checkpoints" / str(stopped)).is_dir()
    assert not (run / "weights").exists()


@pytest.mark.heavy
def test_a_mistake_in_one_ends_all(tmp_path):
    """One process can't read its data."""
    run = tmp_path / "run"
    together = [f"--coordinator=127.0.0.1:{port()}", "--processes=2"]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    processes = []
    with (tmp_path / "said").open("w") as said:
        for i, wrong in enumerate(([], ["--config.data.sources='/nowhere',"])):
            command = arguments(run, steps(2000), *together, f"--process={i}", *wrong)
            processes.append(subprocess.Popen(command, env=environment, stderr=said))
        try:
            assert processes[1].wait(120) == 2
            assert processes[0].wait(120)
        finally:
            end(processes)
    assert "/nowhere has no prepared clips" in (tmp_path / "said").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--coordinator=127.0.0.1:1"], "give --coordinator, --processes and --process together"),
        (["--coordinator=a:1", "--processes=2", "--process=2"], "--process is 2; expected less"),
    ],
)
def test_mistakes(tmp_path, options, message):
    found = subprocess.run(
        arguments(tmp_path / "run", *options), capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert message in found.stderr


def test_a_watchdog_that_is_not_fed_prints_stacks():
    script = (
        "import time; from emoji_jax.distributed import Watchdog\n"
        "dog = Watchdog(1); dog.feed(); time.sleep(0.6); dog.feed(); time.sleep(30)"
    )
    before = time.monotonic()
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.returncode == 1
    assert 'File "<string>", line 2' in found.stderr
    assert 1.5 < time.monotonic() - before < 20


def test_a_watchdog_of_no_seconds_sleeps():
    script = (
        "import time; from emoji_jax.distributed import Watchdog\n"
        "dog = Watchdog(0); dog.feed(); time.sleep(0.2); dog.stop(); print('done')"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout == "done\n"
