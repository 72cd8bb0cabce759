"""Samplers by their mathematics: exact on cases with a known answer."""

import numpy as np
import pytest

from emoji_jax import diffusion


def gaussian(name: str, steps: int, spread: float, *, zero_terminal_snr: bool) -> float:
    """Where a sampler takes x = 1.3 if the data are normal with the given standard deviation.

    The best prediction is then known, and so is the flow: x keeps its place in units of its
    standard deviation.
    """
    schedule = diffusion.schedule(zero_terminal_snr=zero_terminal_snr)
    table = diffusion.SAMPLERS[name](schedule, steps)
    x, before = 1.3, (0.0, 0.0)
    for t, row in zip(table.t, table.rows().astype(np.float64), strict=True):
        alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
        variance = alpha**2 * spread**2 + sigma**2
        x0, eps = alpha * spread**2 * x / variance, sigma * x / variance
        x, before = diffusion.update(tuple(row), x, alpha * eps - sigma * x0, before)
    return x


def truth(spread: float, *, zero_terminal_snr: bool) -> float:
    schedule = diffusion.schedule(zero_terminal_snr=zero_terminal_snr)
    alpha, sigma = float(schedule.alpha[-1]), float(schedule.sigma[-1])
    return 1.3 * spread / np.sqrt(alpha**2 * spread**2 + sigma**2)


@pytest.mark.parametrize("name", sorted(diffusion.SAMPLERS))
@pytest.mark.parametrize("zero_terminal_snr", [True, False])
def test_converges_to_the_flow(name, zero_terminal_snr):
    expected = truth(0.7, zero_terminal_snr=zero_terminal_snr)
    errors = [
        abs(gaussian(name, steps, 0.7, zero_terminal_snr=zero_terminal_snr) - expected)
        for steps in (10, 40, 250)
    ]
    assert errors[0] > errors[1] > errors[2]
    # DDIM is of first order and misses timesteps by one; DPM-Solver++ is better.
    assert errors[2] < {"dpmpp_2m": 5e-3, "unipc": 5e-3}.get(name, 1e-2)


def test_consistency_sampling_ends_where_paths_do():
    """Whatever the steps, if the networks tell the end of a path from any point of it."""
    schedule, spread = diffusion.schedule(), 0.7
    for steps in (1, 2, 4, 8):
        table, x, ends = diffusion.lcm(schedule, steps), 1.3, []
        for t, row in zip(table.t, table.rows().astype(np.float64), strict=True):
            alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
            ends.append(x * spread / np.hypot(alpha * spread, sigma))
            x, _ = diffusion.update(tuple(row), x, (alpha * x - ends[-1]) / sigma, (0.0, 0.0))
        assert ends[0] == pytest.approx(truth(spread, zero_terminal_snr=True))
        assert x == pytest.approx(ends[-1], abs=1e-6)


def test_dpm_solver_halves_the_error():
    """Not more: its last step, from the first trailing timestep to clean, is of first order."""
    expected = truth(0.7, zero_terminal_snr=False)
    first, second = (
        abs(gaussian(name, 20, 0.7, zero_terminal_snr=False) - expected)
        for name in ("ddim", "dpmpp_2m")
    )
    assert second < first / 2


@pytest.mark.parametrize("name", sorted(diffusion.SAMPLERS))
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 30, 50])
def test_a_point_is_found_whatever_the_steps(name, steps):
    """If the data are one point the prediction is that point, and every sampler must end there."""
    schedule = diffusion.schedule()
    table = diffusion.SAMPLERS[name](schedule, steps)
    assert all(np.isfinite(column).all() for column in table.rows().T)
    x, before, point = 0.4, (0.0, 0.0), -0.8
    for t, row in zip(table.t, table.rows().astype(np.float64), strict=True):
        alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
        eps = (x - alpha * point) / sigma
        x, before = diffusion.update(tuple(row), x, alpha * eps - sigma * point, before)
    if name == "ddim" and table.t[-1] >= diffusion.TRAIN_STEPS // steps:
        # The released steps end at the first timestep, not before it, for a few numbers of them.
        point += float(schedule.sigma[0]) * eps
    assert x == pytest.approx(point, abs=2e-3)


def test_first_steps_need_no_memory():
    for sampler in diffusion.SAMPLERS.values():
        table = sampler(diffusion.schedule(), 10)
        assert table.c[0] == table.d[0] == table.d[1] == 0


def test_last_timestep_is_pure_noise():
    assert diffusion.schedule().alpha[-1] == 0
    assert diffusion.schedule(zero_terminal_snr=False).alpha[-1] > 0.05


def test_every_number_of_steps_has_as_many_timesteps():
    for steps in range(1, 1001):
        t = diffusion.trailing_timesteps(steps)
        assert len(t) == steps and t[0] == 999 and t[-1] >= 0 and (np.diff(t) < 0).all()


@pytest.mark.parametrize("steps", [0, -3, 1001])
def test_steps_out_of_range(steps):
    with pytest.raises(ValueError, match="expected 1 to 1000"):
        diffusion.trailing_timesteps(steps)


def test_conversions_are_inverse():
    schedule = diffusion.schedule()
    rng = np.random.default_rng(0)
    x0, eps = rng.standard_normal((2, 4, 3, 2)).astype(np.float32)
    t = np.array([0, 10, 900, 999])
    noisy = diffusion.add_noise(schedule, x0, eps, t)
    clean, noise = diffusion.to_x0_eps(schedule, noisy, diffusion.velocity(schedule, x0, eps, t), t)
    np.testing.assert_allclose(clean, x0, atol=1e-5)
    np.testing.assert_allclose(noise, eps, atol=1e-5)


def test_guidance():
    ones, twos = np.ones(3), np.full(3, 2.0)
    np.testing.assert_array_equal(diffusion.guide(ones, twos, 1.0), twos)
    np.testing.assert_array_equal(diffusion.guide(ones, twos, 0.0), ones)
    np.testing.assert_array_equal(diffusion.guide(ones, twos, 3.5), np.full(3, 4.5))
