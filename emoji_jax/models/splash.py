"""JAX's attention kernel for TPUs, which writes no logits to memory, and how it is called."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Float

# Tokens are cut into blocks of at most so many, in whole registers of so many lanes. What belongs
# to a block has to fit into the 16 MiB that XLA gives a kernel, gradients in fp32 included.
_BLOCK, _LANES = 512, 128
_HEAD_DIM = 160
# Of fewer tokens, logits are hardly more than what is padded and put in order for the kernel.
_TOKENS = 512


def takes(q: Float[Array, "B N H D"], k: Float[Array, "B M H D"]) -> bool:
    """Whether the kernel is for such queries and keys, and can be given them.

    The compiler can't divide a kernel: each device must be given whole rows, those of the mesh that
    the caller has set. Without a mesh there may be only one device.
    """
    # Products of bf16 to more digits than bf16 has are refused by the kernel's compiler.
    precise = jax.config.jax_default_matmul_precision not in (None, "default", "bfloat16")
    fits = q.dtype == jnp.float32 or (q.dtype == jnp.bfloat16 and not precise)
    fits = fits and q.dtype == k.dtype and q.shape[-1] <= _HEAD_DIM
    if not fits or min(q.shape[1], k.shape[1]) < _TOKENS:
        return False
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return jax.device_count() == 1
    return q.shape[0] % math.prod(mesh.shape[axis] for axis in _undivided()) == 0


def attend(
    q: Float[Array, "B N H D"],
    k: Float[Array, "B M H D"],
    v: Float[Array, "B M H D"],
    *,
    interpret: bool = False,
) -> Float[Array, "B N H D"]:
    """Softmax attention block by block (arXiv 2205.14135); see `attention.attend`.

    Args:
      q: queries.
      k: keys.
      v: values.
      interpret: run on any backend, slowly.
    """
    alone = functools.partial(_attend, interpret=interpret)
    axes = _undivided()
    if not axes:
        return alone(q, k, v)
    rows = PartitionSpec(axes)
    return jax.shard_map(
        alone, in_specs=(rows,) * 3, out_specs=rows, axis_names=set(axes), check_vma=False
    )(q, k, v)


def _undivided() -> tuple[str, ...]:
    """Axes of the caller's mesh that the compiler would have to divide the program along."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return ()
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return tuple(name for name, kind in kinds if kind != AxisType.Manual)


def _blocks(tokens: int) -> tuple[int, int]:
    """Size of blocks, and tokens in all of them, of which as few as possible are padding."""
    count = math.ceil(tokens / _BLOCK)
    block = _LANES * math.ceil(tokens / count / _LANES)
    return block, count * block


def _attend(q: Array, k: Array, v: Array, *, interpret: bool) -> Array:
    # Late: few machines need it, and it takes a while.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    b, n, h, d = q.shape
    m = k.shape[1]
    (block_q, padded_n), (block_k, padded_m) = _blocks(n), _blocks(m)
    # Gradients hold more at once.
    wide = block_k if padded_m % (2 * block_k) else 2 * block_k
    # Tokens along the lanes: heads of 40 would leave most of each register's 128 empty.
    layout = kernel.QKVLayout.SEQ_MINOR
    sizes = kernel.BlockSizes(
        *(block_q, wide, wide),
        *(block_q, block_k, block_k),
        *(block_q, block_k),
        q_layout=layout,
        k_layout=layout,
        v_layout=layout,
    )
    # Nothing is masked differently from row to row, so they are heads of one sequence.
    mask = masks.MultiHeadMask([masks.FullMask((padded_n, padded_m))] * (b * h))
    run = kernel.make_splash_mha_single_device(mask, block_sizes=sizes, interpret=interpret)
    segments = None
    if padded_m > m:
        # Queries see keys of their own segment: not those that are padding.
        padding = (jnp.arange(padded_m) >= m).astype(jnp.int32)
        segments = kernel.SegmentIds(jnp.zeros(padded_n, jnp.int32), padding)

    def by_head(x: Array, tokens: int) -> Array:
        x = jnp.pad(x, ((0, 0), (0, tokens - x.shape[1]), (0, 0), (0, 0)))
        return x.swapaxes(1, 2).reshape(b * h, tokens, d)

    # In fp32: rounded to bf16, the scale itself would be off.
    q = (q.astype(jnp.float32) * d**-0.5).astype(q.dtype)
    out: Any = run(by_head(q, padded_n), by_head(k, padded_m), by_head(v, padded_m), segments)
    return out.reshape(b, h, padded_n, d).swapaxes(1, 2)[:, :n]
