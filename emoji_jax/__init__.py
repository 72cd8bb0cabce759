"""emoji_jax: portrait animation from expression-aware landmarks, in JAX."""

__version__ = "0.1.0"
