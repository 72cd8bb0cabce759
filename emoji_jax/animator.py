"""The API that every front end shares: a portrait and a motion in, frames out."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Int, UInt8

from emoji_jax import checkpoint, diffusion, sampling
from emoji_jax.driver import Motion, MotionConfig, Progress, check_motion, read
from emoji_jax.errors import UserError
from emoji_jax.images import clip_pixels, letterbox, read_image
from emoji_jax.landmarks import Detector, Landmarks, align, draw
from emoji_jax.models.attention import Implementation
from emoji_jax.models.emoji import EmojiConfig
from emoji_jax.models.layers import Compute
from emoji_jax.programs import Programs
from emoji_jax.sampling import SamplerConfig
from emoji_jax.video_writer import write_video

# The released pupils are squares of 6 pixels in pictures of 512.
_PUPIL = 3 / 512

Frame = UInt8[np.ndarray, "H W 3"]
Picture = str | Path | Frame


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Landmark pictures that are drawn when asked for, so that a long video takes no memory."""

    points: Float[np.ndarray, "F 478 2"]
    size: tuple[int, int]
    compat: Literal["release"] | None = None
    pupils: bool = True
    contour: bool = False

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, frames: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W 3"]:
        release = self.compat == "release"  # which has one size of pupils for all pictures
        radius = 3 if release else max(1, round(_PUPIL * self.size[0]))
        return draw(
            self.points[frames],
            self.size,
            contour=self.contour,
            pupils=self.pupils,
            pupil_radius=radius,
            compat=self.compat,
        )


@dataclasses.dataclass(frozen=True)
class Animation:
    """An animated portrait; iterating makes the frames, RGB, one by one.

    Attributes:
      reference: the portrait as the networks see it.
      pictures: the aligned landmarks of each frame.
      times: when each frame is shown, seconds.
      frame_rate: frames per second, on average.
      audio: a file with sound that belongs to it, or None.
      notes: what the user should know about portrait and driver.
    """

    reference: Frame
    pictures: Drawn
    times: Float[np.ndarray, " F"]
    frame_rate: Fraction
    audio: Path | None
    notes: tuple[str, ...]
    make: Callable[[], Iterator[Frame]] = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[Frame]:
        return self.make()

    def save(self, path: str | Path, *, grid: bool = False) -> None:
        """Makes the frames and writes them, with their times and sound; see `VideoWriter`."""
        frames = self.grid() if grid else iter(self)
        write_video(path, frames, self.frame_rate, self.audio, self.times)

    def grid(self) -> Iterator[Frame]:
        """Frames with portrait, landmarks and result side by side."""
        for i, frame in enumerate(self):
            yield np.concatenate([self.reference, self.pictures[np.array([i])][0], frame], 1)


