"""Numbers of the papers and of their code."""

import math

import pytest
import torch

from scoresde import registry
from scoresde.errors import InputError

F64 = torch.float64


def at(t):
    return torch.tensor(t, dtype=F64)


def test_vp_is_the_papers_schedule():
    """β from 0.1 to 20 (appendix C): ∫β = 10.05 at t = 1."""
    vp = registry.build("sde", "vp")
    assert vp.alpha(at(1.0)).item() == pytest.approx(math.exp(-5.025))
    assert vp.var(at(1.0)).item() == pytest.approx(1 - math.exp(-10.05))
    assert vp.diffusion_squared(at(0.5)).item() == pytest.approx(10.05)


def test_subvp_is_below_vp_and_meets_it():
    vp, subvp = registry.build("sde", "vp"), registry.build("sde", "subvp")
    t = torch.linspace(0.001, 1, 50, dtype=F64)
    assert (subvp.var(t) < vp.var(t)).all()
    torch.testing.assert_close(subvp.std(t), vp.var(t))
    torch.testing.assert_close(subvp.alpha(t), vp.alpha(t))


def test_ve_is_geometric():
    ve = registry.build("sde", "ve")
    assert ve.std(at(0.0)).item() == pytest.approx(0.01)
    assert ve.std(at(0.5)).item() == pytest.approx(math.sqrt(0.01 * 50))
    assert ve.std(at(1.0)).item() == pytest.approx(50)


def test_edm_is_time_as_noise():
    edm = registry.build("sde", "edm")
    assert edm.std(at(80.0)).item() == 80
    assert edm.diffusion(torch.ones(1, 1), at(2.0)).item() == pytest.approx(2)


def test_cosine_is_nichols():
    """ᾱ(t) = f(t)/f(0), f(t) = cos²((t + s)/(1 + s) π/2)."""
    cosine = registry.build("sde", "cosine")

    def f(t):
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in (0.001, 0.3, 0.9):
        assert cosine.alpha(at(t)).item() ** 2 == pytest.approx(f(t) / f(0))
    torch.testing.assert_close(cosine.alpha(at(0.6)) ** 2 + cosine.var(at(0.6)), at(1.0))


def test_rectified_is_a_straight_line():
    rectified = registry.build("sde", "rectified")
    x0, eps = torch.randn(4, 2, dtype=F64), torch.randn(4, 2, dtype=F64)
    t = torch.tensor([0.1, 0.5, 0.5, 0.9], dtype=F64)
    torch.testing.assert_close(rectified.perturb(x0, t, eps), torch.lerp(x0, eps, t[:, None]))


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "vp", "beta_max": 0.1},
        {"name": "vp", "beta_min": 30.0},
        {"name": "subvp", "beta_max": float("inf")},
        {"name": "ve", "sigma_min": 50.0},
        {"name": "ve", "sigma_max": 0.01},
        {"name": "ve", "sigma_min": 0.0},
        {"name": "cosine", "offset": 1.0},
        {"name": "cosine", "t_max": 1.0},
        {"name": "rectified", "t_max": 1.0},
        {"name": "double_well", "barrier": 0.0},
    ],
    ids=str,
)
def test_bounds_are_refused(spec):
    from scoresde.errors import InputError

    with pytest.raises(InputError, match=r"must be "):
        registry.build("sde", spec)


def test_the_least_beta_may_be_zero():
    sde = registry.build("sde", {"name": "vp", "beta_min": 0.0})
    t = torch.linspace(0.01, 1, 10, dtype=F64)
    torch.testing.assert_close(sde.time(sde.log_snr(t)), t)


def test_the_double_well_has_two_modes_and_more_noise_between():
    well = registry.build("sde", "double_well")
    x = torch.tensor([-1.0, 0.0, 1.0], dtype=F64)[:, None]
    density = well.prior((3, 1), dtype=F64).log_prob(x).flatten()
    torch.testing.assert_close(density[0], density[2])
    assert density[0] - density[1] == pytest.approx(well.barrier)
    noise = well.diffusion(x, at(1.0)).flatten()
    assert noise[1] > noise[0]


@pytest.mark.parametrize(
    ("fields", "start", "end"),
    [({}, 0.0001, 0.02), ({"schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}, 0.00085, 0.012)],
)
def test_ddpm_is_the_chain_at_each_of_its_ends(fields, start, end):
    ddpm = registry.build("sde", {"name": "ddpm", **fields})
    root = fields.get("schedule") == "scaled_linear"
    betas = (
        torch.linspace(start**0.5, end**0.5, 1000, dtype=F64) ** 2
        if root
        else torch.linspace(start, end, 1000, dtype=F64)
    )
    left = (1 - betas).cumprod(0)
    t = torch.arange(1, 1001, dtype=F64) / 1000
    torch.testing.assert_close(ddpm.alpha(t) ** 2, left, rtol=1e-12, atol=0)
    torch.testing.assert_close(ddpm.var(t), 1 - left, rtol=1e-10, atol=0)
    assert ddpm.diffusion_squared(at(0.9999)).item() == pytest.approx(-1000 * math.log1p(-end))


def test_ddpm_with_squared_cosines_is_nichols():
    """β_i = min(1 − ᾱ((i+1)/N)/ᾱ(i/N), 0.999), so that ᾱ is a squared cosine but for the last steps."""
    ddpm = registry.build("sde", {"name": "ddpm", "schedule": "squaredcos", "steps": 4000, "t_min": 1 / 4000})
    t = torch.arange(1, 3990, dtype=F64) / 4000
    right = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(ddpm.alpha(t) ** 2, right, rtol=1e-9, atol=0)
    assert 1 - (ddpm.alpha(at(1.0)) / ddpm.alpha(at(1 - 1 / 4000))).item() ** 2 == pytest.approx(0.999)


def test_ddpm_in_many_steps_is_vp():
    """The paper's limit: β_i = β(i/N)/N."""
    vp = registry.build("sde", "vp")
    fine = registry.build("sde", {"name": "ddpm", "beta_start": 1e-6, "beta_end": 2e-4, "steps": 100_000})
    t = torch.linspace(0.01, 1, 20, dtype=F64)
    torch.testing.assert_close(fine.log_snr(t), vp.log_snr(t), rtol=0, atol=2e-3)


def test_ddpm_refuses_a_last_step_that_leaves_nothing():
    with pytest.raises(InputError, match=r"DDPM\.beta_end = 1.0, but it must be in \[beta_start, 1\)"):
        registry.build("sde", {"name": "ddpm", "beta_start": 0.005, "beta_end": 1.0, "steps": 20})
