"""Batches: what is in them, and that they are the same however they are made."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from emoji_jax.data import synthetic
from emoji_jax.data.pipeline import PipelineConfig, batches
from emoji_jax.data.sources import Mixture, Prepared, Synthetic
from emoji_jax.data.transforms import ExampleConfig, choose_frames, example
from emoji_jax.errors import UserError
from emoji_jax.images import clip_pixels
from emoji_jax.landmarks import Landmarks, draw
from tests.data import prepared

PORTRAIT = Path(__file__).parent.parent / "golden" / "landmarks" / "astronaut.npz"
FRAMES, SIDE = 7, 64


class Clip:
    """A face that slides to the right, and pictures that say which clip and frame they are."""

    def __init__(self, number: int):
        with np.load(PORTRAIT) as file:
            face = {k: file[f"tall_{k}"] for k in ("points", "vertices", "pose", "blendshapes")}
        points = np.repeat(face["points"][None], FRAMES, 0).astype(np.float32)
        points[..., 0] += 0.01 * np.arange(FRAMES)[:, None]
        self.number = number
        self.landmarks = Landmarks(
            points=points,
            **{k: np.repeat(face[k][None], FRAMES, 0) for k in ("vertices", "pose", "blendshapes")},
            size=(SIDE, SIDE),
            times=np.arange(FRAMES) / 25,
        )

    def __len__(self):
        return FRAMES

    def points(self, frames):
        return self.landmarks.points[frames]

    def pictures(self, frames):
        levels = [(self.number * 10 % 250, 30 * int(f), 100) for f in frames]
        return np.stack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in levels])


class Clips:
    def __init__(self, count: int):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return Clip(index)


EXAMPLE = ExampleConfig(frames=3, size=32, factor=8, clip_size=28, max_stride=2, colour=0.0)


@pytest.fixture(autouse=True)
def parsed_flags():
    flags.FLAGS.mark_as_parsed()  # Grain's workers ask for it


def stream(count: int, *, clips: int = 12, batch: int = 4, **options):
    pipeline = {k: options.pop(k) for k in ("workers", "seed", "shuffle") if k in options}
    iterator = batches(Clips(clips), PipelineConfig(batch, **pipeline), EXAMPLE, **options)
    return [next(iterator) for _ in range(count)]


def same(one, other) -> bool:
    return all(
        np.array_equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a
    )


def test_shapes_and_ranges():
    (batch,) = stream(1)
    shapes = {name: (value.shape, value.dtype.name) for name, value in batch.items()}
    assert shapes == {
        "frames": ((4, 3, 32, 32, 3), "uint8"),
        "reference": ((4, 32, 32, 3), "uint8"),
        "clip_pixels": ((4, 28, 28, 3), "float32"),
        "landmarks": ((4, 3, 32, 32, 3), "uint8"),
        "expression_mask": ((4, 3, 4, 4, 1), "uint8"),
        "face_mask": ((4, 3, 4, 4, 1), "uint8"),
        "clip": ((4,), "int64"),
    }
    for reference, pixels in zip(batch["reference"], batch["clip_pixels"], strict=True):
        np.testing.assert_array_equal(pixels, clip_pixels(reference, 28))
    np.testing.assert_array_equal(batch["clip"], batch["reference"][:, 0, 0, 0] // 10)
    for name in ("expression_mask", "face_mask"):
        assert set(np.unique(batch[name])) == {0, 1}
    assert batch["landmarks"].any((1, 2, 3, 4)).all()
    # All pictures of an example come from one clip.
    assert len(np.unique(batch["frames"][0, ..., 0])) == 1
    assert np.array_equal(batch["frames"][:, 0, 0, 0, 0], batch["reference"][:, 0, 0, 0])


def test_same_seed_same_batches():
    assert same(stream(5), stream(5))
    assert not same(stream(5), stream(5, seed=1))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers):
    assert same(stream(4, workers=workers), stream(4))


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_same_batches(processes):
    whole = stream(6)
    parts = [stream(6, process=i, processes=processes) for i in range(processes)]
    for step, batch in enumerate(whole):
        joined = np.concatenate([part[step]["frames"] for part in parts])
        np.testing.assert_array_equal(joined, batch["frames"])


def test_batches_can_be_passed_over():
    options = {"process": 1, "processes": 2}
    assert same(stream(6, **options)[2:4], stream(4, start=2, **options)[:2])


@pytest.mark.parametrize("workers", [0, 2])
def test_resumes_in_the_middle(workers):
    make = lambda: batches(Clips(12), PipelineConfig(4, workers=workers), EXAMPLE)  # noqa: E731
    first = make()
    for _ in range(3):
        next(first)
    state = first.get_state()
    expected = [next(first) for _ in range(3)]
    second = make()
    second.set_state(state)
    assert same(expected, [next(second) for _ in range(3)])


def test_every_clip_once_without_shuffling():
    iterator = batches(Clips(6), PipelineConfig(4, shuffle=False), EXAMPLE)
    numbers = np.concatenate([b["reference"][:, 0, 0, 0] for b in iterator])
    assert numbers.tolist() == [0, 10, 20, 30, 40, 50]


def test_an_epoch_has_every_clip():
    numbers = [b["reference"][:, 0, 0, 0] // 10 for b in stream(3)]
    assert sorted(np.concatenate(numbers).tolist()) == list(range(12))


def test_batch_that_cannot_be_shared():
    with pytest.raises(ValueError, match="4 can't be shared by 3 processes"):
        stream(1, process=0, processes=3)
    with pytest.raises(ValueError, match="no clips"):
        stream(1, clips=0)


def test_one_augmentation_for_all():
    """Landmarks, masks and pictures keep their places relative to each other."""

    class Marked(Clip):
        def pictures(self, frames):
            return np.stack([draw(self.landmarks.pixels[f], (SIDE, SIDE)) for f in frames])

    cfg = dataclasses.replace(EXAMPLE, size=SIDE, zoom=0.6)
    for seed in range(5):
        made = example(Marked(0), np.random.default_rng(seed), cfg)
        there, drawn = made["frames"].any(-1), made["landmarks"].any(-1)
        # Interpolation blurs by a pixel; drawn again they are sharp.
        near = np.pad(there, ((0, 0), (2, 2), (2, 2)))
        near = np.lib.stride_tricks.sliding_window_view(near, (5, 5), axis=(1, 2)).any((-1, -2))
        assert (drawn & ~near).sum() <= 0.05 * drawn.sum()


def test_colours_change_alike():
    cfg = dataclasses.replace(EXAMPLE, colour=0.3)
    made = example(Clip(5), np.random.default_rng(0), cfg)
    blue = np.append(made["frames"][:, 0, 0, 0], made["reference"][0, 0, 0])
    plain = example(Clip(5), np.random.default_rng(0), EXAMPLE)
    assert len(np.unique(plain["frames"][..., 0])) == 1 and not np.array_equal(
        made["frames"], plain["frames"]
    )
    assert np.ptp(blue.astype(int)) < 60


@pytest.mark.parametrize(("length", "frames"), [(1, 1), (1, 4), (2, 5), (16, 16), (40, 8)])
def test_frames_chosen(length, frames):
    seen = set()
    for seed in range(600):
        reference, indices = choose_frames(np.random.default_rng(seed), length, frames, 3)
        assert 0 <= reference < length and len(indices) == frames
        assert indices.min() >= 0 and indices.max() < length
        if length > frames:
            assert len(np.unique(np.diff(indices))) == 1
        seen.add(reference)
    assert seen == set(range(length))


def test_synthetic_clips_feed_the_pipeline():
    source = Synthetic(seed=3, first=16, count=4, frames=6, size=64)
    frames, landmarks = synthetic.clip(3, 17, 6, 64)
    chosen = np.array([4, 0, 5])
    np.testing.assert_array_equal(source[1].pictures(chosen), frames[chosen])
    np.testing.assert_array_equal(source[1].points(chosen), landmarks.points[chosen])
    iterator = batches(source, PipelineConfig(2), dataclasses.replace(EXAMPLE, size=64))
    batch = next(iterator)
    assert batch["frames"].shape == (2, 3, 64, 64, 3) and batch["frames"].std() > 20
    assert batch["landmarks"].any((1, 2, 3, 4)).all()
    with pytest.raises(ValueError, match="not the first one of a person"):
        Synthetic(seed=3, first=15, count=4, frames=6, size=64)


def test_mixture_draws_by_weight():
    mixture = Mixture([Clips(40), Clips(7), Clips(30)], [0.5, 0.2, 0.3])
    assert len(mixture) == 100  # until the third has been gone through
    places = [mixture.locate(i) for i in range(len(mixture))]
    for number, count in enumerate([50, 20, 30]):
        found = [place for source, place in places if source == number]
        size = len(mixture.sources[number])
        assert found == [i % size for i in range(count)]
    for end in range(1, 101):  # evenly, wherever one looks
        first = [source for source, _ in places[:end]]
        for number, weight in enumerate([0.5, 0.2, 0.3]):
            assert abs(first.count(number) - weight * end) < 2
    assert [mixture[i].number for i in range(100)] == [place for _, place in places]
    for index in (-1, 100):
        with pytest.raises(IndexError):
            mixture[index]


def test_mixture_in_a_batch():
    mixture = Mixture([Clips(3), Clips(25)], [1.0, 2.0])
    whole = [next(batches(mixture, PipelineConfig(8, workers=n), EXAMPLE)) for n in (0, 1)]
    assert same(whole[:1], whole[1:])
    numbers = [mixture.locate(int(i))[1] for i in whole[0]["clip"]]
    assert numbers == (whole[0]["reference"][:, 0, 0, 0] // 10).tolist()


@pytest.mark.parametrize(
    ("sources", "weights"),
    [([], []), ([Clips(0)], [1.0]), ([Clips(1)], [0.0]), ([Clips(1)], [1.0, 1.0])],
)
def test_mixtures_that_cannot_be(sources, weights):
    with pytest.raises(ValueError, match=r"expected 1 positive|each with clips"):
        Mixture(sources, weights)


def test_reference_without_clip():
    made = example(Clip(0), np.random.default_rng(0), dataclasses.replace(EXAMPLE, clip_size=0))
    assert "clip_pixels" not in made


def test_folder_without_prepared_clips(tmp_path):
    with pytest.raises(UserError, match="has no prepared clips for train"):
        Prepared(tmp_path, "train")


def test_the_reference_warped_lies_beside_the_landmarks():
    """In the same part of the clip's pictures, with the same colours."""
    cfg = dataclasses.replace(EXAMPLE, warped=True, frames=4, size=64)
    person = Synthetic(0, 0, 8, 24, 64)[5]
    made = example(person, np.random.default_rng(5), cfg)
    assert made["landmarks"].shape == (4, 64, 64, 6)
    plain = example(person, np.random.default_rng(5), dataclasses.replace(cfg, warped=False))
    np.testing.assert_array_equal(made["landmarks"][..., :3], plain["landmarks"])
    np.testing.assert_array_equal(made["reference"], plain["reference"])
    frames, warped = made["frames"].astype(int), made["landmarks"][..., 3:]
    still = np.abs(frames - made["reference"]).mean()
    assert np.abs(frames - warped).mean() < 0.9 * still


def test_a_shard_that_is_damaged_or_gone_is_told(tmp_path):
    folder = prepared.write(tmp_path / "dataset", [3, 3], 32)
    (shard,) = folder.glob("*train.array_record*")
    content = shard.read_bytes()
    shard.write_bytes(content[:200] + bytes(len(content) - 200))
    with pytest.raises(UserError, match="can't be read"):
        Prepared(folder, "train")[0]
    shard.unlink()
    with pytest.raises(UserError, match="can't be read"):
        Prepared(folder, "train")[0]
