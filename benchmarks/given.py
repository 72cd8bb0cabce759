"""What both sides of `sample.py` are given: sizes, weights and inputs."""

import dataclasses
from collections.abc import Mapping

import drawn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from emoji_jax import checkpoint, diffusion
from emoji_jax.models.emoji import EmojiConfig, abstract
from emoji_jax.models.layers import Compute
from emoji_jax.plan import CACHES, Plan, plan

STEP_T = 499


@dataclasses.dataclass
class Given:
    """Weights and inputs for a step or a clip.

    Attributes:
      cfg: sizes.
      frames: F.
      side: h and w of the latents.
      dtype: of matrix products, and of all weights but the autoencoder's.
      part: "step" or "clip".
    """

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
                self.weights[name] = self._draw(name, self.weights[name])
        self.cfg = dataclasses.replace(self.cfg, size=(self.size,) * 2, frames=self.frames)

    def _draw(self, network: str, shapes: nnx.State) -> nnx.State:
        def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
            kind = self.dtype if len(leaf.shape) > 1 and network != "vae" else jnp.float32
            return jnp.asarray(
                drawn.weights(network + jax.tree_util.keystr(path), leaf.shape), kind
            )

        return jax.tree_util.tree_map_with_path(draw, shapes)

    def exactly(self) -> "Given":
        """The same in fp32, before weights are rounded."""
        return dataclasses.replace(self, dtype="float32")

    def normal(self, *shape: int) -> np.ndarray:
        """Inputs, the same whenever they are asked for."""
        return np.random.default_rng(0).standard_normal(shape, np.float32)

    def of(self, network: str) -> Mapping[str, jax.Array]:
        """One network's weights by path."""
        return checkpoint.flatten(self.weights[network])

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


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a clip is made; what is left open is as the preset has it.

    Attributes:
      name: of the sampler.
      count: its steps.
      scale: of guidance.
      cache: key of `CACHES`.
    """

    name: str
    count: int
    scale: float
    cache: str

    @property
    def steps(self) -> diffusion.Steps:
        """The sampler's."""
        return diffusion.SAMPLERS[self.name](diffusion.schedule(), self.count)

    @property
    def plan(self) -> Plan:
        """What is computed at each of them."""
        return plan(self.steps.t, guidance=self.scale != 1, cache=CACHES[self.cache])

    def __str__(self) -> str:
        return f"{self.name} {self.count}, scale {self.scale}, cache {self.cache}"
