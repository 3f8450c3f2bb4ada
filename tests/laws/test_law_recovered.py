"""From the prior to the data: every solver recovers the law, exactly where its output can be probed."""

import math
from statistics import NormalDist
from typing import ClassVar

import pytest
import torch

from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.grid.log_snr import LogSNR
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.sampling import sample, trajectory
from scoresde.solver.base import StepSolver

from .exact import F64, GAUSSIAN, MEAN, RUNNING, VARIANCE, at_eta, case, gaussian, label, law, pushed, solvers, stretch

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
    """Exactly: in 400 steps of log-SNR a first-order method within 12 % of the variance, in 120 others within 2 %."""
    first = order_of(solver.solver) == 1
    ts = LogSNR()(sde, 400 if first else 120)
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


# Samples against the exact law: χ² and z of whole batches, sized so that a 1 % error in the deviation shows.

ALPHA = 1e-6  # the odds of any alarm at all where nothing is wrong
DRAWING = at_eta(solvers(lambda s: s.weak_order is not None and not s.adaptive), (1.0,))
DRAWING = [c for c in DRAWING if c.name.split("-")[0] != "langevin"]  # its steps depend on norms: no exact law
LIMIT = NormalDist().inv_cdf(1 - ALPHA / (2 * 2 * len(DRAWING) * len(GAUSSIAN)))  # two sides of two statistics each
# A deviation of 1.01 moves z = (Σ y²/N − 1)√(N/2) by 0.0201 √(N/2) and widens it by 1.0201: found 999 times of 1,000
# (P in the tail is 3.09) where N is as large as this
NUMBERS = math.ceil(2 * ((LIMIT + 3.09 * 1.0201) / 0.0201) ** 2)
WIDE = 96  # coordinates, the three of `exact` again and again
BATCH = (math.ceil(NUMBERS / WIDE), WIDE)


class Shared(Noise):
    """Noise whose draws are made once: the k-th of sample i is a function of (seed, i, k), whoever asks for it."""

    made: ClassVar[dict[int, list[torch.Tensor]]] = {}

    def __init__(self, seed):
        super().__init__(seed, BATCH, dtype=F64)
        self.seed, self.next = seed, 0

    def normal(self):
        known = self.made.setdefault(self.seed, [])
        if self.next == len(known):
            self._draws = self.next  # what others drew was not drawn here
            known.append(super().normal())
        self.next += 1
        return known[self.next - 1]


def standardised(solver, sde, seed):
    """Samples after three steps from the exact law, by the exact mean and deviation of the solver's own output.

    How far that law is from the process's is the business of `pushed` alone; here the numbers are the solver's and the
    random ones are the program's.
    """
    ts = stretch(sde, 3)
    start, spread = law(sde, ts[0])
    mean, var = pushed(solver, sde, ts, start, spread)
    many = [a.repeat(WIDE // 3) for a in (start, spread.sqrt(), mean, var.sqrt())]
    noise = Shared(seed)
    model = GaussianMixture(sde, MEAN.repeat(WIDE // 3)[None], VARIANCE.repeat(WIDE // 3)[None])
    x = many[0] + many[1] * noise.normal()
    return (solver.solve(Reverse(model, eta=solver.eta), x, ts, noise) - many[2]) / many[3]


def scores(y):
    """z of the variance about the known mean, and of the mean: standard normal where y is."""
    n = y.numel()
    return ((y.square().mean() - 1) * math.sqrt(n / 2)).item(), (y.mean() * math.sqrt(n)).item()


@SDES
@pytest.mark.parametrize("solver", DRAWING, ids=str)
def test_samples_have_the_exact_law(solver, sde):
    """All of them at once, but for odds of 1e-6. Draws are shared, which Bonferroni's bound does not mind."""
    assert max(map(abs, scores(standardised(solver.solver, sde, seed=0)))) < LIMIT


@pytest.mark.parametrize("sde", [s for s in GAUSSIAN if label(s) == "VP"], ids=label)
def test_one_percent_too_much_deviation_is_found(sde):
    """In 95 % of seeds at the least, and in none where it is not; too little is found as well."""
    seeds, found = range(1, 41), 0
    for seed in seeds:
        y = standardised(case("ancestral").solver, sde, seed)
        Shared.made.pop(seed)
        assert max(map(abs, scores(y))) < LIMIT
        found += min(abs(scores(y * 1.01)[0]), abs(scores(y * 0.99)[0])) > LIMIT
    assert found >= 0.95 * len(seeds)


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
    case("adaptive_sde"),
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
    """Kolmogorov–Smirnov on 2,000 samples, or 200 adaptive ones: √n D < 2.6, odds of 1 to 4e5."""
    weights, means, var = torch.tensor([0.3, 0.7], dtype=F64), torch.tensor([-1.5, 1.0], dtype=F64), 0.05
    model = GaussianMixture(sde, means[:, None], var, weights)
    n, steps = (
        2000 if not solver.solver.adaptive else 200,
        50 if solver.solver.adaptive else 100 if order_of(solver.solver) > 1 else 400,
    )
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
    x = sample(gaussian(sde), n, solver=case("heun").solver, steps=60, seed=2)
    right = VARIANCE**2 / (VARIANCE + 0.3**2)
    assert ((x.var(0) / right - 1).abs() / (2 / n) ** 0.5).max() < 5
    assert ((x.mean(0) - MEAN).abs() / (right / n).sqrt()).max() < 5 + 2 / 80 * n**0.5


def test_every_registered_solver_is_under_one_of_these_laws():
    covered = {c.name.split("-")[0] for c in [*PROBED, *MIXED]} | {"langevin", "annealed_langevin"}
    assert covered == set(RUNNING)
    assert all(isinstance(c.solver, StepSolver) or c.solver.order or c.solver.adaptive for c in solvers())
