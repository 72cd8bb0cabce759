"""How a checkpoint animates people that it has never seen: the model card's tables.

python benchmarks/animation.py --data DATASET ... --drivers VIDEO ... --out results

Self-reenactment: a held-out clip's first frame is moved by the landmarks of its other frames, and
compared with them; beside it the same numbers for repeating the first frame, and for the training
frame that is nearest to each. Cross-reenactment: portraits of held-out clips follow videos and
built-in expressions; what the landmarker sees the result do is correlated with what the driver
does, and the result's distance to its own portrait is compared with that to all others. Writes
`results.json`, `self.png` and `cross.png`.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from emoji_jax import driver, sampling
from emoji_jax.animation import detailed
from emoji_jax.animator import Animator
from emoji_jax.data import sources
from emoji_jax.data.transforms import cut
from emoji_jax.drawn import Drawn
from emoji_jax.framing import FramingConfig
from emoji_jax.images import clip_pixels
from emoji_jax.landmarks import Detector, Landmarks
from emoji_jax.metrics.l1 import l1
from emoji_jax.metrics.landmarks import STILL, correlation, error, signals
from emoji_jax.metrics.lpips import LPIPS, heading
from emoji_jax.sampling import SamplerConfig

EXPRESSIONS = ("expression:mouth_open", "expression:blink", "expression:head_shake")
EXPRESSIONS += ("expression:laugh", "expression:gaze_left_right")
# A face of 128 pixels is shown to the landmarker at this size: it was trained on larger ones.
SEEN = 256
THUMBNAIL = 24


def main() -> None:
    """Measures and prints tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--data", nargs="+", required=True, help="prepared datasets")
    parser.add_argument("--drivers", nargs="*", default=[], help="videos, besides expressions")
    parser.add_argument("--clips", type=int, default=8, help="held-out clips of each dataset")
    parser.add_argument("--portraits", type=int, default=6, help="of all datasets together")
    parser.add_argument("--frames", type=int, default=24, help="of each clip and driver")
    parser.add_argument("--pool", type=int, default=4000, help="training frames to look through")
    parser.add_argument("--steps", type=int, default=0, help="of the sampler")
    parser.add_argument("--guidance", type=float, help="scale")
    parser.add_argument("--keep", type=float, help="sampler.keep")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    measured = Measurement(args)
    results = {
        "checkpoint": args.checkpoint,
        "sampler": {"steps": args.steps, "guidance_scale": args.guidance, "keep": args.keep},
        "self": measured.reenact_self(),
        "cross": measured.reenact_others(),
    }
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    show(results)


def held_out(data: list[str], clips: int) -> Iterator[tuple[str, sources.PreparedClip]]:
    """Clips of the test splits, spread over each, with their dataset's name."""
    for folder in data:
        source = sources.Prepared(folder, "test")
        for i in np.unique(np.linspace(0, len(source) - 1, clips).astype(int)):
            clip = source[int(i)]
            assert isinstance(clip, sources.PreparedClip), "encoded clips have no pictures"
            yield Path(folder).name, clip


