"""The scales in the papers' own letters."""

import pytest
import torch

from scoresde import registry
from scoresde.errors import InputError

F64 = torch.float64
SIGMA = torch.tensor([0.002, 0.5, 3.0, 80.0], dtype=F64)


def scales(name, alpha, std, **fields):
    return registry.build("param", {"name": name, **fields}).scales(std, alpha, std)


def test_edm_is_table_one():
    found = scales("edm", torch.ones_like(SIGMA), SIGMA, sigma_data=0.5)
    torch.testing.assert_close(found.skip, 0.25 / (SIGMA**2 + 0.25))
    torch.testing.assert_close(found.out, SIGMA * 0.5 / (SIGMA**2 + 0.25).sqrt())
    torch.testing.assert_close(found.inp, 1 / (SIGMA**2 + 0.25).sqrt())
    torch.testing.assert_close(found.noise, SIGMA.log() / 4)


def test_edm_for_another_alpha_is_table_one_at_the_same_noise_level():
    """x̂ = x/α has the noise σ = s/α: skip · x̂ and inp · x̂ are what table 1 has."""
    alpha = torch.tensor([0.9, 0.5, 0.3, 0.01], dtype=F64)
    plain = scales("edm", torch.ones_like(SIGMA), SIGMA)
    found = scales("edm", alpha, SIGMA * alpha)
    torch.testing.assert_close(found.skip * alpha, plain.skip)
    torch.testing.assert_close(found.inp * alpha, plain.inp)
    torch.testing.assert_close(found.out, plain.out)


def test_v_of_a_variance_preserving_process_is_salimans():
    angle = torch.tensor([0.1, 0.7, 1.5], dtype=F64)
    found = scales("v", angle.cos(), angle.sin())
    torch.testing.assert_close(found.skip, angle.cos())
    torch.testing.assert_close(found.out, -angle.sin())


@pytest.mark.parametrize("name", ["v", "edm", "x0"])
def test_no_data_left_is_finite(name):
    """α = 0, pure noise: these may be trained there."""
    zero, one = torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64)
    found = scales(name, zero, one)
    assert all(scale.isfinite().all() for scale in found[:3])


@pytest.mark.parametrize("name", ["x0", "eps", "score", "v"])
def test_the_network_predicts_what_the_name_says(name):
    """laws/test_param.py inverts the scales, and so cannot see a wrong sign in them."""
    alpha, std = torch.tensor([0.6], dtype=F64), torch.tensor([0.7], dtype=F64)
    x0, eps = torch.tensor([1.3], dtype=F64), torch.tensor([-0.4], dtype=F64)
    said = {"x0": x0, "eps": eps, "score": -eps / std, "v": alpha * eps - std * x0}[name]
    found = scales(name, alpha, std)
    torch.testing.assert_close(found.skip * (alpha * x0 + std * eps) + found.out * said, x0)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_a_deviation_that_is_none_is_refused(sigma):
    with pytest.raises(InputError, match=r"^EDM\.sigma_data = .* must be a number > 0$"):
        registry.build("param", {"name": "edm", "sigma_data": sigma})


ALPHA, STD = torch.tensor([1.0, 0.8, 0.1], dtype=F64), torch.tensor([0.3, 0.6, 0.9], dtype=F64)


@pytest.mark.parametrize("name", ["x0", "eps", "score", "v"])
@pytest.mark.parametrize("clock", ["log_snr", "time"])
def test_a_published_target_is_the_parameterization_of_its_name(name, clock):
    found = scales("published", ALPHA, STD, target=name, clock=clock)
    right = scales(name, ALPHA, STD)
    torch.testing.assert_close(torch.stack(found[:3]), torch.stack(right[:3]))
    torch.testing.assert_close(found.noise, STD if clock == "time" else right.noise)


def test_published_minus_eps_is_std_times_score():
    """VE's networks, and EDM's c_out = σ in its column of VE."""
    found = scales("published", ALPHA, STD, target="minus_eps", scaled=False)
    torch.testing.assert_close(found.out, STD / ALPHA)
    torch.testing.assert_close(found.inp, torch.ones_like(STD))


def test_published_clock_is_a_line():
    found = scales("published", ALPHA, STD, clock="time", factor=4.0, offset=-0.004)
    torch.testing.assert_close(found.noise, 4 * STD - 0.004)


def test_published_steps_take_the_nearest_level_for_the_true_one():
    """score = −ε/σ at the level that the network is told: x_0 = x − (s²/σ) ε."""
    sigma = torch.tensor([0.9, 1.0, 1.04, 3.0], dtype=F64)
    found = scales("published", torch.ones_like(sigma), sigma, scaled=False, factor=4 / 0.1, step=1.0)
    levels = (sigma.log() / 0.1).round()
    torch.testing.assert_close(found.noise, levels)
    torch.testing.assert_close(found.out, -(sigma**2) / (0.1 * levels).exp())


def test_published_numbers_keep_their_digits():
    """999 of a float32 time is what the papers' code has: one rounding, not three."""
    t = torch.linspace(0.001, 1, 1000)
    found = registry.build("param", {"name": "published", "clock": "time", "factor": 999 / 250}).scales(t, t, t).noise
    assert found.dtype == F64
    assert torch.equal((250 * found).float(), 999 * t)


@pytest.mark.parametrize(
    ("field", "value"),
    [("factor", 0.0), ("factor", float("inf")), ("offset", float("nan")), ("step", -1.0), ("target", "noise")],
)
def test_published_refuses(field, value):
    with pytest.raises(InputError, match=field):
        registry.build("param", {"name": "published", field: value})
