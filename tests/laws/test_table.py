"""Tables of coefficients by themselves: told predictions that depend on time alone, a step is a quadrature.

In the coordinates of what a table weighs, the probability-flow ODE is d(x/unit) = q d(measure):

    x0    d(x/s) = x_0 d(1/σ̂)        eps   d(x/α) = ε dσ̂        v   d(x/r) = (v/r) d(arctan σ̂)
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from scoresde.analytic import GaussianMixture
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.score import ScoreModel
from scoresde.solver.coefficients.table import TableSolver

from .exact import F64, SMOOTH, at_eta, label, slope, solvers, stretch

SDES = pytest.mark.parametrize("sde", SMOOTH, ids=label)
TABLES = at_eta(solvers(lambda s: isinstance(s, TableSolver)), (0.0,))
TABLES = [c for c in TABLES if c.solver.eta == 0 and not c.name.startswith("exponential_abm")]  # that weighs an excess
WARM = 6  # steps after which every method has the predictions that it wants

# methods whose polynomials are integrated exactly, and the clock that these are in, as a function of λ = −log σ̂
CLOCKS = {
    "ddim": "lambda",
    "exponential_ab": "lambda",
    "deis": "t",
    "lms": "sigma",
    "dpmpp-1-multistep": "lambda",
    "dpmpp-3-multistep": "lambda",
    "unipc-4": "lambda",
}
EXACT = [(c, CLOCKS[key]) for c in TABLES for key in CLOCKS if c.name.startswith(key)]


class Told(ScoreModel):
    """A model that says q(t), whatever x is: of x_0 or ε as it is, of v times r."""

    def __init__(self, sde, of, q):
        super().__init__()
        self.sde, self.shape, self.of, self.q = sde, (1,), of, q

    def forward(self, x, t, cond=None):
        factor = (self.sde.alpha(t) ** 2 + self.sde.var(t)).sqrt() if self.of == "v" else 1
        said = GaussianMixture(self.sde, torch.zeros(1, 1, dtype=F64), 1.0)(x, t)
        return _Said(said, {self.of: torch.full_like(x, self.q(t).item()) * factor})


class _Said:
    def __init__(self, said, instead):
        self.__dict__.update(instead)
        self.said = said

    def __getattr__(self, name):
        return getattr(self.said, name)


def coordinates(sde, of, t):
    """The unit of the state, and the measure, at a time: t = 0 is the data."""
    alpha, std = (1.0, 0.0) if t == 0 else (sde.alpha(t).item(), sde.std(t).item())
    if of == "x0":
        return std, alpha / std
    return (alpha, std / alpha) if of == "eps" else (np.hypot(alpha, std), np.arctan2(std, alpha))


def integral(sde, of, q, t, s):
    """∫ q d(measure) from t to s, over λ."""

    def integrand(half):
        now = sde.time(torch.tensor(2 * half, dtype=F64))
        rate = {"x0": np.exp(half), "eps": -np.exp(-half), "v": -1 / (2 * np.cosh(half))}[of]
        return q(now).item() * rate

    a, b = (sde.log_snr(torch.stack([t, s])) / 2).tolist()
    return quad(integrand, a, b, epsabs=1e-14, epsrel=1e-13)[0]


def ahead(sde, of, q, x, t, s):
    """Where x goes from t to s, exactly."""
    (unit, _), (new, _) = (coordinates(sde, of, each) for each in (t, s))
    return new * (x / unit + integral(sde, of, q, t, s))


def run(solver, sde, ts, q, x, right=()):
    """The states of the engine's own steps, each of the first of them put right by the exact ones where these are."""
    reverse, noise = Reverse(Told(sde, solver.of, q), eta=0.0), Noise(0, (1, 1), dtype=F64)
    now = torch.full((1, 1), x, dtype=F64)
    state, path = solver.init(reverse, now, ts), [x]
    for i, (t, s) in enumerate(pairwise(ts)):
        now = torch.full_like(now, right[i]) if i < len(right) else now
        now, state = solver.step(reverse, now, t, s, noise, state)
        path.append(now.item())
    return path


