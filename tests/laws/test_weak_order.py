"""The law of a solver's output is of the weak order that it declares: measured exactly, see `exact.pushed`."""

from dataclasses import dataclass

import pytest
import torch

from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.sampling import trajectory
from scoresde.solver.base import StepSolver
from scoresde.solver.euler_maruyama import EulerMaruyama

from .exact import (
    F64,
    MEAN,
    SMOOTH,
    VARIANCE,
    Given,
    Recorded,
    at_eta,
    case,
    gaussian,
    label,
    law,
    pushed,
    slope,
    solvers,
    stretch,
)

STEPS = [24, 48, 96]
SDES = pytest.mark.parametrize("sde", SMOOTH, ids=label)
PROBED = at_eta(solvers(lambda s: s.weak_order), (0.5, 1.0))


def errors(solver, sde, steps):
    """Distance of the mean, and of the variance, at the end of the stretch."""
    ts = stretch(sde, steps)
    found, right = pushed(solver, sde, ts, *law(sde, ts[0])), law(sde, ts[-1])
    return [(f - r).norm().item() for f, r in zip(found, right, strict=True)]


def measured(solver, sde):
    return slope(STEPS, [sum(errors(solver, sde, steps)) for steps in STEPS])


@SDES
@pytest.mark.parametrize("solver", PROBED, ids=str)
def test_weak_order_is_the_declared_one(solver, sde):
    means, variances = zip(*(errors(solver.solver, sde, steps) for steps in STEPS), strict=True)
    order = solver.solver.weak_order
    # at the most that on ODEs: with steps as few as these, noise may have a small share in the error
    assert order - 0.2 < slope(STEPS, variances) < max(order, solver.solver.order or 0) + 0.2
    if max(means) > 1e-12:  # some are exact in the mean
        assert slope(STEPS, means) > order - 0.2


@SDES
@pytest.mark.parametrize("solver", PROBED, ids=str)
def test_the_probe_is_exact(solver, sde):
    """With a Gaussian target the output is a sum over the draws: all at once, or each by itself."""
    ts = stretch(sde, 6)
    reverse = Reverse(gaussian(sde), eta=solver.solver.eta)
    x = law(sde, ts[0])[0][None]
    heard = Recorded(5, (1, 3), dtype=F64)
    solver.solver.solve(reverse, x, ts, heard)
    w = torch.linspace(-1.5, 1.5, len(heard.draws), dtype=F64)
    rows = torch.cat([torch.diag(w), w[:, None], 0 * w[:, None]], 1)
    out = solver.solver.solve(reverse, x.expand(len(w) + 2, -1), ts, Given(rows, (3,)))
    torch.testing.assert_close(out[-2], out[-1] + (out[:-2] - out[-1]).sum(0), rtol=1e-9, atol=1e-9)


# Positive controls: the probe sees planted faults.


@dataclass(frozen=True)
class Louder(EulerMaruyama):
    """One percent too much noise: invisible to the eye and to any test of shapes."""

    def step(self, sde, x, t, s, noise, state):
        return super().step(sde, x, t, s, _Scaled(noise, 1.01), state)


@dataclass(frozen=True)
class HalfScore(EulerMaruyama):
    """The drift of the probability flow with the noise of the reverse SDE."""

    def step(self, sde, x, t, s, noise, state):
        drift = Reverse(sde.model, eta=0.0).drift(x, t)
        return x + drift * (s - t) + sde.noise(x, t, noise.brownian(t, s)), state


@dataclass(frozen=True)
class TwiceTheSame(EulerMaruyama):
    """Every draw is used for two steps: each has the right law, together they have not."""

    def init(self, sde, x, ts):
        return None

    def step(self, sde, x, t, s, noise, state):
        dw = noise.normal() if state is None else state
        stepped = x + sde.drift(x, t) * (s - t) + sde.noise(x, t, dw * (s - t).abs().sqrt())
        return stepped, dw if state is None else None


class _Scaled:
    def __init__(self, noise, factor):
        self.noise, self.factor = noise, factor

    def brownian(self, t, s):
        return self.noise.brownian(t, s) * self.factor


@pytest.mark.parametrize("wrong", [Louder(), HalfScore(), TwiceTheSame()], ids=label)
@pytest.mark.parametrize("sde", [s for s in SMOOTH if label(s) in ("VP", "VE")], ids=label)
def test_a_planted_fault_shows(wrong, sde):
    assert measured(EulerMaruyama(), sde) == pytest.approx(1, abs=0.2)
    assert measured(wrong, sde) < 0.8


# Solvers whose error the grid does not set, or that are the same.


@SDES
@pytest.mark.parametrize("snr", [0.16, 0.5])
def test_annealed_langevin_rests_at_its_own_variance(sde, snr):
    """v = (1 − h/V)² v + 2h with h = 2 (snr s)²: v = V/(1 − snr² s²/V), or s²/(1 − snr²) where data is a point."""
    ts = sde.time(torch.tensor([-0.1, 0.0], dtype=F64))
    solver = case("annealed_langevin", snr=snr, steps=300).solver
    model = GaussianMixture(sde, MEAN[None], 0.0)
    var = sde.var(ts[1])
    x = torch.zeros(1, 3, dtype=F64)
    heard = Recorded(0, (1, 3), dtype=F64)
    reverse = Reverse(model, eta=1.0)
    solver.solve(reverse, x, ts, heard)
    rows = torch.cat([torch.eye(300, dtype=F64), torch.zeros(300, 1, dtype=F64)], 1)
    out = solver.solve(reverse, x.expand(301, 3), ts, Given(rows, (3,)))
    torch.testing.assert_close(out[-1], sde.alpha(ts[1]) * MEAN, rtol=1e-6, atol=1e-6)
    found = (out[:-1] - out[-1]).square().sum(0)
    torch.testing.assert_close(found, (var / (1 - snr**2)).expand(3), rtol=1e-6, atol=0)
    if snr == 0.5:  # fast enough to forget a law that is five times as wide as the step
        _, found = pushed(solver, sde, ts, *law(sde, ts[0]))
        wide = sde.alpha(ts[1]) ** 2 * VARIANCE + var
        torch.testing.assert_close(found, wide / (1 - snr**2 * var / wide), rtol=1e-6, atol=0)


