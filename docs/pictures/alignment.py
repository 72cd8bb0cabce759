"""Makes alignment.webp: one portrait, and a motion brought to its face."""

from pathlib import Path

import numpy as np
from PIL import Image

from emoji_jax.images import read_image
from emoji_jax.landmarks import Detector, Landmarks, align, draw

HERE = Path(__file__).parent
PORTRAIT = HERE.parent.parent / "tests" / "golden" / "landmarks" / "astronaut.jpg"
FRAMES = 48
# Chin and lower lip, and how far they go down when the mouth opens.
JAW = {
    **dict.fromkeys((152, 148, 377, 176, 400, 175, 199, 200), 1.0),
    **dict.fromkeys((14, 87, 317, 178, 402, 88, 318, 95, 324, 17, 84, 314), 0.9),
}


def turned(face: Landmarks, phase: np.ndarray) -> Landmarks:
    """The face looking round once, its mouth opening twice."""
    yaw, roll = 0.45 * np.sin(phase), 0.15 * np.sin(phase + 1)
    vertices = np.repeat(face.vertices, len(phase), 0)
    for point, weight in JAW.items():
        vertices[:, point, 1] -= 1.6 * weight * (0.5 - 0.5 * np.cos(2 * phase))
    pose = np.repeat(face.pose, len(phase), 0)
    for i, (y, r) in enumerate(zip(yaw, roll, strict=True)):
        about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
        about_z = [[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]]
        pose[i, :3, :3] = np.array(about_z) @ np.array(about_y) @ pose[i, :3, :3]
    return Landmarks(
        points=np.repeat(face.points, len(phase), 0),
        vertices=vertices,
        pose=pose,
        blendshapes=np.repeat(face.blendshapes, len(phase), 0),
        size=face.size,
        times=np.arange(len(phase)) / 24,
    )


def main() -> None:
    """Draws and saves the animation."""
    whole = Image.fromarray(read_image(PORTRAIT))
    portrait = np.array(whole.crop((75, 0, 275, 200)).resize((280, 280), Image.Resampling.LANCZOS))
    with Detector() as detector:
        face = detector.detect(portrait)
    motion = turned(face, np.linspace(0, 2 * np.pi, FRAMES, endpoint=False))
    pictures = draw(align(face, motion, neutral=0), face.size, pupil_radius=2)
    frames = []
    for picture in pictures:
        lit = picture.any(-1, keepdims=True)
        over = np.where(lit, picture, portrait // 3 * 2)
        frames.append(Image.fromarray(np.concatenate([portrait, over, picture], 1)))
    first, *rest = frames
    first.save(
        HERE / "alignment.webp",
        save_all=True,
        append_images=rest,
        duration=42,
        loop=0,
        quality=60,
        method=6,
    )


if __name__ == "__main__":
    main()
