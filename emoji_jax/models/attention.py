"""Softmax attention behind one function, which knows about hardware."""

import contextlib
import functools
import math
import re
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from emoji_jax.errors import UserError, choice
from emoji_jax.models import splash
from emoji_jax.models.convolution import AS_WRITTEN

Implementation = Literal["auto", "xla", "chunked", "merged", "cudnn", "splash"]

# Logits of one call above which the exact path would no longer stay in cache (CPU) or would eat
# memory that a longer clip needs (accelerators). Elements, not bytes.
_CPU_LOGITS = 2**22
_ACCELERATOR_LOGITS = 2**28
_QUERY_CHUNK = 256
# Sequences along time, and how many tokens a TPU's matrix unit is wide.
_SHORT, _TOGETHER = 16, 128


def check(impl: str, dtype: Any) -> None:
    """Raises a UserError for a kernel that this machine has not, or not in this dtype."""
    choice("attention", impl, get_args(Implementation))
    # What is no dtype is none of these either.
    with contextlib.suppress(TypeError, ValueError, SyntaxError):
        dtype = jnp.dtype(dtype).name
    choice("dtype", dtype, ("float32", "bfloat16", "float16"))
    backend, dtype = jax.default_backend(), jnp.dtype(dtype)
    if impl == "cudnn" and (backend != "gpu" or dtype == jnp.float32):
        raise UserError("attention cudnn needs an NVIDIA GPU, and bfloat16 or float16 for dtype")
    if impl == "splash" and (backend != "tpu" or dtype == jnp.float16):
        raise UserError("attention splash needs a TPU, and bfloat16 or float32 for dtype")


def attend(
    q: Float[Array, "B N H D"],
    k: Float[Array, "B M H D"],
    v: Float[Array, "B M H D"],
    impl: Implementation = "auto",
) -> Float[Array, "B N H D"]:
    """Softmax attention, scaled by 1/sqrt(D), softmax in fp32.

    Args:
      q: queries.
      k: keys.
      v: values.
      impl: `xla` materialises the logits; `chunked` bounds memory by 256 queries at a time;
        `merged` takes short sequences together, which TPUs like; `cudnn` is NVIDIA's fused kernel,
        where it takes the call (GPU of compute capability 8 or more, bf16 or fp16, D a multiple of
        8 and at most 128, or 256 on Hopper), and else as `auto`; `splash` is JAX's for TPUs (bf16
        or fp32, N and M at least 512, D at most 160, as many rows for each device), likewise;
        `auto` picks from backend, dtype and shapes. All agree to rounding.

    Returns:
      Weighted values, in the dtype of `q`.

    Raises:
      ValueError: an unknown `impl`.
    """
    kernel = _kernel(q, k)
    if impl == "auto" or (impl in ("cudnn", "splash") and impl != kernel):
        impl = kernel or _choose(q, k)
    if impl == "xla":
        return _exact(q, k, v)
    if impl == "chunked":
        return _chunked(q, k, v)
    if impl == "merged":
        return _merged(q, k, v)
    if impl == "cudnn":
        return _cudnn(q, k, v) if _even(q, k) else _cudnn_forward(q, k, v)
    if impl == "splash":
        return splash.attend(q, k, v)
    raise ValueError(f"attention impl is {impl!r}; expected one of {get_args(Implementation)}")


def _choose(q: Array, k: Array) -> Implementation:
    logits = q.shape[0] * q.shape[2] * q.shape[1] * k.shape[1]
    short = max(q.shape[1], k.shape[1]) <= _SHORT and q.shape[0] >= _TOGETHER
    if short and jax.default_backend() == "tpu" and not AS_WRITTEN.value:
        return "merged"
    limit = _CPU_LOGITS if jax.default_backend() == "cpu" else _ACCELERATOR_LOGITS
    # Few queries of very many sequences, as along time, are one chunk each: nothing is gained.
    return "chunked" if logits > limit and q.shape[1] > _QUERY_CHUNK else "xla"


def _kernel(q: Array, k: Array) -> Literal["cudnn", "splash"] | None:
    """The fused kernel that this machine has for such a call."""
    backend = jax.default_backend()
    if AS_WRITTEN.value:
        return None
    if backend == "gpu" and _cudnn_takes(q):
        return "cudnn"
    return "splash" if backend == "tpu" and splash.takes(q, k) else None


