"""Still pictures: every kind that Pillow reads, and what is not a picture."""

import numpy as np
import pytest
from PIL import Image

from emoji_jax.errors import UserError
from emoji_jax.images import clip_pixels, letterbox, read_image

_ORIENTATION = 0x0112


def gradient(height: int, width: int) -> np.ndarray:
    """A picture without symmetries, smooth enough for JPEG."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([y * 255 // height, x * 255 // width, (x + y) * 2 % 256], -1).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tiff"])
def test_rgb_is_read_as_it_is(tmp_path, suffix):
    picture = gradient(24, 40)
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(picture).save(tmp_path / f"a{suffix}", **options)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), picture)


def test_greyscale(tmp_path):
    grey = gradient(16, 16)[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.stack([grey] * 3, -1))


def test_black_and_white(tmp_path):
    bits = gradient(16, 16)[..., 0] > 100
    Image.fromarray(bits).save(tmp_path / "bits.png")
    found = read_image(tmp_path / "bits.png")
    np.testing.assert_array_equal(found, np.stack([bits * np.uint8(255)] * 3, -1))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("brightest", [65535, 200])
def test_sixteen_bits_are_scaled_whatever_the_brightest_level(tmp_path, suffix, brightest):
    levels = np.linspace(0, brightest, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(levels).save(tmp_path / f"deep{suffix}")
    found = read_image(tmp_path / f"deep{suffix}")
    expected = np.round(levels / 257).astype(np.uint8)
    np.testing.assert_array_equal(found, np.stack([expected] * 3, -1))


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([-3, 0, 99.6, 300], [0, 0, 100, 255]), ([0, 0.5, 1], [0, 128, 255])],
)
def test_floats_are_levels_or_shares_of_white(tmp_path, levels, expected):
    Image.fromarray(np.array([levels], np.float32)).save(tmp_path / "float.tiff")
    assert read_image(tmp_path / "float.tiff")[0, :, 1].tolist() == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_levels_that_are_no_numbers_are_refused(tmp_path, bad):
    Image.fromarray(np.array([[0, 0.5, bad, 1]], np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(UserError, match=r"float\.tiff has levels that are no numbers"):
        read_image(tmp_path / "float.tiff")


def test_cmyk(tmp_path):
    picture = gradient(32, 32) // 2 + 60
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    found = read_image(tmp_path / "cmyk.jpg")
    assert found.shape == (32, 32, 3)
    assert np.abs(found.astype(int) - picture).max() < 12


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_becomes_white(tmp_path, mode):
    alpha = np.zeros((4, 4), np.uint8)
    alpha[:2] = 255
    alpha[3] = 128
    bands = [Image.fromarray(np.full((4, 4), 90, np.uint8))] * (len(mode) - 1)
    Image.merge(mode, [*bands, Image.fromarray(alpha)]).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert np.all(found[:2] == 90) and np.all(found[2] == 255)
    assert np.abs(found[3].astype(int) - 172).max() <= 1


def test_palette_with_a_transparent_colour(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "a.png", transparency=1)
    assert read_image(tmp_path / "a.png").tolist() == [[[255, 0, 0], [255] * 3, [0, 0, 255]]]


def test_rgb_with_a_transparent_colour(tmp_path):
    Image.fromarray(np.array([[[9, 9, 9], [1, 2, 3]]], np.uint8)).save(
        tmp_path / "a.png", transparency=(1, 2, 3)
    )
    assert read_image(tmp_path / "a.png").tolist() == [[[9, 9, 9], [255] * 3]]


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_turns_pictures_upright(tmp_path, orientation, upright):
    picture = gradient(16, 32)
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), upright(picture))


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert np.all(read_image(tmp_path / "a.webp") == [255, 0, 0])


def test_missing_and_folder(tmp_path):
    with pytest.raises(UserError, match=r"none\.png does not exist; expected a picture"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UserError, match="is a folder; expected a picture"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "it is empty"), (b"Dear diary,\n", "not a format that is known")]
)
def test_not_a_picture(tmp_path, content, reason):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.png is no picture: {reason}"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif", ".tiff", ".bmp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_cut_short(tmp_path, suffix, share):
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=rf"a\{suffix}"):
        read_image(path)


def test_too_many_pixels(tmp_path, monkeypatch):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    for limit in (3000, 1000):  # Pillow warns above the limit and raises above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UserError, match="too many pixels"):
            read_image(tmp_path / "a.png")


def test_letterbox_centres_on_black():
    wide = letterbox(np.full((50, 100, 3), 200, np.uint8), (64, 64))
    assert wide.shape == (64, 64, 3)
    assert not wide[:16].any() and not wide[48:].any() and np.all(wide[16:48] == 200)
    tall = letterbox(np.full((100, 50, 3), 200, np.uint8), (64, 128))
    assert not tall[:, :48].any() and not tall[:, 80:].any() and np.all(tall[:, 48:80] == 200)


def test_letterbox_keeps_a_picture_of_that_size():
    picture = gradient(24, 40)
    np.testing.assert_array_equal(letterbox(picture, (24, 40)), picture)


def test_letterbox_of_extreme_sides():
    line = letterbox(np.full((1, 1000, 3), 200, np.uint8), (64, 64))
    assert line.shape == (64, 64, 3) and np.all(line.any(axis=(1, 2)).sum() == 1)


@pytest.mark.parametrize("side", [224, 112])
def test_pixels_for_clip(side):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    crop = {"height": side, "width": side}
    processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=crop)
    for shape in ((512, 512), (128, 128), (611, 333), (97, 301), (side, side)):
        picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
        theirs = processor(images=picture, return_tensors="np")["pixel_values"][0]
        np.testing.assert_array_equal(clip_pixels(picture, side), theirs.transpose(1, 2, 0))
