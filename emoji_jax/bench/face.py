"""How faces are looked for in a benchmark, when it is made and when it is measured on."""

import dataclasses

import numpy as np
from PIL import Image

from emoji_jax.images import Picture
from emoji_jax.landmarks import Detector, Landmarks

# Faces are shown to the landmarker at no less than this: it was trained on larger ones.
SEEN = 256


def find(detector: Detector, frame: Picture) -> Landmarks | None:
    """The face in a frame, with landmarks in its pixels."""
    height, width = frame.shape[:2]
    larger = max(SEEN / min(height, width), 1)
    shape = (round(width * larger), round(height * larger))
    seen = np.asarray(Image.fromarray(frame).resize(shape, Image.Resampling.BICUBIC))
    face = detector.detect(seen)
    return face and dataclasses.replace(face, size=(height, width))
