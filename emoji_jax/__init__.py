"""emoji_jax: portrait animation from expression-aware landmarks, in JAX."""

import importlib

__version__ = "0.1.0"

# Imported when first used: `import emoji_jax` alone costs nothing.
_WHERE = {
    "Animator": "animator",
    "Landmarks": "landmarks",
    "MotionConfig": "driver",
    "SamplerConfig": "sampling",
    "read_image": "images",
    "read_video": "video",
    "write_video": "video_writer",
}
__all__ = [*_WHERE, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
