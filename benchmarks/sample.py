"""Seconds per UNet step, here and in PyTorch, in one run on one machine.

python benchmarks/sample.py --compare torch --json

The work is one call of the denoising UNet at the released size, with motion modules, landmark
features and a reference portrait, without guidance. In PyTorch that is diffusers' UNetMotionModel
with an attention processor that appends the portrait's tokens to each self-attention, as the
released code does. Weights are random: time does not depend on them.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from emoji_jax.models.emoji import EmojiConfig, abstract
from emoji_jax.models.layers import Compute
from emoji_jax.models.unet import Conditions, UNet

CONTEXT = 257


def main() -> None:
    """Measures what the arguments ask for and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compare", choices=["torch"], help="also run the peer")
    parser.add_argument("--json", action="store_true", help="end with a JSON object")
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--side", type=int, default=32, help="of the latents")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    ours, compiling = jax_step(args.frames, args.side, args.dtype)
    peer = torch_step(args.frames, args.side, args.dtype) if args.compare else None
    steps = {"emoji_jax": ours} | ({"torch": peer} if peer else {})
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.repeats):  # by turns, so that a busy moment of the machine hits both
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        print(f"{name:10} best {min(values):7.3f} s   median {statistics.median(values):7.3f} s")
    result = {
        "what": f"one UNet call, release size, 1x{args.frames}x{args.side}x{args.side} latents, "
        f"{args.dtype}, {jax.default_backend()}",
        "seconds": {name: round(min(values), 4) for name, values in seconds.items()},
        "compile_s": round(compiling, 1),
        "cores": os.cpu_count(),
    }
    if peer:
        result["ratio"] = round(min(seconds["torch"]) / min(seconds["emoji_jax"]), 3)
        print(f"ratio (peer's time / ours) {result['ratio']:.2f}; {result['what']}")
    if args.json:
        print(json.dumps(result))


def jax_step(frames: int, side: int, dtype: str) -> tuple[Callable[[], None], float]:
    """A step of ours, compiled, and how long that took."""
    cfg = EmojiConfig.release().unet
    graph, state = nnx.split(nnx.merge(*abstract(EmojiConfig.release(), Compute(dtype=dtype))).unet)
    parameters = jax.tree.map(fill, state)
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.standard_normal(shape, np.float32))  # noqa: E731
    sides = [side >> i for i in (0, 0, 1, 1, 2, 2, 3, 2, 2, 2, 1, 1, 1, 0, 0, 0)]
    widths = [cfg.channels[i] for i in (0, 0, 1, 1, 2, 2, 3, 2, 2, 2, 1, 1, 1, 0, 0, 0)]
    tokens = [normal(1, s * s, c) for s, c in zip(sides, widths, strict=True)]
    project = jax.jit(lambda p, tokens: nnx.merge(graph, p).project_references(tokens))
    references = project(parameters, tokens)  # once per portrait, not per step
    conditions = Conditions(
        normal(1, CONTEXT, cfg.context), references, normal(1, frames, side, side, cfg.channels[0])
    )
    inputs = normal(1, frames, side, side, 4), jnp.array([499]), conditions

    def call(
        parameters: nnx.State, x: jax.Array, t: jax.Array, conditions: Conditions
    ) -> jax.Array:
        unet: UNet = nnx.merge(graph, parameters)
        return unet(x, t, conditions)

    start = time.perf_counter()
    compiled = jax.jit(call).lower(parameters, *inputs).compile()
    compiling = time.perf_counter() - start
    step = lambda: jax.block_until_ready(compiled(parameters, *inputs))  # noqa: E731
    step()
    return step, compiling


def fill(shape: jax.ShapeDtypeStruct) -> jax.Array:
    """Weights that keep activations finite."""
    value = np.prod(shape.shape[:-1]) ** -0.5 if len(shape.shape) > 1 else 0.1
    return jnp.full(shape.shape, value, shape.dtype)


def torch_step(frames: int, side: int, dtype: str) -> Callable[[], None]:
    """A step of the same network in PyTorch."""
    import torch
    from diffusers import UNetMotionModel

    class WithReference:
        """Self-attention over a frame's tokens and the portrait's."""

        def __init__(self, reference: torch.Tensor):
            self.reference = reference

        def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
            context = torch.cat(
                [hidden_states, self.reference.expand(len(hidden_states), -1, -1)], 1
            )
            q, k, v = (
                layer(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
                for layer, x in (
                    (attn.to_q, hidden_states),
                    (attn.to_k, context),
                    (attn.to_v, context),
                )
            )
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
            return attn.to_out[0](out.transpose(1, 2).flatten(2))

    kind, device = getattr(torch, dtype), "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_grad_enabled(False)
    with torch.device(device):
        unet = UNetMotionModel(cross_attention_dim=768).to(kind).eval()
        ours = sum(p.numel() for p in unet.parameters())
        levels = {
            "down_blocks.0": 0,
            "down_blocks.1": 1,
            "down_blocks.2": 2,
            "mid_block": 3,
            "up_blocks.1": 2,
            "up_blocks.2": 1,
            "up_blocks.3": 0,
        }
        processors = dict(unet.attn_processors)
        for name in processors:
            if "motion_modules" in name or not name.endswith("attn1.processor"):
                continue
            level = next(i for prefix, i in levels.items() if name.startswith(prefix))
            width = unet.config.block_out_channels[level]
            tokens = torch.randn(1, (side >> level) ** 2, width, dtype=kind)
            processors[name] = WithReference(tokens)
        unet.set_attn_processor(processors)
        x = torch.randn(1, 4, frames, side, side, dtype=kind)
        context = torch.randn(1, CONTEXT, 768, dtype=kind).expand(frames, -1, -1)
    print(f"torch      {ours / 1e6:.1f} M parameters, {torch.get_num_threads()} threads, {device}")

    def step() -> None:
        unet(x, 499, context)
        if device == "cuda":
            torch.cuda.synchronize()

    step()
    return step


if __name__ == "__main__":
    main()
