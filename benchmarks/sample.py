"""Sampling here and in PyTorch: the same networks, weights and steps, in one run on one machine.

python benchmarks/sample.py --compare torch --json
python benchmarks/sample.py --preset tiny --part clip --compare torch
python benchmarks/sample.py --part clip --dtype bfloat16 --compare torch compiled     (on a GPU)

A step is one call of the denoising UNet with motion modules, landmark features and a reference
portrait, without guidance. A clip is all of it: the portrait and the landmarks are encoded, all
steps denoise with guidance, and the frames are decoded. Weights are random, but for `tiny` the
bundled ones. The peer is `benchmarks/peer.py`; runs take turns, so that a busy moment hits all.
"""

import argparse
import dataclasses
import functools
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from emoji_jax import checkpoint, diffusion, generate
from emoji_jax.models.emoji import PRESETS, EmojiConfig, abstract
from emoji_jax.models.layers import Compute
from emoji_jax.models.unet import Conditions
from emoji_jax.plan import CACHES, plan
from emoji_jax.programs import Programs
from emoji_jax.training import flops
from emoji_jax.training.logs import peak_flops

# What makes numbers: called, it leaves them on the host.
Run = Callable[[], np.ndarray]


def main() -> None:
    """Measures what the arguments ask for and prints a table."""
    args = _arguments()
    cfg = PRESETS[args.preset]()
    side = args.side or cfg.size[0] // cfg.vae.factor
    given = Given(cfg, args.frames or cfg.frames, side, args.dtype, args.part)
    start = time.perf_counter()
    ours, work = (step if args.part == "step" else clip)(given, args)
    expected = ours()
    runs: dict[str, Run] = {"emoji_jax": ours}
    first, peak = {"emoji_jax": time.perf_counter() - start}, _peak_gb()
    for name in args.compare:
        start = time.perf_counter()
        runs[name] = peers(given, args, compiled=name == "compiled")
        difference = np.abs(runs[name]().astype(np.float32) - expected)
        first[name] = time.perf_counter() - start
        print(f"{name}: differs by {difference.max() / np.abs(expected).max():.1e} of the largest")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    told = {
        "what": f"{args.part} of {args.preset}, 1x{given.frames}x{side}x{side} latents, "
        f"{args.dtype}",
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "tflop": work / 1e12,
        "seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "first_s": first,
        "peak_gb": peak,
    }
    if args.part == "clip":
        scale = cfg.guidance_scale if args.guidance is None else args.guidance
        told["what"] += f", {args.sampler or cfg.sampler} {args.steps or cfg.steps}, scale {scale}"
        told["what"] += f", cache {args.cache}"
    report(told)
    if args.json:
        print(json.dumps(told))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compare", nargs="*", choices=["torch", "compiled"], default=[])
    parser.add_argument("--json", action="store_true", help="end with a JSON object")
    parser.add_argument("--part", choices=["step", "clip"], default="step")
    parser.add_argument("--preset", choices=list(PRESETS), default="release")
    parser.add_argument("--frames", type=int, help="default: 2 in a step, else the preset's")
    parser.add_argument("--side", type=int, help="of the latents; default: 32, else the preset's")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sampler", choices=list(diffusion.SAMPLERS), default="")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--cache", choices=list(CACHES), default="off", help="ours alone")
    args = parser.parse_args()
    if args.part == "step" and args.preset != "tiny":
        args.frames, args.side = args.frames or 2, args.side or 32
    return args


def _peak_gb() -> float:
    """Most of the device's memory that was used; of a CPU's, by the process."""
    stats = jax.devices()[0].memory_stats() or {}
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return stats.get("peak_bytes_in_use", process) / 1e9


def report(told: dict[str, Any]) -> None:
    """Prints the table; adds ratios and the share of the device's peak, where that is known."""
    seconds = told["seconds"]
    peak = peak_flops(jax.devices()[0])
    print(f"{told['what']}; {told['device']}, {told['cores']} cores, jax {told['jax']}")
    print(f"ours: {told['first_s']['emoji_jax']:.1f} s the first time, {told['peak_gb']:.2f} GB")
    for name, value in seconds.items():
        rate = told["tflop"] / value
        share = f"   {rate * 1e12 / peak:.0%} of peak" if peak else ""
        ratio = f"   {value / seconds['emoji_jax']:.2f} times ours" if len(seconds) > 1 else ""
        print(f"{name:10} {value:8.3f} s   {rate:8.3f} TFLOP/s{share}{ratio}")
    if len(seconds) > 1:
        told["ratios"] = {
            n: v / seconds["emoji_jax"] for n, v in seconds.items() if n != "emoji_jax"
        }
        told["ratio"] = min(told["ratios"].values())


