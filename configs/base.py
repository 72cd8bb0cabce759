"""Every option once: its default, its unit and where it comes from. Other files change a few.

Command line: --config.sampler.steps=20 and so on, after --config=FILE if there is one.
"""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
    """All options at their defaults."""
    config = ml_collections.ConfigDict()

    # Same seed, same frames; for training, same run.
    config.seed = 0
    # Height and width in pixels, e.g. (512,512); empty: what the checkpoint was made for.
    config.size = ()
    # Of activations and matrix products: float32, bfloat16 or float16.
    config.dtype = "float32"
    # auto, xla, chunked or cudnn; see emoji_jax/models/attention.py.
    config.attention = "auto"

    config.sampler = sampler = ml_collections.ConfigDict()
    # ddim (as released) or dpmpp_2m (needs about half the steps).
    sampler.name = "ddim"
    # Evaluations of the UNet (released code: 30).
    sampler.steps = 30
    # Classifier-free guidance (released code: 3.5); 1 switches it off and halves the work.
    sampler.guidance_scale = 3.5
    # Frames denoised together; 0: what the checkpoint was trained with (paper: 16).
    sampler.frames = 0
    # Frames that neighbouring windows of a longer video share.
    sampler.overlap = 4
    # Frames decoded at a time; more is faster and takes more memory.
    sampler.decode_batch = 4

    config.motion = motion = ml_collections.ConfigDict()
    # "release" repeats the released code to the pixel, its dropped frame and head pose included.
    motion.compat = ""
    # Of the head: relative (to the driver's first frame) or absolute.
    motion.head_pose = "relative"
    # The driver's frame that counts as expressionless: auto, or its number from 0.
    motion.neutral = "auto"
    # Frames in a row of a driving video that may be without a face; they are filled in.
    motion.max_gap = 15
    # Frames per second of a driver that does not say: a folder of frames or a .npy file.
    motion.frame_rate = 30.0
    # How many frames of a driver, from its start; unset or 0: all of them.
    motion.frames = config_dict.placeholder(int)

    return config
