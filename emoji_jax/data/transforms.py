"""From a clip to one training example: which frames, which part of them, what is drawn."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from emoji_jax.data.encoded import EncodedClip
from emoji_jax.images import Picture, clip_pixels
from emoji_jax.landmarks import PUPIL_RADIUS, draw, expression_mask, face_mask, warp

# Left, top and side of a part of a picture, as fractions of its side.
_WHOLE = (0.0, 0.0, 1.0)


@runtime_checkable
class Footage(Protocol):
    """A clip whose pictures are read or rendered one by one, when asked for."""

    def __len__(self) -> int: ...

    def points(self, frames: Int[np.ndarray, " N"]) -> Float[np.ndarray, "N 478 3"]:
        """Landmarks of some frames, in parts of the picture's sides."""
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
      antialiased: draws soft edges.
      warped: puts the reference, moved with its landmarks, beside the drawn ones.
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
    antialiased: bool = False
    warped: bool = False


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


def _colours(rng: np.random.Generator, amount: float) -> tuple[float, ...]:
    """A change of brightness, contrast and saturation, as rows of a matrix and offsets."""
    brightness, contrast, saturation = 1 + rng.uniform(-amount, amount, 3)
    grey = np.array([0.299, 0.587, 0.114])
    matrix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * grey)
    return tuple(np.column_stack([matrix, np.full(3, 128 * (1 - contrast))]).ravel().tolist())


def cut(
    picture: Picture,
    size: int,
    window: tuple[float, float, float] = _WHOLE,
    colours: tuple[float, ...] | None = None,
) -> UInt8[np.ndarray, "S S 3"]:
    """A part of a picture, resized.

    Args:
      picture: RGB.
      size: S, pixels.
      window: left, top and side of the part, as fractions of the picture's sides.
      colours: matrix and offsets by which its colours are changed, row by row.
    """
    left, top, side = window
    height, width = picture.shape[:2]
    box = (left * width, top * height, (left + side) * width, (top + side) * height)
    image = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(image.convert("RGB", colours) if colours else image)


def example(
    footage: Footage | EncodedClip, rng: np.random.Generator, cfg: ExampleConfig
) -> Mapping[str, np.ndarray]:
    """One training example; one augmentation for all that is in it, none if it was encoded before.

    Returns:
      What `pipeline` lists, without the batch axis and without `clip`.

    Raises:
      ValueError: an encoded clip is of pictures of another size, or has to be warped, which takes
        pictures.
    """
    reference, frames = choose_frames(rng, len(footage), cfg.frames, cfg.max_stride)
    if isinstance(footage, EncodedClip):
        window, seen = _WHOLE, _encoded(footage, frames, reference, cfg)
    else:
        window = _window(rng, cfg.zoom)
        seen = _pictures(footage, frames, reference, window, rng, cfg)
    points = footage.points(np.append(frames, reference))[..., :2].astype(np.float64)
    left, top, side = window
    *points, own = (points - [left, top]) / side * cfg.size
    drawn = _drawn(np.stack(points), cfg)
    if cfg.warped:
        if "reference" not in seen:
            raise ValueError("an encoded clip has no picture to warp")
        moved = warp(seen["reference"], own, np.stack(points))
        drawn["landmarks"] = np.concatenate([drawn["landmarks"], moved], -1)
    return {**seen, **drawn}


def _pictures(
    footage: Footage,
    frames: Int[np.ndarray, " F"],
    reference: int,
    window: tuple[float, float, float],
    rng: np.random.Generator,
    cfg: ExampleConfig,
) -> dict[str, np.ndarray]:
    colours = _colours(rng, cfg.colour) if cfg.colour else None
    pictures = footage.pictures(np.append(frames, reference))
    pictures = np.stack([cut(picture, cfg.size, window, colours) for picture in pictures])
    found = {"frames": pictures[:-1], "reference": pictures[-1]}
    if cfg.clip_size:
        found["clip_pixels"] = clip_pixels(pictures[-1], cfg.clip_size)
    return found


def _encoded(
    footage: EncodedClip, frames: Int[np.ndarray, " F"], reference: int, cfg: ExampleConfig
) -> dict[str, np.ndarray]:
    reference = footage.reference(reference)
    latents = footage.latents(np.append(frames, reference))
    if latents.shape[1] * cfg.factor != cfg.size:
        raise ValueError(
            f"clips of {latents.shape[1]} latents a side are not of pictures of {cfg.size} pixels"
        )
    return {
        "latents": latents[:-1],
        "reference_latents": latents[-1],
        "clip_tokens": footage.clip_tokens(reference),
    }


def _drawn(points: Float[np.ndarray, "F 478 2"], cfg: ExampleConfig) -> dict[str, np.ndarray]:
    """Landmark pictures, and the masks of the facial fine-grained loss (paper, 3.2)."""
    square, radius = (cfg.size, cfg.size), max(1, round(cfg.mask_radius * cfg.size))
    return {
        "landmarks": draw(
            points,
            square,
            contour=cfg.contour,
            pupils=cfg.pupils,
            pupil_radius=PUPIL_RADIUS * cfg.size,
            antialiased=cfg.antialiased,
        ),
        "expression_mask": expression_mask(points, square, radius, cfg.factor)[..., None],
        "face_mask": face_mask(points, square, cfg.factor)[..., None],
    }
