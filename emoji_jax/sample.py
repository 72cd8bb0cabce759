"""Animates a portrait with the motion of a video.

python -m emoji_jax.sample --ref portrait.png --driving motion.mp4 --out out.mp4

Without flags, an emoji that comes with the package laughs.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from absl import flags
from tqdm import tqdm

from emoji_jax import command
from emoji_jax import config as config_file
from emoji_jax.data.synthetic import EXPRESSIONS
from emoji_jax.driver import expression
from emoji_jax.errors import UserError
from emoji_jax.images import read_image
from emoji_jax.landmarks import Landmarks
from emoji_jax.video import open_video
from emoji_jax.video_writer import check_path

_PORTRAIT = Path(__file__).parent / "examples" / "portrait.png"
_REF = flags.DEFINE_string("ref", str(_PORTRAIT), "The portrait: any picture of a face.")
_DRIVING = flags.DEFINE_string(
    "driving",
    "expression:laugh",
    "The motion: a video, an animated image, a folder of frames, a picture, a template of "
    "landmarks (.npz, .npy), or expression:NAME, one of "
    f"{', '.join(EXPRESSIONS)}.",
)
_OUT = flags.DEFINE_string(
    "out", "out.mp4", "What to write: .mp4, .mov, .mkv, .webm, .gif, .webp, a folder."
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", "tiny", "Bundled checkpoint or folder of one.")
_GRID = flags.DEFINE_bool("grid", False, "Put portrait, landmarks and result side by side.")
_SEED = flags.DEFINE_integer("seed", None, "Same seed, same frames; instead of --config.seed.")
_FRAMES = flags.DEFINE_integer(
    "frames", None, "Frames of the motion to use, from its start.", lower_bound=1
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
    check_path(_OUT.value)
    from emoji_jax.animator import Animator, check
    from emoji_jax.driver import MotionConfig, check_motion
    from emoji_jax.sampling import SamplerConfig

    config = _CONFIG.value
    seed = config.seed if _SEED.value is None else _SEED.value
    motion = dict(config.motion)
    neutral = str(motion["neutral"])
    sampler = config_file.build(SamplerConfig, "sampler", dict(config.sampler))
    moving = config_file.build(
        MotionConfig,
        "motion",
        motion
        | {
            "compat": config_file.choice("motion.compat", motion["compat"], ("", "release"))
            or None,
            "head_pose": config_file.choice(
                "motion.head_pose", motion["head_pose"], ("relative", "absolute")
            ),
            "neutral": int(neutral)
            if neutral.isdecimal()
            else config_file.choice(
                "motion.neutral", neutral, ("auto",), "auto or a frame's number"
            ),
            "frames": motion["frames"] if _FRAMES.value is None else _FRAMES.value,
        },
    )
    check(sampler)
    check_motion(moving)
    size = tuple(config.size)
    if size and [type(side) for side in size] != [int, int]:
        raise UserError(f"size is {size}; expected height and width, e.g. (512,512)")
    _look_at(_REF.value, _DRIVING.value)
    animator = Animator.load(
        _CHECKPOINT.value,
        size=size or None,
        dtype=config_file.choice("dtype", config.dtype, ("float32", "bfloat16", "float16")),
        attention=config_file.choice(
            "attention", config.attention, ("auto", "xla", "chunked", "cudnn")
        ),
    )
    if not (_REF.present and _DRIVING.present):
        print(f"note: {_REF.value} is moved by {_DRIVING.value}", file=sys.stderr)
    with progress_bars() as progress:
        animation = animator(
            _REF.value,
            _DRIVING.value,
            sampler=sampler,
            moving=moving,
            seed=seed,
            progress=progress,
        )
        for note in animation.notes:
            print(f"note: {note}", file=sys.stderr)
        animation.save(_OUT.value, grid=_GRID.value)
    print(f"{_OUT.value}: {len(animation)} frames")


def _look_at(portrait: str, driver: str) -> None:
    """Raises what is wrong with the inputs before the weights are read, which may take a minute."""
    read_image(portrait)
    if Path(driver).suffix in (".npz", ".npy"):
        Landmarks.load(driver)
    elif driver.startswith("expression:"):
        expression(driver.partition(":")[2], frames=1)
    else:
        open_video(driver)


if __name__ == "__main__":
    command.run(main)
