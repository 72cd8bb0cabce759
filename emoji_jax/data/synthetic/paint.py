"""Pillow's drawing with whole meshes, smooth curves and clipping: what features are made of."""

import numpy as np
from jaxtyping import Float, Float64
from PIL import Image, ImageDraw

from emoji_jax.data.synthetic.identity import Colour


class Canvas:
    """A picture to paint on, in pixels; `scale` is the number of pixels of one cm at the face."""

    def __init__(self, image: Image.Image, scale: float):
        """Paints on `image` in place."""
        self.image, self.scale = image, scale
        self._draw = ImageDraw.Draw(image)

    def fill(self, polygon: Float[np.ndarray, "N 2"], colour: Colour) -> None:
        """Fills a polygon."""
        self._draw.polygon(_snap(polygon).ravel().tolist(), fill=ink(colour))

    def line(self, points: Float[np.ndarray, "N 2"], colour: Colour, width: float) -> None:
        """Draws an open line of a width in cm, never thinner than a pixel."""
        pixels = max(1, round(width * self.scale))
        joint = "curve" if pixels > 3 else None
        flat = _snap(points).ravel().tolist()
        self._draw.line(flat, fill=ink(colour), width=pixels, joint=joint)

    def mesh(
        self,
        corners: Float[np.ndarray, "V 3"],
        faces: np.ndarray,
        colours: Float[np.ndarray, "T 3"],
    ) -> None:
        """Fills triangles or quadrangles [T 3|4], the farthest first."""
        order = np.argsort(-corners[:, 2][faces].sum(axis=1), kind="stable")
        outlines = _snap(corners[:, :2])[faces[order]].reshape(len(faces), -1).tolist()
        levels = colours[order].clip(0, 255).astype(int)
        alpha = -0x1000000 if self.image.mode == "RGBA" else 0  # 255 in a signed number
        inks = (levels[:, 0] | levels[:, 1] << 8 | levels[:, 2] << 16 | alpha).tolist()
        polygon = self._draw.draw.draw_polygon  # what ImageDraw.polygon calls after its checks
        for outline, colour in zip(outlines, inks, strict=True):
            polygon(outline, colour, 1)

    def clipped(self, polygon: Float[np.ndarray, "N 2"]) -> "Clip":
        """Returns a canvas for what is seen only inside a polygon; use it with `with`."""
        return Clip(self, polygon)


class Clip(Canvas):
    """A canvas whose paint lands on another one, inside a polygon only, when the `with` ends."""

    def __init__(self, below: Canvas, polygon: np.ndarray):
        """Starts from what is painted already."""
        width, height = below.image.size
        low = np.floor(polygon.min(axis=0)).astype(int).clip(0, [width - 1, height - 1])
        high = np.ceil(polygon.max(axis=0)).astype(int).clip(low, [width - 1, height - 1]) + 1
        self._box = (*low.tolist(), *high.tolist())
        self._below, self._offset = below, low
        super().__init__(below.image.crop(self._box), below.scale)
        self._mask = Image.new("L", self.image.size, 0)
        outline = _snap(polygon - low).ravel().tolist()
        ImageDraw.Draw(self._mask).polygon(outline, fill=255)

    def __enter__(self) -> "Clip":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Puts the paint where it belongs."""
        self._below.image.paste(self.image, self._box, self._mask)

    def fill(self, polygon: Float[np.ndarray, "N 2"], colour: Colour) -> None:
        """Fills a polygon given in the outer canvas's pixels."""
        super().fill(polygon - self._offset, colour)

    def line(self, points: Float[np.ndarray, "N 2"], colour: Colour, width: float) -> None:
        """Draws a line given in the outer canvas's pixels."""
        super().line(points - self._offset, colour, width)


def ink(colour: Colour) -> tuple[int, ...]:
    """Returns the whole numbers that Pillow wants."""
    return tuple(min(255, max(0, int(c))) for c in colour)


def smooth(
    points: Float[np.ndarray, "N D"], steps: int = 3, *, closed: bool = False
) -> Float64[np.ndarray, "M D"]:
    """Returns a Catmull-Rom curve through points, `steps` pieces from each to the next."""
    if closed:
        p = np.concatenate([points[-1:], points, points[:2]])
    else:
        p = np.concatenate([points[:1], points, points[-1:]])
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    t = (np.arange(steps) / steps)[:, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.reshape(-1, points.shape[1])
    return curve if closed else np.concatenate([curve, points[-1:]])


def disc(
    centre: Float[np.ndarray, "2"],
    right: Float[np.ndarray, "2"],
    up: Float[np.ndarray, "2"],
    steps: int = 20,
) -> Float64[np.ndarray, "M 2"]:
    """Returns an ellipse from its centre and two half axes."""
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return centre + np.outer(np.cos(angle), right) + np.outer(np.sin(angle), up)


def _snap(points: np.ndarray) -> np.ndarray:
    """Rounds to 1/8 pixel: the last bits of floating point differ between machines."""
    return np.round(np.asarray(points, np.float64) * 8) / 8
