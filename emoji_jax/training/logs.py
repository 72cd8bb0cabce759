"""What a run tells: metrics.jsonl, TensorBoard events, pictures."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from emoji_jax import files

# Dense bf16 (fp32 accumulation) operations per second, from the makers' data sheets.
_PEAK = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
}


def peak_flops(device: Any) -> float | None:
    """Operations per second that the device's maker promises, or None if not known here."""
    # The longest name first: "TPU v5 lite" is not a "TPU v5".
    names = sorted((n for n in _PEAK if device.device_kind.startswith(n)), key=len)
    return _PEAK[names[-1]] if names else None


class Log:
    """Writes a run's files; in all processes but the first it does nothing.

    Lines of steps that a resumed run is going to do again are removed.

    Args:
      workdir: of the run.
      step: of the checkpoint that is gone on from.
    """

    def __init__(self, workdir: Path, step: int):
        self._file: IO[str] | None = None
        self._workdir = workdir
        if jax.process_index():
            return
        from tensorboardX import SummaryWriter

        path = workdir / "metrics.jsonl"
        _cut(path, step)
        self._file = path.open("a")
        self._events = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Adds a line."""
        if self._file is None:
            return
        line = {"step": step, **{name: _rounded(value) for name, value in metrics.items()}}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in line.items():
            if name != "step":
                self._events.add_scalar(name, value, step)

    def picture(self, step: int, name: str, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """Writes `samples/NAME_STEP.png`, whole or not at all."""
        if self._file is None:
            return
        path = self._workdir / "samples" / f"{name}_{step:07}.png"
        path.parent.mkdir(exist_ok=True)
        with files.whole(path) as file:
            Image.fromarray(picture).save(file, "PNG")
        self._events.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Finishes the files."""
        if self._file is not None:
            self._file.close()
            self._events.close()


def _rounded(value: Any) -> float:
    return float(f"{float(value):.7g}")


def _cut(path: Path, step: int) -> None:
    """Keeps the whole lines of steps up to `step`."""
    if not path.is_file():
        return
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n")]
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    with files.whole(path) as file:
        file.write_text("".join(kept))


class Profile:
    """Writes what some steps spend their time with, for TensorBoard or Perfetto.

    Args:
      folder: to write to.
      steps: how many, after the first three, which compile; 0: none.
    """

    def __init__(self, folder: Path, steps: int):
        self._folder, self._steps, self._done, self._open = folder, steps, -3, False

    def step(self, before: jax.Array) -> None:
        """A step begins, once what was before it is done."""
        if self._steps and self._done in (0, self._steps):
            jax.block_until_ready(before)
            if self._open:
                self.close()
            else:
                jax.profiler.start_trace(str(self._folder))
                self._open = True
        self._done += 1

    def close(self) -> None:
        """Ends it, if it is being written."""
        if self._open:
            jax.profiler.stop_trace()
            self._open = False


class Speed:
    """Steps per second and arithmetic between two lines of the log.

    Args:
      flops: arithmetic of a step, all devices together.
    """

    def __init__(self, flops: float):
        self._flops, self._peak = flops, peak_flops(jax.devices()[0])
        self._since: tuple[int, float] | None = None

    def skip(self, step: int) -> None:
        """Begins to measure anew: time after this step went into something else."""
        self._since = (step, time.monotonic())

    def __call__(self, step: int) -> dict[str, float]:
        """The measures up to this step; nothing the first time, which has compilation in it."""
        now = time.monotonic()
        since, self._since = self._since, (step, now)
        if since is None or step == since[0]:
            return {}
        rate = (step - since[0]) / (now - since[1])
        told = {"steps_per_s": rate, "flops_per_s": rate * self._flops}
        if self._peak:
            told["share_of_peak"] = rate * self._flops / (self._peak * jax.device_count())
        return told
