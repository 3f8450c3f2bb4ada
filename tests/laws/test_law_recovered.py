"""From the prior to the data: every solver recovers the law, exactly where its output can be probed."""

import math

import pytest
import torch

from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.grid.log_snr import LogSNR
from scoresde.sampling import sample, trajectory
from scoresde.solver.base import StepSolver

from .exact import F64, GAUSSIAN, MEAN, VARIANCE, at_eta, case, gaussian, label, law, pushed, solvers

SDES = pytest.mark.parametrize("sde", GAUSSIAN, ids=label)


def order_of(solver):
    return (solver.weak_order if solver.eta else solver.order) or solver.order or 4


def last(path):
    *_, (_, x) = path
    return x


def of_prior(sde):
    """What the prior leaves out, α(t_max) m against s(t_max): in deviations of the mean, and of the variance."""
    t = torch.tensor(sde.t_max, dtype=F64)
    return (sde.alpha(t) * MEAN.abs().max() / sde.std(t)).item(), (sde.alpha(t) ** 2 * 4 / sde.var(t)).item()


PROBED = at_eta(solvers(lambda s: s.weak_order != 0), (0.0, 1.0))


@SDES
@pytest.mark.parametrize("solver", PROBED, ids=str)
def test_a_gaussian_is_recovered_from_the_prior(solver, sde):
    """Exactly: in 400 steps of log-SNR a first-order method within 12 % of the variance, in 100 others within 2 %."""
    first = order_of(solver.solver) == 1
    ts = LogSNR()(sde, 400 if first else 100)
    start = sde.std(ts[0]).expand(3)
    mean, var = pushed(solver.solver, sde, ts, 0 * start, start**2)
    right, wide = law(sde, ts[-1])
    missed_mean, missed_var = of_prior(sde)
    allowed = 0.12 if first else 0.02
    assert ((mean - right).abs() / wide.sqrt()).max() < missed_mean + allowed / 2
    assert (var / wide - 1).abs().max() < missed_var + allowed


SHARP = at_eta(solvers(lambda s: s.weak_order and s.weak_order > 1), (0.5, 1.0))


@SDES
@pytest.mark.parametrize("solver", SHARP, ids=str)
def test_samples_have_the_law_within_their_error_bars(solver, sde):
    """z of three means, three variances and three correlations of 4,096 samples; none of all beyond five."""
    n = 4096
    x = last(trajectory(gaussian(sde), n, solver=solver.solver, steps=60, seed=11, denoise=False))
    mean, var = law(sde, torch.tensor(sde.t_min, dtype=F64))
    y = (x - mean) / var.sqrt()
    missed_mean, missed_var = of_prior(sde)
    assert (y.mean(0).abs() - missed_mean).max() * n**0.5 < 5
    assert ((y.var(0) - 1).abs() - missed_var - 0.01).max() / (2 / n) ** 0.5 < 5
    pairs = torch.triu(y.T @ y / n, diagonal=1)
    assert pairs.abs().max() * n**0.5 < 5


@SDES
@pytest.mark.parametrize("name", ["langevin", "annealed_langevin"])
def test_langevin_alone_follows_the_levels(name, sde):
    """Five updates at each of 200 levels, 64 coordinates of one normal law: within 20 % of its variance."""
    model = GaussianMixture(sde, torch.full((1, 64), 0.3, dtype=F64), 0.25)
    x = last(trajectory(model, 64, solver=case(name, snr=0.3, steps=5).solver, steps=200, denoise=False))
    t = torch.tensor(sde.t_min, dtype=F64)
    wide = sde.alpha(t) ** 2 * 0.25 + sde.var(t)
    assert abs(x.mean() - sde.alpha(t) * 0.3) / wide.sqrt() < 0.15
    assert abs(x.var() / wide - 1) < 0.2


MIXED = [
    case("heun"),
    case("heun", eta=1.0),
    case("srk"),
    case("ode"),
    case("solve_ivp"),
    case("euler_maruyama"),
    case("ddim"),
    case("ddim", eta=1.0),
    case("ancestral"),
    case("reverse_diffusion"),
    case("predictor_corrector", corrector="annealed_langevin"),
]


@pytest.mark.parametrize("sde", [s for s in GAUSSIAN if label(s) in ("VP", "VE")], ids=label)
@pytest.mark.parametrize("solver", MIXED, ids=str)
def test_two_modes_are_recovered_with_their_weights(solver, sde):
    """Kolmogorov–Smirnov on 2,000 samples against the exact distribution function: √n D < 2.6, odds of 1 to 4e5."""
    weights, means, var = torch.tensor([0.3, 0.7], dtype=F64), torch.tensor([-1.5, 1.0], dtype=F64), 0.05
    model = GaussianMixture(sde, means[:, None], var, weights)
    n, steps = 2000, 50 if solver.solver.adaptive else 100 if order_of(solver.solver) > 1 else 400
    x = last(trajectory(model, n, solver=solver.solver, steps=steps, seed=5, denoise=False)).flatten().sort().values
    t = torch.tensor(sde.t_min, dtype=F64)
    wide = (sde.alpha(t) ** 2 * var + sde.var(t)).sqrt()
    cdf = (weights * torch.special.ndtr((x[:, None] - sde.alpha(t) * means) / wide)).sum(1)
    ranks = torch.arange(n + 1, dtype=F64) / n
    distance = torch.maximum((cdf - ranks[:-1]).abs(), (cdf - ranks[1:]).abs()).max().item()
    assert math.sqrt(n) * distance < 2.6


def test_denoising_ends_on_the_posterior_mean():
    """Of N(m, v): the samples' variance at the end is that of E[x_0 | x], v² α²/(α² v + s²)."""
    sde = registry.build("sde", {"name": "edm", "t_min": 0.3})
    n = 4096
    x = sample(gaussian(sde), n, steps=60, seed=2)
    right = VARIANCE**2 / (VARIANCE + 0.3**2)
    assert ((x.var(0) / right - 1).abs() / (2 / n) ** 0.5).max() < 5
    assert ((x.mean(0) - MEAN).abs() / (right / n).sqrt()).max() < 5 + 2 / 80 * n**0.5


def test_every_registered_solver_is_under_one_of_these_laws():
    covered = {c.name.split("-")[0] for c in [*PROBED, *MIXED]} | {"langevin", "annealed_langevin"}
    assert covered == set(registry.names("solver"))
    assert all(isinstance(c.solver, StepSolver) or c.solver.order or c.solver.adaptive for c in solvers())