@SDES
@pytest.mark.parametrize("zero", [False, True], ids=["", "to-the-data"])
@pytest.mark.parametrize("solver", TABLES, ids=str)
def test_a_constant_prediction_is_integrated_exactly_on_any_grid(solver, sde, zero):
    """With x_0 constant x_s = α_s x_0 + s_s ε, with ε constant too: both at once is a data set of one point."""
    of = solver.solver.of
    ts = stretch(sde, 9)[torch.tensor([0, 1, 3, 4, 6, 7, 8, 9])]
    ts = torch.cat([ts, ts.new_zeros(1)]) if zero else ts
    ends = run(solver.solver, sde, ts, lambda t: torch.full_like(t, 0.7), 1.3)
    (alpha, std), (before, wide) = ((1.0, 0.0) if t == 0 else (sde.alpha(t), sde.std(t)) for t in (ts[-1], ts[0]))
    if of == "x0":
        right = alpha * 0.7 + std * (1.3 - before * 0.7) / wide
    elif of == "eps":
        right = alpha * (1.3 - wide * 0.7) / before + std * 0.7
    else:
        (unit, start), (new, end) = (coordinates(sde, of, t) for t in (ts[0], ts[-1]))
        right = new * (1.3 / unit + 0.7 * (end - start))
    assert ends[-1] == pytest.approx(float(right), abs=1e-12, rel=1e-12)


@pytest.mark.parametrize("sde", [s for s in SMOOTH if label(s) in ("VP", "EDM")], ids=label)
@pytest.mark.parametrize("solver", TABLES, ids=str)
def test_the_quadrature_is_of_the_declared_order(solver, sde):
    """Past the first steps, which are put right, without the small steps by which other laws make them harmless."""

    steps = [n * 2 ** (solver.solver.order // 2) for n in (16, 32, 64)]
    found = []
    for n in steps:
        ts, missed = stretch(sde, n, 1.5), []
        for phase in (0.0, 1.57):

            def q(t, phase=phase):
                return torch.cos(0.5 * sde.log_snr(t) + phase)

            right = [1.3]
            for t, s in pairwise(ts[: WARM + 1]):
                right.append(ahead(sde, solver.solver.of, q, right[-1], t, s))
            out = run(solver.solver, sde, ts, q, 1.3, right)[-1]
            missed.append(out - ahead(sde, solver.solver.of, q, right[-1], ts[WARM], ts[-1]))
        found.append(np.hypot(*missed))
    assert slope(steps, found) > solver.solver.order - 0.25


@SDES
@pytest.mark.parametrize(("solver", "clock"), EXACT, ids=[str(c) for c, _ in EXACT])
def test_polynomials_of_the_clock_are_integrated_exactly(solver, clock, sde):
    """Up to one degree below the number of predictions, in a step past the first ones, on a grid of unequal steps."""
    solver, order = solver.solver, solver.solver.order - (solver.name.startswith("unipc"))
    ts = stretch(sde, 12)[torch.tensor([0, 1, 3, 4, 6, 7, 8, 10, 12])]
    of = {"lambda": lambda t: sde.log_snr(t) / 2, "sigma": lambda t: (-sde.log_snr(t) / 2).exp(), "t": lambda t: t}
    middle, scale = of[clock](ts[[WARM, -1]]).mean(), of[clock](ts[[0, -1]]).diff().abs()[0]
    for degree in range(order):

        def q(t, degree=degree):
            return ((of[clock](t) - middle) / scale) ** degree

        right = [1.3]
        for t, s in pairwise(ts):
            right.append(ahead(sde, solver.of, q, right[-1], t, s))
        out = run(solver, sde, ts, q, 1.3, right[:-1])
        assert out[WARM:] == pytest.approx(right[WARM:], rel=1e-10, abs=1e-11)


def test_every_kind_of_table_is_among_them():
    assert {c.solver.of for c in TABLES} == {"x0", "eps", "v"}
    assert {c.name.split("-")[0] for c in TABLES} >= {
        *("ddim", "dpm_solver", "dpmpp", "unipc", "deis", "lms", "pndm", "edm", "exponential_ab")
    }
    assert len(EXACT) >= len(CLOCKS)