class Measurement:
    """A checkpoint, and what it is measured with."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.animator = Animator.load(args.checkpoint)
        self.side = self.animator.config.size[0]
        self.lpips, self.detector = LPIPS(), Detector()
        self.sampler = SamplerConfig(steps=args.steps, guidance_scale=args.guidance, keep=args.keep)

    def find(self, frames: np.ndarray) -> list[Landmarks | None]:
        """The face in each frame."""
        found = []
        for frame in frames:
            picture = np.asarray(
                Image.fromarray(frame).resize((SEEN, SEEN), Image.Resampling.BICUBIC)
            )
            faces = self.detector.detect_all(picture)
            found.append(faces[0] if faces else None)
        return found

    def reenact_self(self) -> dict:
        """Mean numbers of the checkpoint and of both baselines, by dataset."""
        pool = TrainingFrames(self.args.data, self.args.pool, self.side)
        rows: dict[str, dict[str, list]] = {}
        strips = []
        clips = list(held_out(self.args.data, self.args.clips))
        for name, clip in tqdm(clips, desc="self-reenactment"):
            indices = np.unique(np.linspace(0, len(clip) - 1, self.args.frames + 1).astype(int))
            first, *truth = (cut(p, self.side) for p in clip.pictures(indices))
            truth = np.stack(truth)
            own, *points = clip.points(indices)[..., :2].astype(np.float64) * self.side
            made = self.animate(first, own, np.stack(points))
            seen = self.find(truth)
            methods = {
                "checkpoint": made,
                "first frame": np.repeat(first[None], len(truth), 0),
                "nearest training frame": pool.nearest(truth),
            }
            for method, frames in methods.items():
                row = rows.setdefault(name, {}).setdefault(method, [])
                row.append(self.compare(frames, truth, seen))
            some = np.linspace(0, len(truth) - 1, 6).astype(int)
            strips.append(
                np.concatenate([np.concatenate([first, *f[some]], 1) for f in (truth, made)])
            )
        Image.fromarray(np.concatenate(strips)).save(self.args.out / "self.png")
        return {
            name: {method: _means(found) for method, found in by_method.items()}
            for name, by_method in rows.items()
        }

    def animate(self, portrait: np.ndarray, own: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Frames of a portrait, which has its own landmarks, with landmarks at these pixels."""
        programs, cfg = self.animator.programs, self.animator.config
        conditions = programs.encode(
            portrait.astype(np.float32) / 127.5 - 1, clip_pixels(portrait, cfg.clip.image_size)
        )
        drawn = Drawn.to_fit(cfg, points, (portrait, own))
        frames = sampling.animate(programs, conditions, drawn, self.sampler, seed=0)
        return np.stack(list(detailed(programs, drawn, frames, self.sampler)))

    def compare(
        self, frames: np.ndarray, truth: np.ndarray, seen: list[Landmarks | None]
    ) -> dict[str, float]:
        """L1, perceptual distance and landmark error; frames without a face are counted."""
        found = self.find(frames)
        both = [(a, b) for a, b in zip(found, seen, strict=True) if a and b]
        return {
            "l1": float(l1(frames, truth).mean()),
            "lpips": float(self.lpips(frames, truth).mean()),
            "landmarks": float(np.mean([error(a, b) for a, b in both])) if both else float("nan"),
            "faces": len(both) / max(sum(s is not None for s in seen), 1),
        }

    def reenact_others(self) -> dict:
        """Of each driver: how often a face is seen, how well it follows, whose face it is."""
        args = self.args
        each = -(-args.portraits // len(args.data))
        portraits = [
            cut(clip.pictures(np.array([0]))[0], self.side) for _, clip in held_out(args.data, each)
        ][: args.portraits]
        results, rows = {}, []
        for name in tqdm([*args.drivers, *EXPRESSIONS], desc="cross-reenactment"):
            read = driver.read(
                name, driver.MotionConfig(), lambda: self.detector, lambda *_: None
            ).landmarks
            moving = read[np.unique(np.linspace(0, len(read) - 1, args.frames).astype(int))]
            made = [self.follow(portrait, moving) for portrait in portraits]
            results[Path(name).name] = self.judge(made, moving, portraits)
            some = np.linspace(0, len(moving) - 1, 6).astype(int)
            rows += [
                np.concatenate([p, *frames[some]], 1)
                for p, frames in zip(portraits, made, strict=True)
                if frames is not None
            ]
        Image.fromarray(np.concatenate(rows)).save(args.out / "cross.png")
        return results

    def follow(self, portrait: np.ndarray, moving: Landmarks) -> np.ndarray:
        """The portrait, which is a crop already, moved as a user would do it."""
        whole = FramingConfig(mode="letterbox", paste=False)
        return np.stack(list(self.animator(portrait, moving, sampler=self.sampler, framing=whole)))

    def judge(
        self, made: list[np.ndarray], moving: Landmarks, portraits: list[np.ndarray]
    ) -> dict[str, float | None]:
        """Means over the portraits; a signal in which the driver stands still is left out."""
        driven, correlations = signals(moving), {name: [] for name in STILL}
        seen, own = [], []
        for k, frames in enumerate(made):
            found = self.find(frames)
            seen += [face is not None for face in found]
            kept = [i for i, face in enumerate(found) if face]
            values = [signals(found[i]) for i in kept]
            for name, floor in STILL.items():
                signal = np.array([v[name][0] for v in values])
                correlations[name].append(correlation(signal, driven[name][kept], floor))
            some = frames[np.linspace(0, len(frames) - 1, 4).astype(int)]
            distances = [
                self.lpips(some, np.repeat(p[None], len(some), 0)).mean() for p in portraits
            ]
            own.append(int(np.argmin(distances)) == k)
        told: dict[str, float | None] = {"faces": float(np.mean(seen)), "own": float(np.mean(own))}
        for name, values in correlations.items():
            moved = driven[name].std() >= STILL[name]
            told[name] = float(np.nanmean(values)) if moved and np.isfinite(values).any() else None
        return told


class TrainingFrames:
    """Frames of the training splits, to find the nearest of."""

    def __init__(self, data: list[str], count: int, side: int):
        self._side, self._clips, thumbnails = side, [], []
        for folder in data:
            source = sources.Prepared(folder, "train")
            chosen = np.unique(np.linspace(0, len(source) - 1, count // len(data) // 4).astype(int))
            for i in tqdm(chosen, desc=f"{Path(folder).name}: training frames"):
                clip = source[int(i)]
                frames = np.unique(np.linspace(0, len(clip) - 1, 4).astype(int))
                thumbnails += [self._thumbnail(p) for p in clip.pictures(frames)]
                self._clips += [(source, int(i), int(f)) for f in frames]
        self._thumbnails = np.stack(thumbnails)

    def _thumbnail(self, picture: np.ndarray) -> np.ndarray:
        return cut(picture, THUMBNAIL).astype(np.int16)

    def nearest(self, truth: np.ndarray) -> np.ndarray:
        """Of each frame the training frame that differs least from it."""
        found = []
        for frame in truth:
            difference = np.abs(self._thumbnails - self._thumbnail(frame)).mean((1, 2, 3))
            source, clip, number = self._clips[int(difference.argmin())]
            found.append(cut(source[clip].pictures(np.array([number]))[0], self._side))
        return np.stack(found)


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}


def show(results: dict) -> None:
    """Prints both tables in Markdown."""
    print(f"| held-out clips of | method | L1 | {heading()} | landmark error | faces found |")
    print("|---|---|---|---|---|---|")
    for name, methods in results["self"].items():
        for method, m in methods.items():
            numbers = f"{m['l1']:.4f} | {m['lpips']:.3f} | {m['landmarks']:.3f} | {m['faces']:.0%}"
            print(f"| {name} | {method} | {numbers} |")
    print("\n| driver | faces found | own face | " + " | ".join(STILL) + " |")
    print("|---" * (len(STILL) + 3) + "|")
    for name, told in results["cross"].items():
        cells = [f"{told['faces']:.0%}", f"{told['own']:.0%}"]
        cells += ["" if told[s] is None else f"{told[s]:.2f}" for s in STILL]
        print(f"| {name} | " + " | ".join(cells) + " |")
    every = [v for told in results["cross"].values() for s, v in told.items() if s in STILL]
    every = [v for v in every if v is not None]
    print(f"\nmean of {len(every)} correlations: {np.mean(every):.2f}")


if __name__ == "__main__":
    main()