@dataclasses.dataclass
class Given:
    """What both sides are given: sizes, weights and inputs."""

    cfg: EmojiConfig
    frames: int
    side: int
    dtype: str
    part: str

    def __post_init__(self):
        self.size = self.side * self.cfg.vae.factor
        compute = Compute(dtype=self.dtype)
        if self.cfg.preset == "tiny":  # whose latents are scaled as its own weights want it
            self.cfg, self.graph, self.weights = checkpoint.load(
                checkpoint.locate("tiny"), compute, self.dtype
            )
        else:
            self.graph, self.weights = abstract(self.cfg, compute)
            # The others stay shapes, where a step is all: they would fill the memory.
            for name in self.weights if self.part == "clip" else ["unet"]:
                draw = functools.partial(self._draw, exact=name == "vae")
                self.weights[name] = jax.tree_util.tree_map_with_path(draw, self.weights[name])

        self.cfg = dataclasses.replace(self.cfg, size=(self.size,) * 2, frames=self.frames)

    def _draw(self, path: tuple, leaf: jax.ShapeDtypeStruct, *, exact: bool) -> jax.Array:
        """Uniform numbers that keep activations at their size."""
        rng = np.random.default_rng(leaf.size)
        drawn = 2 * rng.random(leaf.shape, np.float32) - 1
        if len(leaf.shape) > 1:
            drawn *= np.sqrt(3 / np.prod(leaf.shape[:-1]))
            return jnp.asarray(drawn, jnp.float32 if exact else self.dtype)
        return jnp.asarray(("scale" in str(path)) + 0.1 * drawn)

    def normal(self, *shape: int) -> np.ndarray:
        """Inputs, the same whenever they are asked for."""
        return np.random.default_rng(0).standard_normal(shape, np.float32)

    def of(self, network: str) -> Mapping[str, np.ndarray]:
        """One network's weights by path."""
        return {k: np.asarray(v) for k, v in checkpoint.flatten(self.weights[network]).items()}

    def tokens(self) -> list[np.ndarray]:
        """The portrait's, for each spatial transformer."""
        _, prompt, _ = self.step_inputs()
        latents = np.zeros((1, *self.shape), np.float32)
        seen = jax.eval_shape(
            lambda weights: nnx.merge(self.graph, weights).appearance(latents, prompt), self.weights
        )
        return [self.normal(*tokens.shape) for tokens in seen]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a frame's latents."""
        return self.side, self.side, self.cfg.vae.latent_channels

    def step_inputs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Latents, image prompt, landmark features."""
        unet, frames = self.cfg.unet, (1, self.frames, self.side, self.side)
        queries = self.cfg.image_prompt.queries or 257
        return (
            self.normal(*frames, unet.in_channels),
            self.normal(1, queries, unet.context),
            self.normal(*frames, unet.channels[0]),
        )

    def clip_inputs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Portrait, CLIP's pixels, landmark pictures (and warped portraits), noise."""
        rng, side = np.random.default_rng(1), self.cfg.clip.image_size
        channels = 6 if self.cfg.warped else 3
        return (
            2 * rng.random((self.size, self.size, 3), np.float32) - 1,
            self.normal(side, side, 3),
            rng.integers(0, 256, (1, self.frames, self.size, self.size, channels), np.uint8),
            self.normal(1, self.frames, *self.shape),
        )


STEP_T = 499


def step(given: Given, _: argparse.Namespace) -> tuple[Run, float]:
    """One call of the UNet, compiled, and its arithmetic."""
    graph, weights = nnx.split(nnx.merge(given.graph, given.weights).unet)
    tokens = [jnp.asarray(x, given.dtype) for x in given.tokens()]
    project = jax.jit(lambda p, tokens: nnx.merge(graph, p).project_references(tokens))
    references = project(weights, tokens)  # once per portrait, not per step
    x, prompt, motion = map(jnp.asarray, given.step_inputs())
    conditions = Conditions(prompt, references, motion)

    def call(weights: nnx.State, x: jax.Array, t: jax.Array, conditions: Conditions) -> jax.Array:
        return nnx.merge(graph, weights)(x, t, conditions)

    inputs = weights, x, jnp.array([STEP_T]), conditions
    compiled = jax.jit(call).lower(*inputs).compile()
    return lambda: np.asarray(compiled(*inputs)), flops.count(call, *inputs)


