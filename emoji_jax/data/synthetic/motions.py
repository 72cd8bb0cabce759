"""Motions: 18 exaggerated expressions by name (arXiv 2406.01900, section 4.1), and random ones."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float64

from emoji_jax.data.synthetic.expression import CONTROLS, HEAD, Expression
from emoji_jax.data.synthetic.rig import ramp

Time = Float64[np.ndarray, " F"]
"""From 0 at the start of a motion to 1 at its end."""


def hold(t: Time, start: float = 0.0, end: float = 1.0, ease: float = 0.25) -> Time:
    """Returns a curve that eases from 0 to 1, holds, and eases back, between two times."""
    width = ease * (end - start)
    return ramp(start, start + width, t) * ramp(end, end - width, t)


def swing(t: Time, cycles: float | int = 1.0) -> Time:
    """Returns a sine that begins and ends at rest."""
    return np.sin(2 * np.pi * cycles * t) * hold(t, ease=0.2)


def _pair(name: str, value: Time) -> dict[str, Time]:
    return {f"{name}_left": value, f"{name}_right": value}


def _wink(t: Time) -> Expression:
    on = hold(t, 0.1, 0.9)
    return Expression(
        **dict(blink_left=on, squint_left=0.8 * on, smile_left=0.8 * on, smile_right=0.2 * on),
        **dict(brow_down_left=0.3 * on, brow_up_right=0.4 * on, mouth_side=0.25 * on),
        **dict(roll=-7 * on, yaw=4 * on),
    )


def _smile(t: Time) -> Expression:
    on = hold(t)
    return Expression(
        **_pair("smile", on), **_pair("squint", 0.5 * on), **_pair("upper_up", 0.4 * on),
        lower_down=0.25 * on, jaw_open=0.08 * on, roll=4 * on,
    )  # fmt: skip


def _laugh(t: Time) -> Expression:
    on = hold(t)
    shake = 0.5 + 0.5 * np.sin(2 * np.pi * 5 * t)
    return Expression(
        **_pair("smile", on), **_pair("squint", on), **_pair("upper_up", 0.6 * on),
        **_pair("blink", 0.45 * on), jaw_open=on * (0.5 + 0.3 * shake), lower_down=0.3 * on,
        pitch=on * (8 + 3 * shake), shift_y=0.3 * on * shake,
    )  # fmt: skip


def _surprise(t: Time) -> Expression:
    on = hold(t, ease=0.18)
    return Expression(
        **_pair("wide", on), **_pair("brow_up", on), brow_inner_up=on, jaw_open=0.75 * on,
        funnel=0.55 * on, pitch=4 * on, zoom=0.04 * on,
    )  # fmt: skip


def _anger(t: Time) -> Expression:
    on = hold(t)
    return Expression(
        **_pair("brow_down", on), **_pair("sneer", 0.6 * on), **_pair("squint", 0.4 * on),
        **_pair("frown", 0.5 * on), press=0.8 * on, pitch=-7 * on, yaw=3 * swing(t, 3),
    )  # fmt: skip


def _sadness(t: Time) -> Expression:
    on = hold(t)
    return Expression(
        **_pair("frown", on), **_pair("blink", 0.25 * on), brow_inner_up=on, lower_out=0.5 * on,
        gaze_y=-0.7 * on, pitch=-9 * on, roll=5 * on,
    )  # fmt: skip


def _disgust(t: Time) -> Expression:
    on = hold(t)
    return Expression(
        **_pair("sneer", on), **_pair("brow_down", 0.7 * on), **_pair("squint", 0.8 * on),
        upper_up_right=on, upper_up_left=0.5 * on, **_pair("frown", 0.4 * on), lower_down=0.3 * on,
        yaw=-10 * on, pitch=4 * on,
    )  # fmt: skip


def _fear(t: Time) -> Expression:
    on = hold(t)
    tremble = on * np.sin(2 * np.pi * 9 * t)
    return Expression(
        **_pair("wide", on), **_pair("stretch", on), **_pair("brow_up", 0.3 * on),
        brow_inner_up=on, jaw_open=0.3 * on, lower_down=0.6 * on, pitch=-3 * on,
        yaw=1.2 * tremble, zoom=-0.05 * on,
    )  # fmt: skip


def _kiss(t: Time) -> Expression:
    on = hold(t, 0.0, 0.95)
    return Expression(
        **_pair("blink", on * ramp(0.2, 0.4, t)), pucker=on, pitch=3 * on, zoom=0.06 * on,
        roll=-5 * on,
    )  # fmt: skip


def _pout(t: Time) -> Expression:
    on = hold(t)
    return Expression(
        **_pair("frown", 0.6 * on), **_pair("brow_down", 0.5 * on), lower_out=on, pucker=0.4 * on,
        brow_inner_up=0.4 * on, pitch=-6 * on,
    )  # fmt: skip


def _gaze_left_right(t: Time) -> Expression:
    return Expression(gaze_x=swing(t, 1.0), yaw=3 * swing(t, 1.0))


def _gaze_up_down(t: Time) -> Expression:
    look = swing(t, 1.0)
    return Expression(gaze_y=look, brow_inner_up=0.4 * look.clip(0), pitch=3 * look)


def _blink(t: Time) -> Expression:
    on = np.sum([hold(t, at, at + 0.22, 0.4) for at in (0.1, 0.4, 0.7)], axis=0)
    return Expression(**_pair("blink", on), **_pair("squint", 0.2 * on))


def _brows_raise(t: Time) -> Expression:
    on = hold(t, 0.0, 0.5, 0.3) + hold(t, 0.5, 1.0, 0.3)
    return Expression(**_pair("brow_up", on), brow_inner_up=on, **_pair("wide", 0.35 * on))


def _mouth_open(t: Time) -> Expression:
    on = hold(t)
    return Expression(
        jaw_open=on, lower_down=0.3 * on, **_pair("upper_up", 0.2 * on), tongue=0.7 * on
    )


def _grimace(t: Time) -> Expression:
    on = hold(t)
    return Expression(
        **_pair("stretch", on), **_pair("upper_up", on), lower_down=on, jaw_open=0.05 * on,
        **_pair("squint", 0.7 * on), **_pair("sneer", 0.4 * on), **_pair("brow_down", 0.3 * on),
    )  # fmt: skip


def _cheek_puff(t: Time) -> Expression:
    on = hold(t)
    return Expression(
        cheek_puff=on, press=0.5 * on, pucker=0.35 * on, **_pair("wide", 0.5 * on),
        mouth_side=0.5 * swing(t, 2), **_pair("brow_up", 0.4 * on),
    )  # fmt: skip


def _head_shake(t: Time) -> Expression:
    on = hold(t)
    return Expression(
        yaw=22 * swing(t, 2), gaze_x=-0.5 * swing(t, 2), press=0.4 * on, **_pair("frown", 0.4 * on),
        **_pair("brow_down", 0.4 * on), mouth_side=0.6 * on,
    )  # fmt: skip


EXPRESSIONS: dict[str, Callable[[Time], Expression]] = {
    "anger": _anger,
    "blink": _blink,
    "brows_raise": _brows_raise,
    "cheek_puff": _cheek_puff,
    "disgust": _disgust,
    "fear": _fear,
    "gaze_left_right": _gaze_left_right,
    "gaze_up_down": _gaze_up_down,
    "grimace": _grimace,
    "head_shake": _head_shake,
    "kiss": _kiss,
    "laugh": _laugh,
    "mouth_open": _mouth_open,
    "pout": _pout,
    "sadness": _sadness,
    "smile": _smile,
    "surprise": _surprise,
    "wink": _wink,
}
"""The 18 exaggerated expressions: each begins and ends at rest."""


def vary(
    expression: Expression, t: Time, rng: np.random.Generator, *, amount: float = 1.0
) -> Expression:
    """Returns another person's version: stronger here, weaker there, perhaps mirrored, and alive.

    What is at rest stays at rest at both ends.
    """
    array = expression.array(len(t))
    array = array * rng.uniform(1 - 0.25 * amount, 1 + 0.1 * amount, array.shape[1])
    if rng.uniform() < 0.5:
        array = mirrored(array)
    life = Expression(
        yaw=5 * amount * wander(t, rng), pitch=4 * amount * wander(t, rng),
        roll=4 * amount * wander(t, rng), gaze_x=0.15 * wander(t, rng),
    )  # fmt: skip
    return Expression.of(array + life.array() * hold(t, ease=0.2)[:, None])


def mirrored(array: Float[np.ndarray, "F C"]) -> Float64[np.ndarray, "F C"]:
    """Returns controls with left and right exchanged."""
    result = array.copy()
    for i, name in enumerate(CONTROLS):
        if name.endswith("_left"):
            j = CONTROLS.index(name.replace("_left", "_right"))
            result[:, [i, j]] = array[:, [j, i]]
        elif name in ("jaw_side", "mouth_side", "gaze_x", "yaw", "roll", "shift_x"):
            result[:, i] = -array[:, i]
    return result


def wander(t: Time, rng: np.random.Generator, *, cycles: float | int = 2.0) -> Time:
    """Returns smooth random motion, mostly within -1 and 1, with at most so many cycles."""
    speed, phase = rng.uniform(0.2 * cycles, cycles, 3), rng.uniform(0, 2 * np.pi, 3)
    size = rng.dirichlet(np.ones(3))
    return 1.3 * (np.sin(2 * np.pi * speed * t[:, None] + phase) * size).sum(axis=1)


def random_motion(frames: int, rng: np.random.Generator) -> Expression:
    """Returns a random clip's controls: a moving head, blinks, glances, speech and expressions.

    Every kind is rest in some clips and strong in others, so that no two of them go together.
    """
    t = np.linspace(0, 1, frames)
    total = np.zeros((frames, len(CONTROLS)))

    def add(**controls: np.ndarray) -> None:
        for name, values in controls.items():
            total[:, CONTROLS.index(name)] += values

    calm = rng.uniform(0.15, 1.0, len(HEAD))
    start = rng.uniform(-1, 1, len(HEAD)) * calm
    for name, reach, where, much in zip(
        HEAD, (25, 14, 14, 0.9, 0.7, 0.06), start, calm, strict=True
    ):
        path = where + 0.9 * much * wander(t, rng)
        add(**{name: reach * path.clip(-1, 1)})
    # Glances: steps between places, quick as eyes are.
    if rng.uniform() < 0.8:
        times = np.sort(rng.uniform(0, 1, int(rng.integers(1, 4))))
        for name, reach in (("gaze_x", 0.9), ("gaze_y", 0.7)):
            places = reach * rng.uniform(-1, 1, len(times) + 1)
            steps = [
                ramp(at, at + 0.08, t) * s for at, s in zip(times, np.diff(places), strict=True)
            ]
            add(**{name: places[0] + sum(steps)})
    for _ in range(int(rng.integers(0, 3))):
        at, length = rng.uniform(-0.1, 1.0), rng.uniform(0.12, 0.3)
        add(**_pair("blink", hold(t, at, at + length, 0.4)))
    if rng.uniform() < 0.6:
        # Speech: syllables open the jaw, vowels round or widen the lips.
        loud = rng.uniform(0.25, 0.8)
        opened = (0.5 + 0.8 * wander(t, rng, cycles=6.0)).clip(0, 1)
        vowel = wander(t, rng, cycles=3.0)
        add(
            jaw_open=loud * opened, funnel=loud * vowel.clip(0), press=0.4 * (opened < 0.05),
            **_pair("stretch", 0.5 * loud * (-vowel).clip(0)),
            lower_down=0.4 * loud * opened, **_pair("upper_up", 0.2 * loud * opened),
        )  # fmt: skip
    names = list(EXPRESSIONS)
    for _ in range(int(rng.integers(1, 4))):
        expression = EXPRESSIONS[names[int(rng.integers(len(names)))]]
        # Some clips begin or end in the middle of it.
        start, length = rng.uniform(-0.6, 0.7), rng.uniform(0.5, 1.4)
        part = expression(((t - start) / length).clip(0, 1)).array()
        part[:, [CONTROLS.index(name) for name in HEAD]] *= 0.5
        total += rng.uniform(0.5, 1.1) * (mirrored(part) if rng.uniform() < 0.5 else part)
    # Now and then one control by itself: what no named expression does.
    for _ in range(int(rng.integers(0, 4))):
        i = int(rng.integers(len(CONTROLS) - len(HEAD)))
        total[:, i] += rng.uniform(0.3, 1.0) * wander(t, rng).clip(0)
    return Expression.of(total)
