"""From a clip to one training example: which frames, which part of them, what is drawn."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from emoji_jax.images import Picture, clip_pixels
from emoji_jax.landmarks import Landmarks, downsample, draw, expression_mask, face_mask


@runtime_checkable
class Footage(Protocol):
    """A clip whose pictures are read or rendered one by one, when asked for."""

    @property
    def landmarks(self) -> Landmarks:
        """Of every frame."""
        ...

    def pictures(self, frames: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W 3"]:
        """The pictures of some frames."""
        ...


@dataclasses.dataclass(frozen=True)
class ExampleConfig:
    """What a training example is made of.

    Attributes:
      frames: F; 1 for stage 1.
      size: side of the square pictures, pixels.
      factor: picture size over latent size, for the masks.
      clip_size: side of the reference as CLIP's vision tower wants it, pixels; 0 leaves it out.
      max_stride: the frames of an example lie up to so many apart, as long as the clip lasts.
      zoom: the least part of the picture's side that is kept; 1 keeps all.
      colour: largest change of brightness, contrast and saturation, as a fraction.
      mask_radius: of the expression mask's discs, as a fraction of the side (the paper gives none).
      pupils: draws the pupils (paper, table 2: without them).
      contour: draws the face's contour (paper, table 2: with it).
    """

    frames: int = 1
    size: int = 512
    factor: int = 8
    clip_size: int = 224
    max_stride: int = 1
    zoom: float = 0.85
    colour: float = 0.1
    mask_radius: float = 0.02
    pupils: bool = True
    contour: bool = False


def choose_frames(
    rng: np.random.Generator, length: int, frames: int, max_stride: int
) -> tuple[int, Int[np.ndarray, " F"]]:
    """The reference, anywhere in the clip, and F frames at equal distances.

    A clip that is too short is played forth and back.
    """
    stride = int(rng.integers(1, max_stride + 1))
    stride = max(1, min(stride, (length - 1) // max(frames - 1, 1)))
    last = (frames - 1) * stride
    start = int(rng.integers(0, max(length - last, 1)))
    indices = start + stride * np.arange(frames)
    if length == 1:
        return 0, np.zeros(frames, np.int64)
    there_and_back = indices % (2 * (length - 1))
    indices = np.minimum(there_and_back, 2 * (length - 1) - there_and_back)
    return int(rng.integers(length)), indices


def _window(rng: np.random.Generator, zoom: float) -> tuple[float, float, float]:
    """Left, top and side of the part that is kept, as fractions of the picture's side."""
    side = float(rng.uniform(zoom, 1))
    left, top = rng.uniform(0, 1 - side, 2)
    return float(left), float(top), side


def _recolour(
    rng: np.random.Generator, pictures: UInt8[np.ndarray, "N H W 3"], amount: float
) -> UInt8[np.ndarray, "N H W 3"]:
    brightness, contrast, saturation = 1 + rng.uniform(-amount, amount, 3)
    x = pictures.astype(np.float32) * np.float32(brightness)
    x = (x - 128) * np.float32(contrast) + 128
    grey = x @ np.array([0.299, 0.587, 0.114], np.float32)
    x = grey[..., None] + (x - grey[..., None]) * np.float32(saturation)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _cut(
    picture: Picture, window: tuple[float, float, float], size: int
) -> UInt8[np.ndarray, "S S 3"]:
    left, top, side = window
    height, width = picture.shape[:2]
    box = (left * width, top * height, (left + side) * width, (top + side) * height)
    resized = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized)


def example(
    footage: Footage, rng: np.random.Generator, cfg: ExampleConfig
) -> Mapping[str, np.ndarray]:
    """One training example; one augmentation for all that is in it.

    Returns:
      What `pipeline` lists, without the batch axis and without `clip`.
    """
    landmarks = footage.landmarks
    reference, targets = choose_frames(rng, len(landmarks), cfg.frames, cfg.max_stride)
    window = _window(rng, cfg.zoom)
    pictures = footage.pictures(np.append(targets, reference))
    pictures = np.stack([_cut(picture, window, cfg.size) for picture in pictures])
    if cfg.colour:
        pictures = _recolour(rng, pictures, cfg.colour)
    points = _points(landmarks, targets, window, cfg.size)
    square, radius = (cfg.size, cfg.size), max(1, round(cfg.mask_radius * cfg.size))
    drawn = draw(
        points,
        square,
        contour=cfg.contour,
        pupils=cfg.pupils,
        pupil_radius=max(1, round(3 / 512 * cfg.size)),
    )
    expression = np.stack([expression_mask(p, square, radius) for p in points])
    face = np.stack([face_mask(p, square) for p in points])
    seen = {"clip_pixels": clip_pixels(pictures[-1], cfg.clip_size)} if cfg.clip_size else {}
    return {
        "frames": pictures[:-1],
        "reference": pictures[-1],
        **seen,
        "landmarks": drawn,
        "expression_mask": downsample(expression, cfg.factor)[..., None],
        "face_mask": downsample(face, cfg.factor)[..., None],
    }


def _points(
    landmarks: Landmarks,
    frames: Int[np.ndarray, " F"],
    window: tuple[float, float, float],
    size: int,
) -> Float[np.ndarray, "F 478 2"]:
    """Landmarks in the pixels of the cut."""
    left, top, side = window
    points = landmarks.points[frames, :, :2].astype(np.float64)
    return (points - [left, top]) / side * size
