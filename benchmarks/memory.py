"""Memory that sampling takes on this kind of device, by its compiler; nothing runs.

python benchmarks/memory.py --preset release --dtype float32 bfloat16

For each program: what it is given (the weights above all), what it makes, and what it needs in
between. Of a training step `train_step.py` tells that, of a whole run `long_video.py memory`.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from emoji_jax import diffusion
from emoji_jax.models.emoji import PRESETS, abstract
from emoji_jax.models.layers import Compute
from emoji_jax.plan import plan
from emoji_jax.programs import Programs, _padded

_GB = 1e9


def main() -> None:
    """Compiles and prints a table for each dtype."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=list(PRESETS), default="release")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16"])
    parser.add_argument("--windows", type=int, default=1, help="denoised together")
    parser.add_argument("--decode_batch", type=int, default=4)
    args = parser.parse_args()
    for dtype in args.dtype:
        given = f"{args.preset}, {dtype}, {args.windows} windows, {jax.devices()[0].device_kind}"
        print(f"{given}, jax {jax.__version__}\n| program | given | made | between | GB |")
        print("|---|---|---|---|---|")
        for name, lowered in lower(args.preset, dtype, args.windows, args.decode_batch).items():
            told = lowered.compile().memory_analysis()
            sizes = [told.argument_size_in_bytes, told.output_size_in_bytes]
            sizes += [told.temp_size_in_bytes]
            cells = " | ".join(f"{size / _GB:.2f}" for size in sizes)
            print(f"| {name} | {cells} | {sum(sizes) / _GB:.2f} |", flush=True)


def lower(
    preset: str, dtype: str, windows: int, decode_batch: int, mesh: Mesh | None = None
) -> dict[str, Any]:
    """The programs of clips with guidance, by name; on devices that share them, if there are."""
    cfg, of, f32 = PRESETS[preset](), jax.ShapeDtypeStruct, jnp.float32
    graph, shapes = abstract(cfg, Compute(dtype=dtype))
    for name in shapes:
        if name != "vae":  # as `checkpoint.load` has them
            shapes[name] = jax.tree.map(
                lambda x: of(x.shape, dtype if len(x.shape) > 1 else x.dtype), shapes[name]
            )
    programs = Programs(cfg, graph, shapes)
    programs._mesh = mesh  # not given at once: there are no parameters to place

    def placed(tree: Any, *axes: str) -> Any:
        if mesh is None:
            return tree
        where = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.tree.map(lambda x: of(x.shape, x.dtype, sharding=where), tree)

    (h, w), pixels, channels = cfg.size, cfg.clip.image_size, cfg.vae.latent_channels
    latent = (h // cfg.vae.factor, w // cfg.vae.factor, channels)
    portrait = of((1, h, w, 3), f32), of((1, pixels, pixels, 3), f32)
    pictures = of((windows, cfg.frames, h, w, 6 if cfg.warped else 3), jnp.uint8)
    conditions = jax.eval_shape(programs._encode, shapes, *portrait)
    seen = jax.eval_shape(
        lambda *a: programs._features(*a, guided=True), shapes, conditions, pictures
    )
    x = of((windows, cfg.frames, *latent), f32)
    steps = diffusion.SAMPLERS[cfg.sampler](programs.schedule, cfg.steps)
    wanted = plan(steps.t)
    table, choices = (
        tuple(map(_padded, arrays))
        for arrays in ((steps.t, steps.rows()), (wanted.full, wanted.weights))
    )
    seen, x, pictures = (placed(tree, "data") for tree in (seen, x, pictures))
    shapes, conditions, portrait = map(placed, (shapes, conditions, portrait))
    latents = placed(of((decode_batch, *latent), f32), "data")
    clip = shapes, seen, (x, (x, x), ()), None, (0, 1), table, choices, 1.5
    return {
        "portrait": programs._encode.lower(shapes, *portrait),
        "landmarks": programs._features.lower(shapes, conditions, pictures, guided=True),
        "denoising": programs._clips.lower(*clip, guided=True, depth=None),
        "decoding": programs._decode.lower(shapes, latents, rounding="nearest"),
    }


if __name__ == "__main__":
    main()
