"""Animates a portrait with the motion of a video.

python -m emoji_jax.sample --ref portrait.png --driving motion.mp4 --out out.mp4

Without flags, an emoji that comes with the package laughs.
"""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from tqdm import tqdm

from emoji_jax import by_hand, command, compiled
from emoji_jax import config as config_file
from emoji_jax.data.synthetic import EXPRESSIONS
from emoji_jax.driver import LANDMARKS, MotionConfig, expression, pictures
from emoji_jax.errors import UserError
from emoji_jax.images import read_image
from emoji_jax.landmarks import Landmarks
from emoji_jax.video_writer import CONTAINERS, check_path

if TYPE_CHECKING:  # which imports jax
    from emoji_jax.animator import Animator
    from emoji_jax.sampling import SamplerConfig

_PORTRAIT = Path(__file__).parent / "examples" / "portrait.png"
_REF = flags.DEFINE_string("ref", str(_PORTRAIT), "The portrait: any picture of a face.")
_DRIVING = flags.DEFINE_multi_string(
    "driving",
    "expression:laugh",
    "The motion: a video, an animated image, a folder of frames, a picture, a template of "
    "landmarks (.npz, .npy), or expression:NAME, one of "
    f"{', '.join(EXPRESSIONS)}. With --face=all it may be given for each face, from the left.",
)
_OUT = flags.DEFINE_string(
    "out",
    None,
    "What to write: .mp4, .mov, .mkv, .webm, .gif, .webp, a folder; out.mp4 unless told otherwise. "
    "With --still, a picture: .png, .jpg, .webp; out.png.",
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", "tiny", "Bundled checkpoint or folder of one.")
_GRID = flags.DEFINE_bool("grid", False, "Put portrait, landmarks and result side by side.")
_STILL = flags.DEFINE_bool("still", False, "Make one picture, of the motion's first frame.")
_RESUME = flags.DEFINE_bool("resume", False, "Go on with what an interrupted run left beside OUT.")
_SEED = flags.DEFINE_integer("seed", None, "Same seed, same frames; instead of --config.seed.")
_FRAMES = flags.DEFINE_integer(
    "frames", None, "Frames of the motion to use, from its start.", lower_bound=1
)
_FACE = flags.DEFINE_string(
    "face",
    None,
    "Which of the portrait's faces: largest, leftmost, its number from the left, from 0, or all; "
    "instead of --config.framing.face.",
)
_LONG_VIDEO = flags.DEFINE_enum(
    "long_video",
    None,
    ["progressive", "overlap"],
    "How to make long videos; instead of --config.sampler.long_video.",
)
_REF_LANDMARKS = flags.DEFINE_string(
    "ref_landmarks",
    None,
    "The portrait's landmarks, where none are found: .npz, or .json with a few points by hand.",
)
_SAVE_MOTION = flags.DEFINE_string(
    "save_motion", None, "Also write the motion, as it is used, to this .npz file."
)
_CREDENTIALS = flags.DEFINE_bool(
    "credentials", True, "Say in the file's metadata that it was generated, by what, of what seed."
)
_WARM = flags.DEFINE_bool(
    "warm",
    False,
    "Make nothing, but compile all that the other flags ask for: later runs start fast.",
)
_CONFIG = config_file.flag("sample.py")
flags.declare_key_flag("config")


@contextlib.contextmanager
def progress_bars() -> Iterator:
    """A progress function that shows one bar after another on stderr."""
    bars: dict[str, tqdm] = {}

    def progress(what: str, done: int, total: int | None) -> None:
        if what not in bars:
            bars[what] = tqdm(desc=what, total=total, file=sys.stderr)
        bars[what].update(done - bars[what].n)
        if done == total:
            bars[what].close()

    try:
        yield progress
    finally:
        for bar in bars.values():
            bar.close()


def main() -> None:
    """Does what the flags say."""
    out = _OUT.value or ("out.png" if _STILL.value else "out.mp4")
    if _STILL.value and Path(out).suffix.lower() in (*CONTAINERS, ".gif"):
        raise UserError(f"--still makes a picture; {out} should end in .png, .jpg or .webp")
    check_path(out)
    if _SAVE_MOTION.value and Path(_SAVE_MOTION.value).suffix.lower() != ".npz":
        raise UserError(f"--save_motion is {_SAVE_MOTION.value}; expected a name that ends in .npz")
    config = _CONFIG.value
    with config.unlocked():
        config.seed = config.seed if _SEED.value is None else _SEED.value
        config.motion.frames = 1 if _STILL.value else _FRAMES.value or config.motion.frames
        config.framing.face = _FACE.value or config.framing.face
        config.sampler.long_video = _LONG_VIDEO.value or config.sampler.long_video
    from emoji_jax import options
    from emoji_jax.animator import Animator
    from emoji_jax.sampling.work import beside

    loading, animating = options.of_loading(config), options.of_animating(config)
    look_at(_REF.value, _DRIVING.value)
    face = _REF_LANDMARKS.value and by_hand.read(_REF_LANDMARKS.value, _REF.value)
    animator = Animator.load(_CHECKPOINT.value, **loading)
    if _WARM.value:
        place, start = compiled.check(), time.perf_counter()
        warm(animator, _REF.value, _DRIVING.value, ref_landmarks=face or None, **animating)
        seconds, memory = time.perf_counter() - start, compiled.peak_memory() / 1e9
        print(f"compiled in {seconds:.1f} s; {memory:.2f} GB of memory at most; kept in {place}")
        return
    if not (_REF.present and _DRIVING.present):
        print(f"note: {_REF.value} is moved by {', '.join(_DRIVING.value)}", file=sys.stderr)
    with progress_bars() as progress:
        animation = animator(
            _REF.value, _DRIVING.value, ref_landmarks=face or None, progress=progress, **animating
        )
        for note in animation.notes:
            print(f"note: {note}", file=sys.stderr)
        if _SAVE_MOTION.value:
            animation.motion.save(_SAVE_MOTION.value)
        try:
            how = {"grid": _GRID.value, "resume": _RESUME.value}
            animation.save(out, credentials=_CREDENTIALS.value, **how)
        except KeyboardInterrupt:
            if beside(Path(out)).exists():
                print("note: the same command with --resume goes on from here", file=sys.stderr)
            raise
    print(f"{out}: {len(animation)} frame{'s' * (len(animation) != 1)}")


def warm(
    animator: "Animator",
    portrait: str,
    drivers: Sequence[str],
    *,
    sampler: "SamplerConfig",
    moving: MotionConfig,
    **others: Any,
) -> None:
    """Makes a clip and a longer video of what is asked for; only what is compiled remains."""
    window = sampler.frames or animator.config.frames
    for length in sorted({min(n, moving.frames or n) for n in (window, 2 * window)}):
        short = dataclasses.replace(moving, frames=length)
        for _ in animator(portrait, drivers, sampler=sampler, moving=short, **others):
            pass


def look_at(portrait: str, drivers: Sequence[str]) -> None:
    """Raises what is wrong with the inputs before the weights are read, which may take a minute."""
    read_image(portrait)
    for driver in drivers:
        if Path(driver).suffix.lower() in LANDMARKS:
            Landmarks.load(driver)
        elif driver.startswith("expression:"):
            expression(driver.partition(":")[2], frames=1)
        else:
            pictures(driver)


if __name__ == "__main__":
    command.run(main)
