"""The web page of `python -m emoji_jax.app`: a portrait, a motion, what is adjusted, the result."""