@SDES
def test_langevin_rests_near_the_law_in_many_dimensions(sde):
    """There ‖z‖ and ‖score‖ hardly vary, so that h = 2 snr² V and the variance is V/(1 − snr²): 64 × 64 numbers."""
    ts = sde.time(torch.tensor([-0.1, 0.0], dtype=F64))
    noise = Noise(2, (64, 64), dtype=F64)
    model = GaussianMixture(sde, torch.zeros(1, 64, dtype=F64), 1.0)
    wide = sde.alpha(ts[1]) ** 2 + sde.var(ts[1])
    out = case("langevin", snr=0.3, steps=60).solver.solve(
        Reverse(model, eta=1.0), 1.5 * wide.sqrt() * noise.normal(), ts, noise
    )
    ratio = (out.square().mean() / wide * (1 - 0.3**2)).item()
    assert abs(ratio - 1) < 5 * (2 / out.numel()) ** 0.5


STEPPING = at_eta(solvers(lambda s: isinstance(s, StepSolver) or not s.adaptive), (0.0, 1.0))


@pytest.mark.parametrize("solver", STEPPING, ids=str)
def test_a_sample_does_not_depend_on_its_neighbours(solver):
    """Not even on one that is not a number."""
    sde = registry.build("sde", "vp")
    ts = stretch(sde, 5)
    reverse = Reverse(gaussian(sde), eta=solver.solver.eta)
    x = law(sde, ts[0])[0] + torch.randn(4, 3, dtype=F64)
    alone = solver.solver.solve(reverse, x[:1], ts, Noise(7, (1, 3), dtype=F64))
    x[2] = float("nan")
    among = solver.solver.solve(reverse, x, ts, Noise(7, (4, 3), dtype=F64))
    torch.testing.assert_close(among[:1], alone, rtol=1e-13, atol=1e-13)
    assert among[2].isnan().all()


@SDES
def test_ddim_with_all_its_noise_is_ancestral(sde):
    ts = stretch(sde, 20)
    x = law(sde, ts[0])[0] + torch.randn(8, 3, dtype=F64)
    ends = [
        c.solver.solve(Reverse(gaussian(sde)), x, ts, Noise(7, (8, 3), dtype=F64))
        for c in (case("ddim", eta=1.0), case("ancestral", variance="small"))
    ]
    torch.testing.assert_close(*ends, rtol=1e-11, atol=1e-11)


@SDES
def test_a_solver_without_noise_draws_none(sde):
    ts = stretch(sde, 3)
    for name in ("euler_maruyama", "heun", "ddim"):
        heard = Recorded(0, (2, 3), dtype=F64)
        solver = case(name, eta=0.0).solver
        solver.solve(Reverse(gaussian(sde), eta=0.0), torch.zeros(2, 3, dtype=F64), ts, heard)
        assert not heard.draws


# Predictor–corrector: every predictor with every corrector.

PREDICTORS = ["euler_maruyama", "reverse_diffusion", "ancestral", "heun", "ddim"]


def pc(predictor, corrector):
    return case("predictor_corrector", predictor=predictor, corrector=corrector).solver


@SDES
@pytest.mark.parametrize("predictor", PREDICTORS)
def test_annealed_correction_recovers_the_law(predictor, sde):
    """Exactly, from a log-SNR of −4 to 4 in 80 steps: within the corrector's 2.6 % and the predictor's few percent."""
    ts = sde.time(torch.linspace(-4, 4, 81, dtype=F64))
    (mean, var), (right, wide) = pushed(pc(predictor, "annealed_langevin"), sde, ts, *law(sde, ts[0])), law(sde, ts[-1])
    assert ((mean - right).abs() / wide.sqrt()).max() < 0.05
    assert (var / wide - 1).abs().max() < 0.1


@SDES
@pytest.mark.parametrize("predictor", PREDICTORS)
def test_langevin_correction_recovers_the_law(predictor, sde):
    """In 64 dimensions from the prior, pooled over 128 × 64 numbers: the variance's error bar is 1.6 %."""
    model = GaussianMixture(sde, torch.full((1, 64), 0.3, dtype=F64), 0.25)
    *_, (_, x) = trajectory(model, 128, solver=pc(predictor, "langevin"), steps=120, denoise=False)
    t = torch.tensor(sde.t_min, dtype=F64)
    mean, var = sde.alpha(t) * 0.3, sde.alpha(t) ** 2 * 0.25 + sde.var(t)
    # what is left of the prior's own miss of the mean, and of a first-order method's, is below 5 % of a deviation
    assert abs(x.mean() - mean) / var.sqrt() < 0.05 + 5 / x.numel() ** 0.5
    assert abs(x.var() / var - 1) < 0.05 + 5 * (2 / x.numel()) ** 0.5
