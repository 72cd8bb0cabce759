"""Long videos: what the seams look like, and what memory they take.

python benchmarks/long_video.py seams --drivers VIDEO ... --out results
python benchmarks/long_video.py memory --out results

`seams` animates a portrait with every driver in three ways: progressive, overlapping windows, and
windows side by side as the released code has them. Of each it prints how much the picture changes
from frame to frame where two stretches of frames meet, over how much it changes elsewhere, and the
jitter of the landmarks that are found in the result over that of the driver's. 1 is no seam, and no
jitter added.

What the driver's own motion adds at a frame is taken off first, by a least-squares fit: it need not
be the same at seams and elsewhere.

`memory` makes 64, 640 and 6,400 frames, each in a process of its own, and prints the most memory
that each took: what is its own, and with files that it has mapped, which the system takes back.
And time: all of it, and that of making and writing frames alone, by the frame; two windows are made
before, so that nothing is compiled in it.
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from emoji_jax import sampling
from emoji_jax.animation import denoise
from emoji_jax.animator import Animator
from emoji_jax.driver import Driver, MotionConfig, read
from emoji_jax.framing import FramingConfig
from emoji_jax.landmarks import Detector, Landmarks, topology
from emoji_jax.sampling import SamplerConfig
from emoji_jax.sampling.progressive import levels

EXAMPLE = Path(sampling.__file__).parent.parent / "examples" / "portrait.png"
# A face of 128 pixels is shown to the landmarker at this size: it was trained on larger ones.
SEEN = 256
_DRAWN = sorted({i for chain, _ in topology.DRAWN for i in chain})


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("seams", "memory", "one"))
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--ref", default=str(EXAMPLE))
    parser.add_argument("--drivers", nargs="*", default=[], help="videos")
    parser.add_argument(
        "--frames", type=int, default=240, help="of each driver, slowed down if shorter"
    )
    parser.add_argument("--steps", type=int, default=0, help="of the sampler")
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 640, 6400])
    parser.add_argument("--long_video", default="progressive")
    parser.add_argument("--out", type=Path, help="folder to keep what is written")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        args.out = args.out or Path(folder)
        args.out.mkdir(parents=True, exist_ok=True)
        {"seams": seams, "memory": memory, "one": one}[args.what](args)


def seams(args: argparse.Namespace) -> None:
    """The three ways on every driver."""
    animator = Animator.load(args.checkpoint)
    rows = []
    print("| driver | way | change at seams / elsewhere | jitter / driver's |")
    print("|---|---|---|---|")
    for driver in args.drivers:
        for way in ("progressive", "overlap", "released windows"):
            row = {"driver": Path(driver).name, "way": way, **measure(animator, args, driver, way)}
            rows.append(row)
            numbers = f"{row['seams']:.3f} ± {row['error']:.3f} | {row['jitter']:.1f}"
            print(f"| {row['driver']} | {way} | {numbers} |", flush=True)
    (args.out / "seams.json").write_text(json.dumps(rows, indent=1) + "\n")


def measure(animator: Animator, args: argparse.Namespace, driver: str, way: str) -> dict:
    """One way on one driver."""
    motion = driver_of(animator, driver, args.frames)
    config = SamplerConfig(
        steps=args.steps, long_video="progressive" if way == "progressive" else "overlap"
    )
    animation = animator(args.ref, motion, sampler=config, framing=FramingConfig(paste=False))
    (actor,) = animation.actors
    count, length = len(animation), animator.config.frames
    if way == "released windows":
        latents = sampling.denoise(
            animator.programs,
            actor.conditions(),
            [actor.pictures],
            config,
            seed=0,
            windows=lambda count, step: sampling.released_windows(count, step, length),
        )
    else:
        latents = denoise(animation.actors)
    frames = np.stack(list(animation.frames(latents)))
    np.save(args.out / f"{Path(driver).stem}_{way.replace(' ', '_')}.npy", frames)
    points = actor.pictures.points[np.arange(count)][:, _DRAWN]
    moved = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(1)
    changed = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean((1, 2, 3))
    ratio, error = seam(changed, moved, boundaries(way, count, length, animator, config))
    return {
        "frames": count,
        "seams": ratio,
        "error": error,
        "jitter": jitter(_find(frames)) / jitter(points / animator.config.size[0]),
    }


def seam(changed: np.ndarray, moved: np.ndarray, at: np.ndarray) -> tuple[float, float]:
    """Change at seams over change elsewhere, and its standard error.

    Args:
      changed: of the picture, between frames [F - 1].
      moved: the same of the driver's landmarks.
      at: where seams are.
    """
    terms = np.stack([np.ones_like(moved), moved, at], 1)
    found = np.linalg.lstsq(terms, changed, rcond=None)[0]
    without = (changed - found[2] * at).mean()
    rest = changed - terms @ found
    variance = np.square(rest).sum() / (len(rest) - 3) * np.linalg.inv(terms.T @ terms)[2, 2]
    return float(1 + found[2] / without), float(np.sqrt(variance) / without)


@functools.cache
def driver_of(animator: Animator, path: str, frames: int) -> Driver:
    """So many frames of a driver."""

    def in_time(moving: MotionConfig, motion: str | Landmarks = path) -> Driver:
        return read(motion, moving, lambda: animator.detector, lambda *_: None)

    found = in_time(MotionConfig(frames=frames))
    count = len(found.landmarks)
    if count == frames:
        return found
    return in_time(MotionConfig(speed=(count - 1) / (frames - 1)), found.landmarks)


def boundaries(
    way: str, count: int, length: int, animator: Animator, config: SamplerConfig
) -> np.ndarray:
    """Between which frames two stretches meet: [F - 1], true from frame i to frame i + 1."""
    at = np.zeros(count - 1, bool)
    if way == "progressive":
        # Where one of the two was made at another time than the other.
        made = np.zeros(count, int)
        number = 0
        for level in levels(count, length):
            for stretch in level:
                number += 1
                made[stretch.frames[~stretch.known]] = number
        at = np.diff(made) != 0
    elif way == "overlap":
        # Of the last step's windows; those of other steps lie elsewhere.
        steps = config.steps or animator.config.steps
        windows = sampling.shifting_windows(length, config.overlap)(count, steps - 1)
        starts = np.array([window.frames[0] for window in windows[1:]])
        at[starts - 1] = True
        at[np.array([window.frames[-1] for window in windows[:-1]])] = True
    else:
        at[length - 1 :: length] = True
    return at


def _find(frames: np.ndarray) -> np.ndarray:
    """Drawn landmarks in frames that show a face, in parts of the picture."""
    with Detector() as detector:
        found = [
            detector.detect(np.asarray(Image.fromarray(frame).resize((SEEN, SEEN))))
            for frame in frames
        ]
    missing = np.full((len(_DRAWN), 2), np.nan)
    return np.stack([missing if f is None else f.points[0, _DRAWN, :2] for f in found])


def jitter(points: np.ndarray) -> float:
    """How far landmarks are from the middle between their places before and after, on average."""
    middle = (points[:-2] + points[2:]) / 2
    return float(np.nanmean(np.linalg.norm(points[1:-1] - middle, axis=-1)))


def memory(args: argparse.Namespace) -> None:
    """Both ways at all lengths, each in a process of its own."""
    print(
        "| way | frames | own memory, MB | with mapped files, MB | seconds | ms a frame |\n"
        "|---|---|---|---|---|---|"
    )
    rows = []
    for way in ("progressive", "overlap"):
        for length in args.lengths:
            command = [sys.executable, __file__, "one", "--out", str(args.out)]
            command += ["--checkpoint", args.checkpoint, "--ref", args.ref]
            command += ["--frames", str(length), "--steps", str(args.steps), "--long_video", way]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            row = json.loads(done.stdout.splitlines()[-1])
            rows.append({"way": way, **row})
            numbers = [row["own_mb"], row["rss_mb"], row["seconds"], row["ms_a_frame"]]
            print(
                f"| {way} | {length} | " + " | ".join(f"{n:.0f}" for n in numbers) + " |",
                flush=True,
            )
    (args.out / "memory.json").write_text(json.dumps(rows, indent=1) + "\n")


def one(args: argparse.Namespace) -> None:
    """A video of a laugh, several times over, and the most memory that it took."""
    import threading

    most = {"RssAnon": 0, "VmRSS": 0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for line in Path("/proc/self/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in most:
                    most[name] = max(most[name], int(value.split()[0]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    moving = MotionConfig(loop=-(-args.frames // 50))
    animator = Animator.load(args.checkpoint)
    config = SamplerConfig(steps=args.steps, long_video=args.long_video)
    animation = animator(args.ref, "expression:laugh", sampler=config, moving=moving)
    with tempfile.TemporaryDirectory() as folder:
        for frames in (2 * animator.config.frames, args.frames):
            kept = animation.motion[:frames]
            last = animator(args.ref, kept, sampler=config)
            begun = time.monotonic()
            last.save(Path(folder) / f"{frames}.mp4")
    seconds, making = time.monotonic() - start, time.monotonic() - begun
    over.set()
    watcher.join()
    told = {"frames": len(last), "seconds": seconds, "ms_a_frame": 1e3 * making / len(last)}
    told |= {"own_mb": most["RssAnon"] / 1024, "rss_mb": most["VmRSS"] / 1024}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
