"""The API that every front end shares: a portrait and a motion in, frames out."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Int, UInt8

from emoji_jax import checkpoint, diffusion, sampling
from emoji_jax.errors import UserError
from emoji_jax.images import letterbox, read_image
from emoji_jax.landmarks import Detector, Landmarks, align, draw
from emoji_jax.models.attention import Implementation
from emoji_jax.models.emoji import EmojiConfig
from emoji_jax.models.layers import Compute
from emoji_jax.programs import Programs
from emoji_jax.sampling import SamplerConfig
from emoji_jax.video import Video, open_video

_BUNDLED = Path(__file__).parent / "weights"
# The released pupils are squares of 6 pixels in pictures of 512.
_PUPIL = 3 / 512

Frame = UInt8[np.ndarray, "H W 3"]
Picture = str | Path | Frame
Motion = str | Path | Landmarks
Progress = Callable[[str, int, int | None], None]


@dataclasses.dataclass(frozen=True)
class MotionConfig:
    """How a driver's motion is read and put on the portrait.

    Attributes:
      compat: "release" repeats the released code: its alignment and drawing, its first frame
        dropped, its windows and its rounding.
      head_pose: see `landmarks.align`.
      neutral: see `landmarks.align`.
      max_gap: frames in a row that may be without a face.
      frame_rate: frames per second of drivers that do not say.
      frames: of the driver, from its start; None for all.
    """

    compat: Literal["release"] | None = None
    head_pose: Literal["relative", "absolute"] = "relative"
    neutral: Literal["auto"] | int = "auto"
    max_gap: int = 15
    frame_rate: float = 30.0
    frames: int | None = None


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Landmark pictures that are drawn when asked for, so that a long video takes no memory."""

    points: Float[np.ndarray, "F 478 2"]
    size: tuple[int, int]
    compat: Literal["release"] | None = None

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, frames: Int[np.ndarray, " N"]) -> UInt8[np.ndarray, "N H W 3"]:
        radius = max(1, round(_PUPIL * self.size[0]))
        return draw(self.points[frames], self.size, pupil_radius=radius, compat=self.compat)


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
        directory = Path(name_or_dir)
        if not directory.exists() and (_BUNDLED / directory).is_dir():
            directory = _BUNDLED / directory
        if not directory.exists():
            raise UserError(
                f"there is no checkpoint {name_or_dir}: none of that name is bundled, and it is no "
                "folder; give --checkpoint a folder that `python -m emoji_jax.convert` wrote"
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
        name = "the portrait" if isinstance(portrait, np.ndarray) else str(portrait)
        reference = letterbox(picture, self.config.size)
        face, notes = self._find_face(reference, name)
        driver, frame_rate, audio, told = self._read_motion(motion, moving, progress)
        if moving.frames:
            driver = driver[: moving.frames]
        if moving.neutral != "auto" and not 0 <= moving.neutral < len(driver):
            raise UserError(
                f"the neutral frame is {moving.neutral}; the driver has frames 0 to "
                f"{len(driver) - 1}"
            )
        points = align(
            face,
            driver,
            compat=moving.compat,
            head_pose=moving.head_pose,
            neutral=moving.neutral,
        )
        times = driver.times
        if moving.compat == "release":
            points, times = points[1:], times[1:]
            if not len(points):
                raise UserError("the released code drops a driver's first frame: one is too few")
        pictures = Drawn(points, self.config.size, moving.compat)

        def make() -> Iterator[Frame]:
            conditions = self.programs.encode(
                _to_unit(reference, moving.compat), clip_pixels(reference, self.config)
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

        return Animation(reference, pictures, times, frame_rate, audio, (*notes, *told), make)

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

    def _read_motion(
        self, motion: Motion, moving: MotionConfig, progress: Progress
    ) -> tuple[Landmarks, Fraction, Path | None, list[str]]:
        """Landmarks, frame rate, file with sound, and what to tell the user."""
        if isinstance(motion, str | Path) and Path(motion).suffix in (".npz", ".npy"):
            motion = Landmarks.load(motion, fps=moving.frame_rate)
        if isinstance(motion, Landmarks):
            return motion, _average_rate(motion.times, moving.frame_rate), None, []
        video = open_video(motion, frames=moving.frames, frame_rate=moving.frame_rate)
        driver, filled = self._detect(video, moving.max_gap, progress)
        notes = []
        if len(filled):
            notes.append(
                f"{motion}: no face in {len(filled)} of {len(driver)} frames, filled in from their "
                f"neighbours ({_ranges(filled)})"
            )
        return driver, video.frame_rate, video.audio, notes

    def _detect(
        self, video: Video, max_gap: int, progress: Progress
    ) -> tuple[Landmarks, Int[np.ndarray, " N"]]:
        return self.detector.detect_video(
            video,
            max_gap=max_gap,
            progress=lambda done: progress("detecting", done, video.length),
        )


def check(sampler: SamplerConfig) -> None:
    """Raises a UserError for settings that can't work."""
    if sampler.name not in diffusion.SAMPLERS:
        known = ", ".join(diffusion.SAMPLERS)
        raise UserError(f"sampler.name is {sampler.name!r}; expected one of {known}")
    if not 1 <= sampler.steps <= diffusion.TRAIN_STEPS:
        raise UserError(f"sampler.steps is {sampler.steps}; expected 1 to {diffusion.TRAIN_STEPS}")
    if not 0 <= sampler.frames <= 32:
        raise UserError(f"sampler.frames is {sampler.frames}; expected 1 to 32, or 0")
    if not math.isfinite(sampler.guidance_scale):
        raise UserError(f"sampler.guidance_scale is {sampler.guidance_scale}; expected a number")
    if sampler.overlap < 0 or sampler.decode_batch < 1:
        raise UserError("sampler.overlap must be 0 or more, sampler.decode_batch 1 or more")


def check_motion(moving: MotionConfig) -> None:
    """Raises a UserError for settings that can't work."""
    if moving.max_gap < 0:
        raise UserError(f"motion.max_gap is {moving.max_gap}; expected 0 or more")
    if not 0 < moving.frame_rate <= 1000:
        raise UserError(f"motion.frame_rate is {moving.frame_rate}; expected more than 0, to 1000")
    if moving.frames is not None and moving.frames < 0:
        raise UserError(f"motion.frames is {moving.frames}; expected 1 or more, or 0 for all")


def clip_pixels(picture: Frame, cfg: EmojiConfig) -> Float[np.ndarray, "P P 3"]:
    """A picture as CLIP's vision tower wants it: resized, cropped to a square, normalised."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    side = cfg.clip.image_size
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    pixels = processor(images=picture, return_tensors="np")["pixel_values"][0]
    return np.ascontiguousarray(pixels.transpose(1, 2, 0), np.float32)


def _to_unit(picture: Frame, compat: Literal["release"] | None) -> Float[np.ndarray, "H W 3"]:
    """A picture in [-1, 1]."""
    levels = picture.astype(np.float32)
    if compat == "release":
        # Its way from bytes to floats and back loses one level of the darker ones.
        levels = np.where((levels >= 1) & (levels <= 63), levels - 1, levels)
    return levels / np.float32(127.5) - 1


def _average_rate(times: np.ndarray, otherwise: float) -> Fraction:
    seconds = times[-1] - times[0]
    rate = (len(times) - 1) / seconds if seconds > 0 else otherwise
    return Fraction(rate).limit_denominator(1001)


def _ranges(numbers: np.ndarray) -> str:
    """`3-5, 9` of 3 4 5 9."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs)