def clip(given: Given, args: argparse.Namespace) -> tuple[Run, float]:
    """A whole clip, and its arithmetic: what is done once per portrait is not counted."""
    cfg = given.cfg
    programs = Programs(cfg, given.graph, given.weights)
    portrait, pixels, pictures, noise = given.clip_inputs()
    steps, scale = _sampler(cfg, programs.schedule, args)
    wanted = plan(steps.t, guidance=scale != 1, cache=CACHES[args.cache])

    def run() -> np.ndarray:
        conditions = programs.encode(portrait, pixels)
        latents = programs.denoise(conditions, pictures, noise, steps, scale, plan=wanted)[0]
        frames = [programs.decode(latents[i : i + 4]) for i in range(0, given.frames, 4)]
        return np.concatenate(frames)

    def one(weights: nnx.State) -> jax.Array:
        model = nnx.merge(given.graph, weights)
        seen = model.condition(jnp.asarray(portrait)[None], jnp.asarray(pixels)[None])
        seen = dataclasses.replace(seen, motion=jnp.zeros((*x.shape[:-1], cfg.unet.channels[0])))
        return generate.guided_velocity(
            model,
            model.with_unconditional(seen) if scale != 1 else seen,
            x,
            None,
            jnp.int32(STEP_T),
            scale,
            guided=scale != 1,
        )[0]

    x = jnp.asarray(noise)
    seeing = flops.count(
        lambda w: nnx.merge(given.graph, w).condition(portrait[None], pixels[None]), given.weights
    )
    each = flops.count(one, given.weights) - seeing
    return run, each * int(wanted.full.sum())


def _sampler(
    cfg: EmojiConfig, schedule: diffusion.Schedule, args: argparse.Namespace
) -> tuple[diffusion.Steps, float]:
    steps = diffusion.SAMPLERS[args.sampler or cfg.sampler](schedule, args.steps or cfg.steps)
    return steps, cfg.guidance_scale if args.guidance is None else args.guidance


def peers(given: Given, args: argparse.Namespace, *, compiled: bool) -> Run:
    """The same in PyTorch."""
    import torch
    from peer import Peer

    torch.set_grad_enabled(False)
    cfg, device = given.cfg, "cuda" if torch.cuda.is_available() else "cpu"
    if args.part == "step":
        return _peer_step(given, torch, Peer, device, compiled)
    networks = ("unet", "appearance", "landmark_encoder", "vae")
    peer = Peer(
        cfg,
        {name: given.of(name) for name in networks},
        dtype=getattr(torch, given.dtype),
        device=device,
        compiled=compiled,
    )
    portrait, pixels, pictures, noise = given.clip_inputs()
    steps, scale = _sampler(cfg, diffusion.schedule(), args)
    model = nnx.merge(given.graph, given.weights)
    gathered = model.image_prompt.gather(model.clip(jnp.asarray(pixels)[None]))
    prompt = model.image_prompt
    tokens = [
        torch.from_numpy(np.array(x, np.float32)).to(device, peer.dtype)
        for x in (
            prompt.appearance(gathered),
            prompt.unet(gathered),
            prompt.unet(jnp.zeros_like(gathered)),
        )
    ]

    def run() -> np.ndarray:
        made = peer.animate(
            peer.tensor(portrait[None], torch.float32),
            tuple(tokens),
            peer.tensor(pictures[0]) / 255,
            peer.tensor(noise[0], torch.float32),
            steps,
            scale,
        )
        return made.cpu().numpy()

    return run


def _peer_step(given: Given, torch: Any, make: Any, device: str, compiled: bool) -> Run:
    peer = make(
        given.cfg,
        {"unet": given.of("unet")},
        dtype=getattr(torch, given.dtype),
        device=device,
        compiled=compiled,
    )
    x, prompt, motion = given.step_inputs()
    for reader, tokens in zip(peer.readers(), given.tokens(), strict=True):
        peer.seen[reader.name] = peer.tensor(tokens)
    inputs = peer.tensor(x), STEP_T, peer.tensor(prompt), peer.tensor(motion)
    return lambda: peer.velocity(*inputs).movedim(-3, -1).float().cpu().numpy()


if __name__ == "__main__":
    main()
