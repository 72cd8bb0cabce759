"""Paints a synthetic person: meshes back to front with Pillow, features as polygons on top."""

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageFilter

from emoji_jax.data.synthetic import body, features, head, rig
from emoji_jax.data.synthetic.backdrop import backdrop, grain
from emoji_jax.data.synthetic.expression import CONTROLS, Expression
from emoji_jax.data.synthetic.identity import Colour, Identity, mix, neutral
from emoji_jax.data.synthetic.paint import Canvas
from emoji_jax.data.synthetic.surface import Surface, shade

_OVERSAMPLE = 2
_SOFT = 0.32  # cm: over how much the facets of skin are blurred


class Painter:
    """Paints one person, frame by frame; what does not change is prepared once."""

    def __init__(self, identity: Identity, size: tuple[int, int]):
        """Prepares to paint pictures of `size` (height, width)."""
        self._identity = identity
        self._size = (_OVERSAMPLE * size[0], _OVERSAMPLE * size[1])
        self._scale = head.focal(identity.cover) * self._size[0] / head.DISTANCE
        ground = backdrop(identity, self._size)
        self._grain = None
        if identity.style == "stone":
            # The grain is that of the stone: taken from the background, it is not seen there.
            self._grain = grain(identity, size)
            fine = self._grain.repeat(_OVERSAMPLE, axis=0).repeat(_OVERSAMPLE, axis=1)
            ground = (ground / fine).clip(0, 255).astype(np.uint8)
        self._backdrop = Image.fromarray(ground)

        face = neutral(identity)
        self._skin = Surface(head.skull_faces(), body.skin_albedo(identity))
        # What moves with the head but not with the face.
        parts = {f"ear{side}": head.ear(side, identity) for side in (-1, 1)}
        self._shells = {}
        for name, shell in (("hair", head.shell(identity)), ("hat", head.hat(identity))):
            if shell is not None:
                parts[name] = shell.reshape(-1, 3)
                kept = np.tile(head.seen_columns(identity) | (name == "hat"), len(shell) - 1)
                colours = body.strands(identity, name, len(shell))
                self._shells[name] = Surface(head.shell_faces(len(shell))[kept], colours[kept])
        if identity.glasses != "none":
            parts["glasses"] = features.glasses(face, identity.glasses)
        if identity.hair in ("bun", "pigtails"):
            parts["balls"] = body.BALLS[identity.hair]
        self._parts = parts
        self._mouth = features.teeth_and_tongue(face)

    def paint(
        self,
        points: Float64[np.ndarray, "478 3"],
        rotation: Float64[np.ndarray, "3 3"],
        shift: Float64[np.ndarray, "3"],
        controls: Float64[np.ndarray, " C"],
    ) -> UInt8[np.ndarray, "H W 3"]:
        """Paints one frame.

        Args:
          points: mesh and irises before the head is turned (`rig.deform`).
          rotation: of the head (`head.turn`).
          shift: of the head.
          controls: one row of `Expression.array`.
        """
        identity = self._identity
        control = dict(zip(CONTROLS, controls.tolist(), strict=True))
        mouth = self._mouth.copy()
        mouth[26:] += rig.jaw(mouth[26:], control["jaw_open"], control["jaw_side"])
        parts = {
            "skin": np.concatenate([points[:468], head.skull(points[:468])]),
            "irises": points[468:],
            "mouth": mouth,
            **self._parts,
        }
        ends = np.cumsum([len(part) for part in parts.values()])[:-1]
        stack = np.concatenate(list(parts.values())) @ rotation.T + shift
        pixels = head.look(stack, identity.cover, self._size)
        space = dict(zip(parts, np.split(stack, ends), strict=True))
        seen = dict(zip(parts, np.split(pixels, ends), strict=True))
        flat = {name: part[:, :2] for name, part in seen.items()}

        image = self._backdrop.copy()
        canvas = Canvas(image, self._scale * np.exp(control["zoom"]))
        fronts = {name: shell.front(seen[name]) for name, shell in self._shells.items()}
        for name, front in fronts.items():
            self._shell(canvas, name, space[name], seen[name], ~front, inside=True)
        body.shoulders(canvas, flat["skin"], identity, self._size, self._scale, shift)
        towards = {side: (rotation @ [0.65 * side, 0, 0.75])[2] for side in (-1, 1)}
        for side in (-1, 1):
            body.ear(canvas, flat[f"ear{side}"], identity, side)
        if "balls" in seen:
            body.balls(canvas, seen["balls"], identity, front=False)
        self._head(canvas, space["skin"], seen["skin"])

        face = np.concatenate([flat["skin"][:468], flat["irises"]])
        features.nose(canvas, face, identity)
        if identity.freckles:
            features.freckles(canvas, face, identity)
        features.mouth(canvas, face, flat["mouth"], identity, tongue_out=control["tongue"])
        for side in ("right", "left"):
            features.eye(canvas, face, identity, side)
        features.brows(canvas, face, identity)
        for side, nearness in towards.items():
            if nearness > 0.85:
                body.ear(canvas, flat[f"ear{side}"], identity, side)
        if "glasses" in flat:
            features.draw_glasses(canvas, flat["glasses"], identity)
        for name, front in fronts.items():
            self._shell(canvas, name, space[name], seen[name], front, inside=False)
        if "balls" in seen:
            body.balls(canvas, seen["balls"], identity, front=True)
        picture = np.asarray(image.reduce(_OVERSAMPLE))
        if self._grain is not None:
            picture = (picture * self._grain).clip(0, 255).astype(np.uint8)
        return picture

    def _head(self, canvas: Canvas, space: np.ndarray, seen: np.ndarray) -> None:
        """Paints face and skull, and blurs the facets away inside their outline."""
        identity, surface = self._identity, self._skin
        front = surface.front(seen)
        tint, light = shade(surface.normals(space)[front], identity, shine=0.10)
        colours = surface.albedo[front] * tint + light
        # Painted over, so that of the folds of lids and lips no line is left, but of the nose.
        edges, line = surface.outline(front), self._line(identity.skin)
        self._rim(canvas, seen, edges, line, 2.0)
        last = np.array(self._size[::-1]) - 1
        low = np.floor(seen[:, :2].min(axis=0)).clip(0, last).astype(int)
        high = np.ceil(seen[:, :2].max(axis=0)).astype(int) + 1
        high = high.clip(low + 1, last + 1)
        base = Image.new("RGBA", tuple((high - low).tolist()), (*_ink(identity.skin), 0))
        Canvas(base, canvas.scale).mesh(seen - [*low, 0], surface.faces[front], colours)
        soft = base.convert("RGB").filter(ImageFilter.BoxBlur(max(1, round(_SOFT * canvas.scale))))
        canvas.image.paste(soft, tuple(low.tolist()), base.getchannel("A"))
        self._rim(canvas, seen, edges[_NOSE[edges].all(axis=1)], line)

    def _shell(
        self,
        canvas: Canvas,
        name: str,
        space: np.ndarray,
        seen: np.ndarray,
        shown: np.ndarray,
        *,
        inside: bool,
    ) -> None:
        """Paints those faces of hair or hat that are `shown`, seen from outside or `inside`."""
        surface = self._shells[name]
        normals = surface.normals(space)[shown]
        tint, light = shade(-normals if inside else normals, self._identity, shine=0.12)
        colours = surface.albedo[shown] * tint * (0.66 if inside else 1) + (not inside) * light
        colour = self._identity.hair_colour if name == "hair" else self._identity.hat_colour
        # Painted over: see `_head`.
        self._rim(canvas, seen, surface.outline(shown), self._line(colour), 2.5)
        canvas.mesh(seen, surface.faces[shown], colours)

    def _rim(
        self,
        canvas: Canvas,
        seen: np.ndarray,
        edges: np.ndarray,
        colour: Colour,
        width: float = 1.0,
    ) -> None:
        """Draws edges [E 2] of a surface as its outline, in styles that have outlines."""
        if self._identity.outline and self._identity.style != "shaded":
            for edge in seen[edges][:, :, :2]:
                canvas.line(edge, colour, width * self._identity.outline)

    def _line(self, colour: Colour) -> Colour:
        """Returns the colour of an outline around a colour."""
        if self._identity.style == "line":
            return self._identity.brow_colour
        return mix(features.dark(colour, 0.45), (30, 20, 24), 0.3)


def _nose() -> np.ndarray:
    """Returns which vertices of face and skull are the nose's [V]."""
    face, _ = rig.mesh()
    x, y, z = np.abs(face[:, 0]), face[:, 1], face[:, 2]
    nose = (x < 2.4) & (y > -2.4) & (y < 2.2) & (z > 4.4)
    return np.concatenate([nose, np.zeros(len(head.skull(face)), bool)])


_NOSE = _nose()


def _ink(colour: Colour) -> tuple[int, ...]:
    return tuple(int(c) for c in colour)


def render(
    identity: Identity, expression: Expression, size: tuple[int, int]
) -> UInt8[np.ndarray, "F H W 3"]:
    """Paints a person through F frames of an expression, in pictures of `size` (height, width)."""
    controls = expression.array()
    points = rig.deform(neutral(identity), expression, iris=identity.iris)
    rotation, shift = head.turn(expression)
    painter = Painter(identity, size)
    frames = zip(points, rotation, shift, controls, strict=True)
    return np.stack([painter.paint(*frame) for frame in frames])
