"""Every solver is of the order that it declares, on the flows of a Gaussian and a mixture, and costs what it says."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.solver.base import StepSolver

from .exact import (
    F64,
    MEAN,
    SMOOTH,
    VARIANCE,
    Case,
    Counted,
    at_eta,
    case,
    flow,
    gaussian,
    label,
    law,
    slope,
    solvers,
    stretch,
    to_within,
)

STEPS = [16, 32, 64, 128]  # of a one-step method; 2, 2, 8 times as many for multistep methods of order 2, 3, 4
REACH = 1.5
SDES = pytest.mark.parametrize("sde", SMOOTH, ids=label)

# For α = 1, s = t the flow of a Gaussian is x ∝ √(v + t²), f = x′/x, and the midpoint rule's term of second order,
# f″/24 + f f′/4 + f³/6, is zero for every v: there, and for straight lines, it gains an order.
LUCKY = {(name, sde): 3 for name in ("ode-midpoint", "torchsde-midpoint-eta=0") for sde in ("EDM", "Rectified")}


def distance(solver, sde, ts):
    """RMS over starting points that span two deviations to each side."""
    mean, var = law(sde, ts[0])
    x = mean + torch.linspace(-2, 2, 9, dtype=F64)[:, None] * var.sqrt()
    out = solver.solve(Reverse(gaussian(sde), eta=0.0), x, ts)
    return (out - flow(sde, x, ts[0], ts[-1])).square().mean().sqrt().item()


@cache
def split(sde):
    """Two modes in two dimensions: the exact model, four states at the start of the stretch, and their ends.

    By an embedded pair of order eight, twice: the flow's own drift in time, and d(x/α) = ε dσ̂.
    """
    means, variances = [[-1.0, 0.4], [1.0, -0.2]], [[0.6, 1.0], [0.5, 0.8]]
    model = GaussianMixture(sde, torch.tensor(means, dtype=F64), torch.tensor(variances), [0.4, 0.6])
    ts = stretch(sde, 1, REACH)
    alpha, sigma = sde.alpha(ts), sde.std(ts) / sde.alpha(ts)
    corners = torch.tensor([[0.3, 0.8], [-1.2, 0.2], [1.5, -1.0], [-0.2, -0.5]], dtype=F64)
    x = corners * (alpha[0] ** 2 + sde.var(ts[0])).sqrt()
    drift = Reverse(model, eta=0.0).drift

    def in_time(t, y):
        return drift(torch.from_numpy(y).reshape(4, 2), torch.tensor(t, dtype=F64)).numpy().ravel()

    def in_sigma(level, y):
        t = sde.time(torch.tensor(-2 * np.log(level), dtype=F64)).clamp(ts[1], ts[0])
        return model(torch.from_numpy(y).reshape(4, 2) * sde.alpha(t), t).eps.numpy().ravel()

    ends = []
    for f, span, unit in ((in_time, ts, alpha / alpha), (in_sigma, sigma, alpha)):
        start = (x / unit[0]).numpy().ravel()
        y = solve_ivp(f, span.tolist(), start, "DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
        ends.append(torch.from_numpy(y).reshape(4, 2) * unit[1])
    torch.testing.assert_close(*ends, rtol=0, atol=1e-12)
    return model, x, ends[0]


def distance_of_modes(solver, sde, ts):
    """RMS on the flow of a mixture, which is not linear."""
    model, x, end = split(sde)
    return (solver.solve(Reverse(model, eta=0.0), x, ts) - end).square().mean().sqrt().item()


def measured(solver, sde, distance=distance, fine=True):
    """A multistep method's first steps are so small that those of lower order, with which it starts, cost nothing.

    Not so ``fine`` where the reference is a number of 1e-12: an error of fourth order would sink into it.
    """
    order, grade, steps = solver.order, 1, STEPS
    if order > 1 and solver.nfe(100) in (None, 100, 101):
        grade, more = order / 2 + 0.25, max(order // 2, order - 2) + (fine and order == 4)
        steps = [n * 2**more for n in STEPS]
    return slope(steps, [distance(solver, sde, stretch(sde, n, REACH, grade)) for n in steps])


FIXED = at_eta(solvers(lambda s: s.order is not None and not s.adaptive), (0.0,))
ADAPTIVE = solvers(lambda s: s.adaptive)


@pytest.mark.parametrize("solver", solvers(), ids=str)
def test_every_solver_declares_an_order(solver):
    order, weak = solver.solver.order, solver.solver.weak_order
    assert order is not None or weak is not None or solver.solver.adaptive
    assert order is None or order >= 1
    assert weak is None or weak >= 0


@SDES
@pytest.mark.parametrize("solver", FIXED, ids=str)
def test_order_is_the_declared_one(solver, sde):
    order = LUCKY.get((solver.name, label(sde)), solver.solver.order)
    assert measured(solver.solver, sde) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("sde", [s for s in SMOOTH if label(s) in ("VP", "VE", "SubVP", "EDM")], ids=label)
@pytest.mark.parametrize("solver", FIXED, ids=str)
def test_order_is_the_declared_one_between_two_modes(solver, sde):
    assert measured(solver.solver, sde, distance_of_modes, fine=False) == pytest.approx(solver.solver.order, abs=0.15)


@SDES
@pytest.mark.parametrize("solver", FIXED, ids=str)
def test_encoding_is_sampling_backwards(solver, sde):
    """A rising grid takes data to noise with the same order, so that both ways cancel."""
    ts = stretch(sde, 128)
    mean, var = law(sde, ts[0])
    x = mean + torch.linspace(-2, 2, 9, dtype=F64)[:, None] * var.sqrt()
    reverse = Reverse(gaussian(sde), eta=0.0)
    there = flow(sde, x, ts[0], ts[-1])
    back = solver.solver.solve(reverse, there, ts.flip(0))
    assert ((back - x) / var.sqrt()).abs().max() < (0.2 if solver.solver.order == 1 else 2e-3)


# times the tolerance on unit scales; fehlberg2 takes 1/512 of a difference of two stages for its error
MULTIPLE = {"ode-fehlberg2": 250}


@SDES
@pytest.mark.parametrize("solver", ADAPTIVE, ids=str)
def test_adaptive_error_follows_the_tolerance(solver, sde):
    ts = stretch(sde, 4)
    slow = (solver.solver.order or 5) < 4
    found = {}
    for tolerance in [1e-3, 1e-4, 1e-5] if slow else [1e-3, 1e-5, 1e-7]:
        tight = to_within(solver.solver, tolerance)
        found[tolerance] = distance(tight, sde, ts)
        assert found[tolerance] < MULTIPLE.get(solver.name, 25) * tolerance
    first, *_, last = found.values()
    assert last < max(first / 10, tolerance)


@pytest.mark.parametrize("solver", ADAPTIVE, ids=str)
def test_adaptive_solvers_report_where_the_grid_asks(solver):
    sde = registry.build("sde", "vp")
    ts = stretch(sde, 4)
    mean, var = law(sde, ts[0])
    x = mean + var.sqrt() * torch.tensor([[-1.0], [1.0]], dtype=F64)
    tight = to_within(solver.solver, 3e-5)
    path = list(tight.iterate(Reverse(gaussian(sde), eta=0.0), x, ts))
    assert [t.item() for t, _ in path] == ts.tolist()
    for t, state in path:
        torch.testing.assert_close(state, flow(sde, x, ts[0], t), rtol=0, atol=1e-2)


@pytest.mark.parametrize("solver", ADAPTIVE, ids=str)
@pytest.mark.parametrize("sde", SMOOTH, ids=label)
def test_adaptive_solvers_stay_within_the_clock(solver, sde):
    """Below t_min a variance may be negative."""
    seen = []

    class Watched(Counted):
        def forward(self, x, t, cond=None):
            seen.extend(t.flatten().tolist())
            return super().forward(x, t, cond)

    ts = torch.tensor([sde.t_max, sde.t_min], dtype=F64)
    x = torch.zeros(2, 3, dtype=F64) + law(sde, ts[0])[1].sqrt()
    loose = to_within(solver.solver, 1e-2)
    out = loose.solve(Reverse(Watched(gaussian(sde)), eta=0.0), x, ts)
    assert out.isfinite().all()
    assert sde.t_min <= min(seen)
    assert max(seen) <= sde.t_max


def evaluations(solver, steps, eta=None):
    sde = registry.build("sde", "vp")
    model = Counted(gaussian(sde))
    x = torch.zeros(2, 3, dtype=F64)
    reverse = Reverse(model, eta=solver.eta if eta is None else eta)
    solver.solve(reverse, x, stretch(sde, steps), Noise(0, (2, 3), dtype=F64))
    return model.calls


@pytest.mark.parametrize("solver", at_eta(solvers(lambda s: s.nfe(1) is not None), (0.0, 0.5, 1.0)), ids=str)
def test_network_evaluations_are_the_declared_ones(solver):
    for steps in (1, 7):
        assert evaluations(solver.solver, steps) == solver.solver.nfe(steps)


@pytest.mark.parametrize("name", ["langevin", "annealed_langevin"])
def test_network_evaluations_of_a_corrector(name):
    pc = case("predictor_corrector", predictor="heun", corrector={"name": name, "steps": 3}).solver
    assert evaluations(pc, 7) == pc.nfe(7) == 7 * (2 + 3)


ONTO = [
    *(case("exponential_abm", order=p) for p in (2, 3, 4)),
    *(case("lms", order=p) for p in (1, 2, 3, 4)),
    *(case("exponential_ab", of=of, order=1) for of in ("x0", "eps", "v")),
    case("auto"),
]


@pytest.mark.parametrize("sde", [s for s in SMOOTH if label(s) in ("VP", "EDM")], ids=label)
@pytest.mark.parametrize("solver", ONTO, ids=str)
def test_the_last_step_onto_the_data_keeps_the_order(solver, sde):
    """From σ̂ = 4 in equal steps of log(σ̂ + ½), the first ones graded, the last to σ̂ = 0."""
    order, errors = solver.solver.order, []
    steps = [n * 2 ** (order - 1) for n in STEPS]
    for n in steps:
        u = torch.linspace(0, 1, n + 1, dtype=F64) ** max(1, order / 2 + 0.25)
        sigma = 4.5 * (0.5 / 4.5) ** u - 0.5
        ts = torch.cat([sde.time(-2 * sigma[:-1].clamp(min=1e-6).log()), torch.zeros(1, dtype=F64)])
        mean, var = law(sde, ts[0])
        x = mean + torch.linspace(-2, 2, 9, dtype=F64)[:, None] * var.sqrt()
        out = solver.solver.solve(Reverse(gaussian(sde), eta=0.0), x, ts)
        right = MEAN + (VARIANCE / var).sqrt() * (x - mean)
        errors.append((out - right).square().mean().sqrt().item())
    assert slope(steps, errors) == pytest.approx(order, abs=0.15)


# Positive controls: the law sees a wrong order.


@dataclass(frozen=True)
class StaleHeun(StepSolver):
    """Heun's method that looks at the end of the step with the time of its start."""

    order = 2

    def step(self, sde, x, t, s, noise, state):
        before = sde.drift(x, t)
        return x + (before + sde.drift(x + before * (s - t), t)) * ((s - t) / 2), state


@dataclass(frozen=True)
class Midpoint(StepSolver):
    """The midpoint rule; with its half step forgotten it is Euler's."""

    order = 2
    forget: bool = False

    def step(self, sde, x, t, s, noise, state):
        middle = x if self.forget else x + sde.drift(x, t) * ((s - t) / 2)
        return x + sde.drift(middle, t if self.forget else (t + s) / 2) * (s - t), state


@pytest.mark.parametrize("sde", [s for s in SMOOTH if label(s) in ("VP", "VE")], ids=label)
def test_a_planted_fault_shows_in_the_order(sde):
    assert measured(Midpoint(), sde) == pytest.approx(2, abs=0.15)
    for wrong in (Case("stale", StaleHeun()), Case("forgetful", Midpoint(forget=True))):
        assert measured(wrong.solver, sde) == pytest.approx(1, abs=0.15)
