import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from emoji_jax.data import clips
from emoji_jax.data.clips import Clip
from emoji_jax.landmarks import Landmarks
from tests.data import media

pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def clip() -> Clip:
    pictures = [frame[:180] for frame in media.portraits(3)]
    one = media.face()
    points = np.concatenate([one.points + np.float32(i / 100) for i in range(3)])
    landmarks = Landmarks(
        points,
        *(np.repeat(array, 3, axis=0) for array in (one.vertices, one.pose, one.blendshapes)),
        size=(180, 180),
        times=np.array([0, 0.04, 0.1]),
    )
    return Clip(
        frames=tuple(clips.encode_picture(picture) for picture in pictures),
        landmarks=landmarks,
        detected=np.array([True, False, True]),
        box=(-3, 5, 200),
        name="Fräulein Ω.mp4#000000",
        identity="Fräulein Ω",
        source="somewhere",
        licence="CC0",
        expression="wink",
    )


def test_records_hold_everything(clip: Clip):
    layout = clips.features()
    record = layout.deserialize_example_np(clips.serialise(clip, layout))
    assert record.keys() == set(layout.keys())
    found = clips.decode(record)
    for field in dataclasses.fields(Clip):
        if field.name not in ("landmarks", "detected"):
            assert getattr(found, field.name) == getattr(clip, field.name)
    np.testing.assert_array_equal(found.detected, clip.detected)
    for field in dataclasses.fields(Landmarks):
        # Times pass through float32.
        np.testing.assert_allclose(
            getattr(found.landmarks, field.name),
            getattr(clip.landmarks, field.name),
            rtol=1e-6 if field.name == "times" else 0,
        )
    part = clips.decode_landmarks(record, [2, 0])
    np.testing.assert_allclose(part.times, [0.1, 0], rtol=1e-6)
    assert clips.encode(found).keys() == record.keys()


@pytest.mark.parametrize(("kind", "worst"), [("jpeg", 34), ("webp", 32)])
def test_pictures_come_back(kind: str, worst: float):
    picture = media.portraits(1)[0]
    data = clips.encode_picture(picture, kind)
    assert len(data) < picture.size / 3
    found = clips.decode_frames({"frames": [b"", data]}, [1, 1])
    assert found.shape == (2, *picture.shape)
    error = np.square(found[0].astype(float) - picture).mean()
    assert 10 * np.log10(255**2 / error) > worst


def test_bytes_do_not_depend_on_the_process():
    program = """
import hashlib, numpy as np
from emoji_jax.data import clips
from tests.data.media import face
one = face()
clip = clips.Clip((b"abc",), one, np.array([True]), (0, 0, 1), "name", "identity")
print(hashlib.sha256(clips.serialise(clip, clips.features())).hexdigest())
"""
    results = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
        for _ in range(2)
    }
    assert len(results) == 1
