"""Still pictures: PNG, JPEG, WebP and others that Pillow reads, as RGB bytes."""

import contextlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from emoji_jax.errors import UserError

Picture = UInt8[np.ndarray, "H W 3"]

# Of CLIP's training pictures (arXiv 2103.00020).
_CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
_CLIP_DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
# What becomes of every level of every channel.
_CLIP_LEVELS = (
    (np.arange(256) * (1 / 255))[:, None].astype(np.float32) - _CLIP_MEAN
) / _CLIP_DEVIATION


# What is read. Of Pillow's other formats EPS would start another program, and few have any use.
_FORMATS = (
    *("AVIF", "BMP", "DDS", "DIB", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM"),
    *("PSD", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP", "XBM"),
)
# What Pillow's many decoders raise on files that are not as they should be.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError),
    *(OverflowError, struct.error, zlib.error),
)


def read_image(path: str | Path) -> Picture:
    """A picture as RGB, upright as its EXIF says, transparency on white.

    Greyscale, palette and CMYK are converted, 16 bits scaled to 8, as are floats up to 1. Of an
    animation, the first frame.

    Raises:
      UserError: missing, empty, cut short, too large, not a picture, or of levels that are no
        numbers (NaN).
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {what}; expected a picture (PNG, JPEG, WebP, …)")
    try:
        with opened(path) as image:
            return to_rgb(image)
    except UnidentifiedImageError:
        empty = "it is empty" if not path.stat().st_size else "not a format that is known here"
        raise UserError(f"{path} is no picture: {empty}; expected PNG, JPEG, WebP, …") from None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A file as Pillow sees it.

    Raises:
      UnidentifiedImageError: not a picture.
      UserError: cut short or too large, noticed now or while it is being decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=_FORMATS)
        with image:
            yield image
    except UnidentifiedImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UserError(f"{path} has too many pixels; expected at most 89 million") from None
    except _DAMAGE as error:
        raise UserError(f"{path} can't be read: {error}; is it whole?") from None


def from_pillow(image: Image.Image) -> Picture:
    """Somebody's Pillow image as RGB; see `read_image`.

    Raises:
      UserError: it can't be read, is closed, or is nothing.
    """
    try:
        picture = to_rgb(image)
    except _DAMAGE as error:
        raise UserError(f"the picture can't be read: {error}; is it whole?") from None
    if not picture.size:
        raise UserError("the picture has no pixels")
    return picture


def to_rgb(image: Image.Image) -> Picture:
    """A Pillow image as RGB; see `read_image`."""
    name = getattr(image, "filename", "") or "the picture"
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.asarray(image).astype(np.float64)
        if not np.isfinite(levels).all():
            raise UserError(f"{name} has levels that are no numbers (NaN or infinite)")
        # Pillow hands out 16-bit greyscale in several modes, none of which it converts rightly.
        if image.mode == "F":
            levels = levels * 255 if levels.max() <= 1 else levels
        elif levels.max() > 255 or image.mode.startswith("I;16"):
            levels = levels / 257
        image = Image.fromarray(np.clip(np.round(levels), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def to_unit(
    picture: UInt8[np.ndarray, "*F H W 3"], *, release: bool = False
) -> Float32[np.ndarray, "*F H W 3"]:
    """Levels as numbers from -1 to 1; the released code's way there loses a level of dark ones."""
    levels = picture.astype(np.float32)
    if release:
        levels = np.where((levels >= 1) & (levels <= 63), levels - 1, levels)
    return levels / np.float32(127.5) - 1


def letterbox(picture: Picture, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Fits a picture into a size without cutting or stretching; what is left over is black.

    Pixel for pixel as the released code does it: bicubic, sides rounded down.

    Args:
      picture: RGB.
      size: height and width wanted.
    """
    height, width = size
    h, w = picture.shape[:2]
    scale = min(width / w, height / h)
    image = Image.fromarray(picture)
    if (h, w) != (height, width):
        # In two steps: which side Pillow resizes first, and so rounds, depends on its version.
        image = image.resize((max(int(w * scale), 1), h))
        image = image.resize((image.width, max(int(h * scale), 1)))
    left, top = image.width // 2 - width // 2, image.height // 2 - height // 2
    return np.array(image.crop((left, top, left + width, top + height)))


def cut_out(
    picture: Picture, corner: tuple[int, int], extent: tuple[int, int], size: tuple[int, int]
) -> UInt8[np.ndarray, "height width 3"]:
    """Cuts a rectangle out and resizes it; what lies outside repeats the picture's edge.

    Args:
      picture: RGB.
      corner: left and top, which may be negative.
      extent: height and width of the rectangle.
      size: height and width wanted.
    """
    left, top = corner
    rows = np.arange(top, top + extent[0]).clip(0, picture.shape[0] - 1)
    columns = np.arange(left, left + extent[1]).clip(0, picture.shape[1] - 1)
    if rows[-1] - rows[0] == extent[0] - 1 and columns[-1] - columns[0] == extent[1] - 1:
        part = picture[top : top + extent[0], left : left + extent[1]]  # all of it inside
    else:
        part = picture[rows[:, None], columns]
    if extent == size:
        return np.ascontiguousarray(part)
    return np.array(Image.fromarray(part).resize((size[1], size[0]), Image.Resampling.LANCZOS))


def clip_pixels(picture: Picture, side: int) -> Float[np.ndarray, "P P 3"]:
    """A picture as CLIP's vision tower wants it: resized, cropped to a square, normalised.

    Bit for bit what transformers' `CLIPImageProcessorPil` makes, which takes seconds to import.

    Args:
      picture: RGB.
      side: P, the tower's `image_size`.
    """
    height, width = picture.shape[:2]
    short = min(height, width)
    size = (int(side * width / short), int(side * height / short))
    image = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    levels = np.asarray(image)[top : top + side, left : left + side]
    return _CLIP_LEVELS[levels, np.arange(3)]
