"""emoji_jax: portrait animation from expression-aware landmarks, in JAX."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers; `_WHERE` says the same to Python
    from emoji_jax.animator import Animator
    from emoji_jax.driver import MotionConfig
    from emoji_jax.errors import UserError
    from emoji_jax.framing import FramingConfig
    from emoji_jax.images import read_image
    from emoji_jax.landmarks import Controls, Landmarks
    from emoji_jax.sampling import SamplerConfig
    from emoji_jax.video import read_video
    from emoji_jax.video_writer import write_video

__version__ = "0.1.0"
__all__ = [
    "Animator",
    "Controls",
    "FramingConfig",
    "Landmarks",
    "MotionConfig",
    "SamplerConfig",
    "UserError",
    "__version__",
    "read_image",
    "read_video",
    "write_video",
]

# Imported when first used: `import emoji_jax` alone costs nothing.
_WHERE = {
    "Animator": "animator",
    "Controls": "landmarks",
    "FramingConfig": "framing",
    "Landmarks": "landmarks",
    "MotionConfig": "driver",
    "SamplerConfig": "sampling",
    "UserError": "errors",
    "read_image": "images",
    "read_video": "video",
    "write_video": "video_writer",
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
