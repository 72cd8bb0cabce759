"""Other people's results: which are read, and what is wrong with those that are not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emoji_jax.bench import methods
from emoji_jax.bench.folder import Bench, Pair
from emoji_jax.errors import UserError
from tests.bench.test_bench import task

PAIR = Pair("self_a", "a")
BENCH = Bench(Path("bench"), "b", 4, 32, {}, (PAIR,), "0")


def save(folder, names, size=(32, 32)):
    """Frames of rising brightness."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", size, (40 * i,) * 3).save(folder / name)


def assert_refused(folder, message):
    with pytest.raises(UserError, match=message):
        methods.read(folder, BENCH, PAIR)


def test_only_pictures_count(tmp_path):
    place = tmp_path / PAIR.name
    save(place, [f"{i}.png" for i in range(4)])
    (place / "run_2024.log").write_text("")
    frames = methods.read(tmp_path, BENCH, PAIR)
    assert frames[:, 0, 0, 0].tolist() == [0, 40, 80, 120]


def test_a_number_that_all_names_share(tmp_path):
    save(tmp_path / PAIR.name, [f"{i}_of_4.png" for i in range(4)])
    assert len(methods.read(tmp_path, BENCH, PAIR)) == 4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a_1.png", "a_2.png", "b_1.png", "b_2.png"], "has frame 1 twice"),
        (["1.png", "2.png", "4.png", "5.png"], "gap after frame 1: a number is left out"),
        (["1.png", "2.png", "3.png"], "has 3 frames; expected 4"),
    ],
)
def test_frames_by_their_numbers(tmp_path, names, message):
    save(tmp_path / PAIR.name, names)
    assert_refused(tmp_path, message)


def test_shapes(tmp_path):
    names = [f"{i}.png" for i in range(4)]
    save(tmp_path / "wide" / PAIR.name, names, (48, 32))
    assert_refused(tmp_path / "wide", "is 48x32 pixels; expected squares")
    save(tmp_path / "large" / PAIR.name, names, (64, 64))
    assert methods.read(tmp_path / "large", BENCH, PAIR).shape == (4, 32, 32, 3)


def test_one_result_of_each_pair(tmp_path):
    assert_refused(tmp_path, r"has no result self_a; expected a folder .*\.webp, \.mp4")
    save(tmp_path / PAIR.name, [f"{i}.png" for i in range(4)])
    (tmp_path / f"{PAIR.name}.mp4").write_bytes(b"")
    assert_refused(tmp_path, r"self_a\.mp4 and self_a; expected one result")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_levels_that_are_no_numbers(tmp_path, bad):
    levels = np.full((32, 32), 0.5, np.float32)
    (tmp_path / PAIR.name).mkdir()
    for i in range(4):
        levels[0, 0] = bad if i == 2 else 0.5
        Image.fromarray(levels).save(tmp_path / PAIR.name / f"{i}.tiff")
    assert_refused(tmp_path, r"2\.tiff has levels that are no numbers")


def test_what_is_wrong_is_told_of_its_pair_alone(tmp_path):
    save(tmp_path / PAIR.name, [f"{i}.png" for i in range(4)])
    other = dataclasses.replace(task(), pair=Pair("self_b", "b"))
    good, bad = methods.others(tmp_path, BENCH, [task(), other])
    assert isinstance(good, np.ndarray) and "no result self_b" in str(bad)