def _cudnn_takes(q: Array) -> bool:
    if q.dtype not in (jnp.bfloat16, jnp.float16):
        return False
    told = str(getattr(jax.devices()[0], "compute_capability", ""))
    if not re.fullmatch(r"\d+\.\d+", told):
        return False  # of another maker
    capability = float(told)
    # Blackwell takes wider heads, too, but not for gradients.
    widest = 256 if 9 <= capability < 10 else 128
    return capability >= 8 and q.shape[-1] % 8 == 0 and q.shape[-1] <= widest


def _cudnn(q: Array, k: Array, v: Array) -> Array:
    return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")


def _even(q: Array, k: Array) -> bool:
    return q.shape[1] % 2 == 0 and k.shape[1] % 2 == 0


@jax.custom_vjp
def _cudnn_forward(q: Array, k: Array, v: Array) -> Array:
    """The kernel for odd numbers of tokens, of which it makes no gradients: others are taken."""
    return _cudnn(q, k, v)


def _without_kernel(q: Array, k: Array, v: Array) -> tuple[Array, Callable[..., Any]]:
    return jax.vjp(functools.partial(attend, impl=_choose(q, k)), q, k, v)


_cudnn_forward.defvjp(_without_kernel, lambda pull, gradient: pull(gradient))


def _weigh(scores: Array, v: Array, product: str) -> Array:
    # Normalising after the product with the values divides N x D numbers instead of N x M.
    e = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    out = jnp.einsum(product, e.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return out / e.sum(-1, keepdims=True)


def _exact(q: Array, k: Array, v: Array, seen: np.ndarray | None = None) -> Array:
    scores = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=jnp.float32)
    scores = scores * q.shape[-1] ** -0.5
    if seen is not None:
        scores = jnp.where(seen, scores, -jnp.inf)
    out = _weigh(scores, v, "bhnm,bmhd->bhnd")
    return out.swapaxes(1, 2).astype(q.dtype)


def _merged(q: Array, k: Array, v: Array) -> Array:
    """Several sequences as one of 128 tokens, each of which sees those of its own.

    A matrix unit does as much in a product of 16 tokens. The compiler counts 43% fewer cycles with
    heads of 80 and 160, 19% with 40; with gradients 25% and 8%.
    """
    b, n, h, d = q.shape
    m = k.shape[1]
    count = max(1, _TOGETHER // max(n, m))
    rest = -b % count

    def together(x: Array) -> Array:
        x = jnp.pad(x, ((0, rest), (0, 0), (0, 0), (0, 0)))
        return x.reshape(-1, count * x.shape[1], h, d)

    own = np.kron(np.eye(count, dtype=bool), np.ones((n, m), bool))
    out = _exact(together(q), together(k), together(v), own)
    return out.reshape(-1, n, h, d)[:b]


def _chunked(q: Array, k: Array, v: Array) -> Array:
    """256 queries at a time. CPU also goes head by head: its batched products are slow.

    Of several devices each would go through the heads of all: their keys would be gathered.
    """
    b, n, h, d = q.shape
    chunk = min(_QUERY_CHUNK, n)
    chunks = math.ceil(n / chunk)
    q = jnp.pad(q, ((0, 0), (0, chunks * chunk - n), (0, 0), (0, 0)))
    q = q.reshape(b, chunks, chunk, h, d).transpose(0, 3, 1, 2, 4)  # b h chunks chunk d
    k, v = k.transpose(0, 2, 3, 1), v.swapaxes(1, 2)  # b h d m, b h m d

    @jax.checkpoint
    def one_chunk(k: Array, v: Array, q: Array) -> Array:
        scores = jnp.einsum("...nd,...dm->...nm", q, k, preferred_element_type=jnp.float32)
        return _weigh(scores * d**-0.5, v, "...nm,...md->...nd").astype(q.dtype)

    if jax.default_backend() == "cpu" and jax.device_count() == 1:
        k, v = k.reshape(b * h, d, -1), v.reshape(b * h, -1, d)
        q = q.reshape(b * h, chunks, chunk, d)
        out = jax.lax.map(
            lambda a: jax.lax.map(functools.partial(one_chunk, a[1], a[2]), a[0]), (q, k, v)
        )
        out = out.reshape(b, h, chunks, chunk, d)
    else:
        out = jax.lax.map(functools.partial(one_chunk, k, v), jnp.moveaxis(q, 2, 0))
        out = jnp.moveaxis(out, 0, 2)
    return out.transpose(0, 2, 3, 1, 4).reshape(b, chunks * chunk, h, d)[:, :n]
