"""Landmarks of one portrait (NASA's photograph of Eileen Collins, public domain)."""

import importlib.util
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from emoji_jax.landmarks import Landmarks

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "landmarks"


def _load(prefix: str) -> Landmarks:
    with np.load(GOLDEN / "astronaut.npz") as file:
        arrays = {k: file[f"{prefix}_{k}"][None] for k in ("points", "vertices", "pose")}
        return Landmarks(
            **arrays,
            blendshapes=file[f"{prefix}_blendshapes"][None],
            size=tuple(map(int, file[f"{prefix}_size"])),
            times=np.zeros(1),
        )


@pytest.fixture
def portrait() -> Landmarks:
    """The whole picture, 512x512; the face is small."""
    return _load("square")


@pytest.fixture
def tall() -> Landmarks:
    """A part of it, 320x448, with a larger face."""
    return _load("tall")


@pytest.fixture
def drawn() -> np.ndarray:
    """The released code's drawing of `portrait`."""
    with np.load(GOLDEN / "astronaut.npz") as file:
        return file["square_drawn"]


@pytest.fixture
def photo() -> np.ndarray:
    """The picture that belongs to `tall`."""
    return np.asarray(Image.open(GOLDEN / "astronaut.jpg"))


@pytest.fixture(scope="session")
def model_path() -> str:
    if importlib.util.find_spec("mediapipe") is None:
        pytest.skip("mediapipe is not installed")
    path = os.environ.get("EMOJI_JAX_FACE_LANDMARKER")
    if not path:
        pytest.skip("EMOJI_JAX_FACE_LANDMARKER names no landmark model")
    return path
