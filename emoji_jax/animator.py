"""The API that every front end shares: a portrait and a motion in, frames out."""

import dataclasses
from collections.abc import Iterable, Iterator
from numbers import Integral
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike
from jaxtyping import Float, Int
from PIL import Image

from emoji_jax import checkpoint, compiled
from emoji_jax.animation import Actor, Animation, Recipe, batches, denoised
from emoji_jax.arguments import Portrait, all_motions, check_kinds, read_portrait, several, what
from emoji_jax.drawn import Drawn
from emoji_jax.driver import Driver, Motion, MotionConfig, Progress, check_motion, read
from emoji_jax.errors import UserError
from emoji_jax.framing import FramingConfig, View, around, whole
from emoji_jax.images import Picture
from emoji_jax.landmarks import Alignment, Detector, Landmarks, timing
from emoji_jax.landmarks.detect import choose
from emoji_jax.models.attention import Implementation
from emoji_jax.models.attention import check as check_attention
from emoji_jax.models.emoji import EmojiConfig
from emoji_jax.models.layers import Compute
from emoji_jax.programs import Programs
from emoji_jax.sampling import SamplerConfig, check
from emoji_jax.sampling.work import identity


class Animator:
    """Animates portraits with one checkpoint. Make it by `Animator.load`.

    >>> from emoji_jax import Animator, MotionConfig, SamplerConfig
    >>> animator = Animator.load("tiny")
    >>> animation = animator("portrait.png", "expression:wink", moving=MotionConfig(frames=4))

    Frames are made when they are asked for, RGB of 8 bits, or written with their times and sound:

    >>> [frame.shape for frame in animation]
    [(256, 256, 3), (256, 256, 3), (256, 256, 3), (256, 256, 3)]
    >>> animation.save("wink.mp4")

    Pictures and motions may be arrays: a portrait of 8-bit RGB, landmarks of a driver that is read
    once for many portraits.

    >>> from emoji_jax import read_image
    >>> again = animator(read_image("portrait.png"), animation.motion)
    >>> len(again)
    4

    Many portraits, two of them at a time in the same batches:

    >>> two = SamplerConfig(batch=2)
    >>> pictures = ["portrait.png", read_image("portrait.png")[:, ::-1]]
    >>> for number, one in enumerate(animator.batch(pictures, animation.motion, sampler=two)):
    ...     one.save(f"{number}.mp4")
    """

    def __init__(self, programs: Programs, checkpoint: str = ""):
        self.programs, self.checkpoint = programs, checkpoint
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
        check_attention(attention, dtype)
        compiled.remember()
        compute = Compute(dtype=dtype, attention=attention)
        cfg, graph, parameters = checkpoint.load(directory, compute, dtype)
        if size is not None:
            factor = cfg.vae.factor
            sides = size if isinstance(size, tuple | list) else ()
            fits = [isinstance(s, Integral) and s >= factor and s % factor == 0 for s in sides]
            if fits != [True, True]:
                raise UserError(f"size is {size}; expected height and width, multiples of {factor}")
            cfg = dataclasses.replace(cfg, size=(int(size[0]), int(size[1])))
        return cls(
            Programs(cfg, graph, parameters, all_devices()),
            f"{_contents(directory)} {dtype} {attention}",
        )

    def __call__(
        self,
        portrait: Portrait,
        motion: Motion | Iterable[Motion],
        *,
        sampler: SamplerConfig = SamplerConfig(),
        moving: MotionConfig = MotionConfig(),
        framing: FramingConfig = FramingConfig(),
        ref_landmarks: Landmarks | None = None,
        seed: int = 0,
        progress: Progress = lambda what, done, total: None,
    ) -> Animation:
        """Reads portrait and motion; the frames are made when the result is iterated over.

        Args:
          portrait: a picture of a face, any size: a file, uint8 [H, W, 3], or Pillow's.
          motion: a video, an animated image, a folder of frames, a single picture (one pose), a
            template (`.npz`, `.npy`), `expression:NAME`, a video's frames (uint8 [F, H, W, 3],
            `moving.frame_rate` a second), landmarks, or what `driver.read` made.
            Of several, each moves another face, from the left; the first says when frames are
            shown, and has the sound.
          sampler: how to sample.
          moving: how to transfer the motion.
          framing: which face, and what is around it.
          ref_landmarks: the portrait's face, one frame, where the landmarker finds none.
          seed: same seed, same frames.
          progress: told what is going on ("detecting", "denoising", "decoding"), how many are done
            and of how many, None if unknown. What it raises ends the work.

        Raises:
          UserError: unreadable input, no face in the portrait, or none for too long in the motion.
        """
        check_kinds(sampler, moving, framing, ref_landmarks, seed)
        check(sampler, self.config)
        check_motion(moving)
        if not 0 <= seed < 2**32:
            raise UserError(f"the seed is {seed}; expected 0 to {2**32 - 1}")
        picture, name = read_portrait(portrait)
        if moving.compat:  # which sees all of the picture, and nothing but its own frames
            framing = dataclasses.replace(framing, mode="letterbox", paste=False)
        motions = all_motions(motion)
        seen, notes = self._see(picture, name, framing, ref_landmarks)
        if len(motions) not in (1, len(seen)):
            raise UserError(
                f"there are {len(motions)} motions for {len(seen)} "
                f"face{'s' * (len(seen) != 1)}; expected one for all, or one for each, with "
                "framing.face=all"
            )
        drivers = [read(one, moving, lambda: self.detector, progress) for one in motions]
        first, *others = drivers
        # The first says when: the others go by its clock.
        drivers = [first, *(_in_time(other, first.landmarks.times) for other in others)]
        if len(drivers) == 1:
            drivers *= len(seen)
        recipe = Recipe(self.programs, sampler, seed, moving.compat == "release", progress)
        actors = [
            self._actor(view.cut(picture), view, face, driver, moving, recipe)
            for (view, face), driver in zip(seen, drivers, strict=True)
        ]
        notes += [note for driver in dict.fromkeys(drivers) for note in driver.notes]
        return Animation(
            picture,
            tuple(actors),
            framing.seam if framing.paste else None,
            first.landmarks,
            first.landmarks.times[actors[0].pictures.first :],
            first.frame_rate,
            first.audio,
            tuple(notes),
        )

    def batch(
        self,
        portraits: Iterable[Portrait],
        motions: Motion | Iterable[Motion],
        *,
        sampler: SamplerConfig = SamplerConfig(),
        moving: MotionConfig = MotionConfig(),
        framing: FramingConfig = FramingConfig(),
        seed: int = 0,
        progress: Progress = lambda what, done, total: None,
    ) -> Iterator[Animation]:
        """Animates many portraits, in order; the latents of what it yields are made.

        Neighbours whose motions have as many frames are made together, `sampler.batch` of them, by
        default as many as there are devices. Files of which some may be bad are rather a job for
        `python -m emoji_jax.batch`.

        Args:
          portraits: pictures of faces.
          motions: one for all, which is read once, or one for each.
          sampler: how to sample.
          moving: how to transfer the motions.
          framing: which face, and what is around it.
          seed: of each; same seed, same frames.
          progress: as in a call.

        Raises:
          UserError: at once, if the motion that is for all can't be read or there are as many
            motions neither as one nor as portraits; as in a call, when that portrait's turn has
            come, after all those before it.
        """
        if isinstance(portraits, str | Path | Image.Image) or (
            isinstance(portraits, np.ndarray) and portraits.ndim != 4
        ):
            raise UserError("portraits is a single picture; expected a list of them")
        check_kinds(sampler, moving, framing, None, seed)
        if not isinstance(portraits, Iterable):
            raise UserError(f"portraits is {what(portraits)}; expected a list of pictures")
        portraits = list(portraits)
        each = all_motions(motions)
        if not several(motions):
            check_motion(moving)
            each = [read(each[0], moving, lambda: self.detector, progress)] * len(portraits)
        if len(each) != len(portraits):
            raise UserError(
                f"the motions are {len(each)}, the portraits {len(portraits)}; expected one motion "
                "for all, or a list with one for each"
            )
        how = {"sampler": sampler, "moving": moving, "framing": framing}
        pairs = zip(portraits, each, strict=True)
        prepared = (self(*pair, **how, seed=seed, progress=progress) for pair in pairs)
        groups = batches(prepared, lambda one: one)
        return (made for together in groups for made in denoised(together))

    def _see(
        self, picture: Picture, name: str, framing: FramingConfig, given: Landmarks | None
    ) -> tuple[list[tuple[View, Landmarks]], list[str]]:
        """The views of the faces to animate, with their landmarks there, and remarks."""
        size = self.config.size
        view = whole(picture.shape[:2], size)
        if given is not None:
            faces = [given]
        elif framing.mode == "letterbox":
            faces = self.detector.detect_all(view.cut(picture))
        else:
            faces = self.detector.detect_all(picture)
        if not faces:
            raise UserError(
                f"no face was found in {name}; expected a portrait that shows eyes, nose and "
                "mouth, or landmarks set by hand (ref_landmarks)"
            )
        centres = np.stack([face.pixels[0].mean(0) for face in faces])
        notes = []
        if framing.face == "all":
            chosen = np.argsort(centres[:, 0], kind="stable").tolist()
        else:
            chosen = [choose(centres, framing.face, "framing.face", name)]
            if len(faces) > 1:
                which = {"largest": "the largest", "leftmost": "the leftmost"}
                told = which.get(str(framing.face), f"number {framing.face} from the left")
                notes.append(f"{name} shows {len(faces)} faces; {told} is animated")
        if framing.mode == "letterbox":
            mapped = view.landmarks if given is not None else lambda face: face
            return [(view, mapped(faces[i])) for i in chosen], notes
        views = [around(faces[i], size, framing) for i in chosen]
        notes += [
            f"{name}: a face is small, {view.extent[0]} pixels with its surroundings, and is "
            f"enlarged to {size[0]}"
            for view in views
            if view.extent[0] < size[0] / 2
        ]
        return [(v, v.landmarks(faces[i])) for v, i in zip(views, chosen, strict=True)], notes

    def _actor(
        self,
        reference: Picture,
        view: View,
        face: Landmarks,
        driver: Driver,
        moving: MotionConfig,
        recipe: Recipe,
    ) -> Actor:
        cfg = self.config
        if recipe.release and len(driver.landmarks) == 1:
            raise UserError("the released code drops a driver's first frame: one is too few")
        if cfg.aligned:
            points = Alignment(
                face,
                driver.landmarks,
                compat=moving.compat,
                head_pose="absolute" if driver.absolute else "relative",
                neutral=driver.neutral,
                controls=moving.strengths,
            )
        else:  # the ablation: wherever the driver's face is in its own picture
            points = _Unaligned(driver.landmarks, cfg.size)
        pictures = Drawn.to_fit(cfg, points, (reference, face.pixels[0]), moving.compat)
        landmarks = (driver.landmarks, driver.neutral, face)
        # What has a say in latents: those that are made may be decoded otherwise.
        sampled = dataclasses.replace(recipe.sampler, batch=0, decode_batch=4, keep=None)
        arrays = [a for one in landmarks for a in (one.points, one.vertices, one.pose)]
        decides = identity(self.checkpoint, cfg, (sampled, moving, recipe.seed), reference, *arrays)
        return Actor(view, reference, pictures, recipe, decides)

    @property
    def detector(self) -> Detector:
        """Finds faces; loaded when first needed."""
        if self._detector is None:
            self._detector = Detector()
        return self._detector


def all_devices() -> Mesh:
    """This process's devices, in a row."""
    # Auto: models don't speak of shardings.
    return jax.make_mesh(
        (jax.local_device_count(),),
        ("data",),
        axis_types=(jax.sharding.AxisType.Auto,),
        devices=jax.local_devices(),
    )


def _contents(directory: Path) -> str:
    """What a checkpoint's folder looks like from outside: another one is hardly alike."""
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    looks = [(str(file.relative_to(directory)), file.stat()) for file in files]
    return identity(*((name, stat.st_size, stat.st_mtime_ns) for name, stat in looks))


@dataclasses.dataclass(frozen=True)
class _Unaligned:
    """A driver's landmarks in pixels of another picture."""

    landmarks: Landmarks
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.landmarks)

    def __getitem__(self, frames: Int[np.ndarray, " N"]) -> Float[np.ndarray, "N 478 2"]:
        return self.landmarks.points[frames, :, :2].astype(np.float64) * self.size[::-1]


def _in_time(driver: Driver, times: Float[np.ndarray, " F"]) -> Driver:
    """A driver by another one's clock; both begin together."""
    own = driver.landmarks
    moved = timing.resample(own, own.times[0] + times - times[0])
    return dataclasses.replace(driver, landmarks=moved)
