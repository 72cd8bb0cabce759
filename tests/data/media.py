"""Videos of a face, made from one photograph (NASA, public domain)."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emoji_jax.landmarks import Landmarks
from emoji_jax.video_writer import VideoWriter

_GOLDEN = Path(__file__).parent.parent / "golden" / "landmarks"


def photo() -> Image.Image:
    return Image.open(_GOLDEN / "astronaut.jpg")


def face() -> Landmarks:
    """Its landmarks, one frame."""
    with np.load(_GOLDEN / "astronaut.npz") as file:
        arrays = {k: file[f"tall_{k}"][None] for k in ("points", "vertices", "pose")}
        scores, size = file["tall_blendshapes"][None], tuple(map(int, file["tall_size"]))
    return Landmarks(**arrays, blendshapes=scores, size=size, times=np.zeros(1))


def moved(shift: tuple[float, float] = (0, 0), scale: float = 1.0) -> Landmarks:
    """The landmarks elsewhere in the picture, by parts of its sides."""
    one = face()
    points = (one.points * scale + np.array([*shift, 0])).astype(np.float32)
    return Landmarks(points, one.vertices, one.pose, one.blendshapes, one.size, one.times)


def portraits(count: int, *, start: int = 0, turn: float = 0.0) -> list[np.ndarray]:
    """Pictures [240 180 3] of a head that sways."""
    picture = photo().resize((180, 252), Image.Resampling.BICUBIC)
    frames = []
    for i in range(start, start + count):
        angle = turn + 4 * np.sin(i / 3)
        image = picture.rotate(angle, Image.Resampling.BICUBIC, translate=(i % 5, -(i % 3)))
        frames.append(np.asarray(image.crop((0, 6, 180, 246))))
    return frames


def save(path: Path, frames: list[np.ndarray], **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    with VideoWriter(path, (height, width), 25.0, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def need_model() -> None:
    """Skips a test where the landmark model can't be had."""
    from emoji_jax.assets import fetch
    from emoji_jax.errors import UserError

    try:
        fetch("face_landmarker.task")
    except UserError as error:
        pytest.skip(f"no landmark model: {error}")
