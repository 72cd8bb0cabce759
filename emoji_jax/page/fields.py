"""The options of the page, as fields: which, in which section, within which bounds."""

import dataclasses
import re
from typing import Any

import ml_collections

from emoji_jax.diffusion import SAMPLERS


@dataclasses.dataclass(frozen=True)
class Field:
    """One option.

    Attributes:
      name: of the option, as the command line has it after `--config.`.
      label: what it is called on the page.
      told: what it does, in a few words.
      slider: least value, greatest, and step.
      choices: what can be chosen: shown, meant.
      tick: whether it is a box to tick. What is none of these is typed, so that a mistake is told
        in the words of the command line.
    """

    name: str
    label: str
    told: str = ""
    slider: tuple[int | float, int | float, int | float] | None = None
    choices: tuple[tuple[str, str], ...] = ()
    tick: bool = False

    def default(self, config: ml_collections.ConfigDict) -> Any:
        """The value that it has before anybody touches it."""
        group, _, option = self.name.rpartition(".")
        value = (config[group] if group else config)[option]
        if self.slider or self.choices or self.tick:
            return value
        return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

    def cell(self, value: Any) -> tuple[str, str] | None:
        """Name and value as `pairs.configured` takes them; None where the field is empty."""
        if self.tick:
            return self.name, str(bool(value)).lower()
        if self.choices:
            return self.name, str(value or "")
        if value is None or not str(value).strip():
            return None
        # A slider's whole numbers come as floats.
        return self.name, f"{value:.12g}" if isinstance(value, int | float) else str(value).strip()


_STRENGTH = (-1.0, 3.0, 0.05)

SECTIONS: dict[str, tuple[Field, ...]] = {
    "Strength": (
        Field("controls.expression", "Expression", "all of the face", _STRENGTH),
        Field("controls.eyes", "Eyes", "lids", _STRENGTH),
        Field("controls.brows", "Brows", "", _STRENGTH),
        Field("controls.mouth", "Mouth", "lips and jaw", _STRENGTH),
        Field("controls.gaze", "Gaze", "pupils", _STRENGTH),
        Field("controls.rotation", "Head turning", "", _STRENGTH),
        Field("controls.translation", "Head moving", "through the picture", _STRENGTH),
    ),
    "Time": (
        Field("motion.start", "Start", "second of the motion to begin at"),
        Field("motion.end", "End", "second to stop at; empty: its end"),
        Field("motion.frames", "Frames", "at most, of a built-in motion exactly; empty: all"),
        Field("motion.fps", "Frames per second", "empty: the motion's own"),
        Field("motion.speed", "Speed", "2 is twice as fast", (0.25, 4.0, 0.05)),
        Field("motion.loop", "Repeat", "times in all", (1, 10, 1)),
        Field("motion.smooth", "Smooth", "against jitter: cut-off in Hz, 0 none", (0.0, 10.0, 0.1)),
    ),
    "Driver": (
        Field(
            "motion.only",
            "Take over",
            choices=(("everything", ""), ("expression", "expression"), ("head pose", "pose")),
        ),
        Field(
            "motion.head_pose",
            "Head pose",
            "relative to the first frame, or as in the driver's picture",
            choices=tuple((name, name) for name in ("auto", "relative", "absolute")),
        ),
        Field("motion.face", "Face", "largest, leftmost or its number from the left"),
        Field("motion.neutral", "Neutral frame", "auto, average or a frame's number"),
        Field("motion.max_gap", "Gap", "frames in a row without a face", (0, 60, 1)),
        Field("motion.frame_rate", "Rate", "frames per second of a driver that does not say"),
    ),
    "Portrait": (
        Field("framing.face", "Face", "largest, leftmost, all, or a number"),
        Field("framing.face_height", "Face height", "as part of the crop's", (0.05, 0.9, 0.05)),
        Field(
            "framing.mode",
            "Framing",
            choices=(("around the face", "crop"), ("whole picture", "letterbox")),
        ),
        Field("framing.paste", "Back into the whole picture", tick=True),
        Field("framing.seam", "Seam", "as part of the crop's sides", (0.0, 0.5, 0.02)),
    ),
    "Quality": (
        Field("sampler.steps", "Steps", "0: the checkpoint's own", (0, 50, 1)),
        Field("sampler.guidance_scale", "Guidance", "empty: the checkpoint's own"),
        Field(
            "sampler.name",
            "Sampler",
            choices=(("checkpoint's own", ""), *((name, name) for name in SAMPLERS)),
        ),
        Field(
            "sampler.long_video",
            "Long videos",
            choices=(
                ("checkpoint's own", ""),
                ("progressive", "progressive"),
                ("overlap", "overlap"),
            ),
        ),
        Field("sampler.keep", "Keep detail", "0 to 1; empty: the checkpoint's own"),
        Field("seed", "Seed", "same seed, same frames"),
    ),
}
FIELDS = tuple(field for fields in SECTIONS.values() for field in fields)


def cells(values: tuple[Any, ...]) -> tuple[tuple[str, str], ...]:
    """What all fields say, for `pairs.configured`; what is empty is left open."""
    each = (field.cell(value) for field, value in zip(FIELDS, values, strict=True))
    return tuple(cell for cell in each if cell)


def section_of(message: str) -> str | None:
    """The section with the option that a message names first, if it names any."""
    message = message.replace("config.", "")
    named = {
        found.start(): title
        for title, fields in SECTIONS.items()
        for field in fields
        if (found := re.search(rf"(?<![\w.]){re.escape(field.name)}\b", message))
    }
    return named[min(named)] if named else None