class Animator:
    """Animates portraits with one checkpoint. Make it by `Animator.load`."""

    def __init__(self, programs: Programs):
        self.programs = programs
        self._detector: Detector | None = None

    @property
    def config(self) -> EmojiConfig:
        """Configuration of the checkpoint; its size is that of all frames made."""
        return self.programs.cfg

    @classmethod
    def load(
        cls,
        name_or_dir: str | Path = "tiny",
        *,
        size: tuple[int, int] | None = None,
        dtype: DTypeLike = "float32",
        attention: Implementation = "auto",
    ) -> "Animator":
        """Reads a checkpoint.

        Args:
          name_or_dir: name of a bundled checkpoint, or the folder of any.
          size: height and width of the frames to make; by default what the checkpoint is meant for.
          dtype: of activations, matrix products and parameters.
          attention: see `models.attention.attend`.

        Raises:
          UserError: no such checkpoint, or a size that it can't make.
        """
        directory = checkpoint.locate(name_or_dir)
        if attention == "cudnn" and (jax.default_backend() != "gpu" or dtype == "float32"):
            raise UserError(
                "attention cudnn needs an NVIDIA GPU, and bfloat16 or float16 for dtype"
            )
        compute = Compute(dtype=dtype, attention=attention)
        cfg, graph, parameters = checkpoint.load(directory, compute, dtype)
        if size:
            factor = cfg.vae.factor
            fits = [isinstance(s, int) and s >= factor and s % factor == 0 for s in size]
            if fits != [True, True]:
                raise UserError(f"size is {size}; expected height and width, multiples of {factor}")
            cfg = dataclasses.replace(cfg, size=tuple(size))
        return cls(Programs(cfg, graph, parameters))

    def __call__(
        self,
        portrait: Picture,
        motion: Motion,
        *,
        sampler: SamplerConfig = SamplerConfig(),
        moving: MotionConfig = MotionConfig(),
        seed: int = 0,
        progress: Progress = lambda what, done, total: None,
    ) -> Animation:
        """Reads portrait and motion; the frames are made when the result is iterated over.

        Args:
          portrait: a picture of a face, any size.
          motion: a video, an animated image, a folder of frames, a single picture (one pose), a
            template (`.npz`, `.npy`), or landmarks.
          sampler: how to sample.
          moving: how to transfer the motion.
          seed: same seed, same frames.
          progress: told what is going on ("detecting", "denoising", "decoding"), how many are done
            and of how many, None if unknown.

        Raises:
          UserError: unreadable input, no face in the portrait, or none for too long in the motion.
        """
        check(sampler)
        check_motion(moving)
        picture = portrait if isinstance(portrait, np.ndarray) else read_image(portrait)
        if not 0 <= seed < 2**32:
            raise UserError(f"the seed is {seed}; expected 0 to {2**32 - 1}")
        name = "the portrait" if isinstance(portrait, np.ndarray) else str(portrait)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise UserError(
                f"the portrait is {picture.dtype} {picture.shape}; expected uint8 H W 3"
            )
        reference = letterbox(picture, self.config.size)
        face, notes = self._find_face(reference, name)
        source = read(motion, moving, lambda: self.detector, progress)
        driver = source.landmarks[: moving.frames or None]
        if moving.neutral != "auto" and not 0 <= moving.neutral < len(driver):
            raise UserError(
                f"the neutral frame is {moving.neutral}; the driver has frames 0 to "
                f"{len(driver) - 1}"
            )
        if self.config.aligned:
            points = align(
                face,
                driver,
                compat=moving.compat,
                head_pose=moving.head_pose,
                neutral=moving.neutral,
            )
        else:  # the ablation: wherever the driver's face is in its own picture
            points = driver.points[..., :2] * self.config.size[::-1]
        times = driver.times
        if moving.compat == "release":
            points, times = points[1:], times[1:]
            if not len(points):
                raise UserError("the released code drops a driver's first frame: one is too few")
        pictures = Drawn(
            points, self.config.size, moving.compat, self.config.pupils, self.config.contour
        )

        def make() -> Iterator[Frame]:
            conditions = self.programs.encode(
                _to_unit(reference, moving.compat),
                clip_pixels(reference, self.config.clip.image_size),
            )
            release = moving.compat == "release"
            return sampling.animate(
                self.programs,
                conditions,
                pictures,
                sampler,
                seed=seed,
                windows=sampling.released_windows if release else None,
                rounding="down" if release else "nearest",
                progress=progress,
            )

        notes = (*notes, *source.notes)
        return Animation(reference, pictures, times, source.frame_rate, source.audio, notes, make)

    def _find_face(self, picture: Frame, name: str) -> tuple[Landmarks, list[str]]:
        faces = self.detector.detect_all(picture)
        if not faces:
            raise UserError(
                f"no face was found in {name}; expected a portrait that shows eyes, nose and mouth"
            )
        several = [f"{name} shows {len(faces)} faces; the largest is animated"]
        return faces[0], several if len(faces) > 1 else []

    @property
    def detector(self) -> Detector:
        """Finds faces; loaded when first needed."""
        if self._detector is None:
            self._detector = Detector()
        return self._detector


def check(sampler: SamplerConfig) -> None:
    """Raises a UserError for settings that can't work."""
    if sampler.name and sampler.name not in diffusion.SAMPLERS:
        known = ", ".join(diffusion.SAMPLERS)
        raise UserError(f"sampler.name is {sampler.name!r}; expected one of {known}")
    if not 0 <= sampler.steps <= diffusion.TRAIN_STEPS:
        raise UserError(
            f"sampler.steps is {sampler.steps}; expected 1 to {diffusion.TRAIN_STEPS}, or 0"
        )
    if not 0 <= sampler.frames <= 32:
        raise UserError(f"sampler.frames is {sampler.frames}; expected 1 to 32, or 0")
    if sampler.guidance_scale is not None and not math.isfinite(sampler.guidance_scale):
        raise UserError(f"sampler.guidance_scale is {sampler.guidance_scale}; expected a number")
    if sampler.overlap < 0 or sampler.decode_batch < 1:
        raise UserError("sampler.overlap must be 0 or more, sampler.decode_batch 1 or more")


def _to_unit(picture: Frame, compat: Literal["release"] | None) -> Float[np.ndarray, "H W 3"]:
    """A picture in [-1, 1]."""
    levels = picture.astype(np.float32)
    if compat == "release":
        # Its way from bytes to floats and back loses one level of the darker ones.
        levels = np.where((levels >= 1) & (levels <= 63), levels - 1, levels)
    return levels / np.float32(127.5) - 1
