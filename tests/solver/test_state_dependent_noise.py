"""dx = a x dt + b x dw, whose solution is known: the orders where the noise depends on the state."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from scoresde import registry
from scoresde.sde.base import SDE
from tests.laws.exact import F64, Given, Recorded, slope

STEPS = [8, 16, 32, 64]


@dataclass(frozen=True)
class Geometric(SDE):
    """x_1 = x_0 exp(a − b²/2 + b w_1)."""

    a: float = 0.5
    b: float = 0.8

    def drift(self, x, t):
        return self.a * x

    def diffusion(self, x, t):
        return self.b * x


def growth(solver, sde, h, power):
    """E[(x_h/x_0)^power] of one step, by quadrature over up to two draws."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(8))
    weights = weights / weights.sum()
    rows = torch.stack([nodes.repeat_interleave(8), nodes.repeat(8)])
    ts = torch.tensor([0.0, h], dtype=F64)
    out = solver.solve(sde, torch.ones(64, 1, dtype=F64), ts, Given(rows, (1,)))[:, 0]
    return (torch.outer(weights, weights).flatten() * out**power).sum().item()


@pytest.mark.parametrize(("name", "order"), [("euler_maruyama", 1), ("heun", 1), ("srk", 1.5)])
def test_weak_order(name, order):
    """First and second moment after unit time: steps are independent, so that their factors multiply."""
    sde, solver = Geometric(), registry.build("solver", {"name": name, "eta": 1.0})
    exact = [np.exp(sde.a), np.exp(2 * sde.a + sde.b**2)]
    errors = [sum(abs(growth(solver, sde, 1 / n, power) ** n - exact[power - 1]) for power in (1, 2)) for n in STEPS]
    assert slope(STEPS, errors) > order - 0.15


@pytest.mark.parametrize(("name", "order"), [("euler_maruyama", 0.5), ("heun", 0.5), ("srk", 1.5)])
def test_strong_order(name, order):
    """RMS distance to the path of the same Brownian motion, 4,000 of them."""
    sde, solver, n = Geometric(), registry.build("solver", {"name": name, "eta": 1.0}), 4000
    errors = []
    for steps in STEPS:
        noise = Recorded(1, (n, 1), dtype=F64)
        ts = torch.linspace(0, 1, steps + 1, dtype=F64)
        out = solver.solve(sde, torch.ones(n, 1, dtype=F64), ts, noise)
        each = len(noise.draws) // steps  # the first draw of a step is its increment
        w = sum(noise.draws[::each]) * steps**-0.5
        errors.append((out - torch.exp(sde.a - sde.b**2 / 2 + sde.b * w)).square().mean().sqrt().item())
    assert slope(STEPS, errors) == pytest.approx(order, abs=0.15)


def test_an_increment_and_its_time_integral_have_their_covariance():
    """W and U = ∫ (w(u) − w(t)) du over h: h, h²/2 and h³/3. No order of the laws above sees a wrong U."""
    from scoresde.solver.engine.torchsde import _Increments

    t, h = torch.tensor(0.3, dtype=F64), 0.7
    draws = torch.eye(2, dtype=F64)
    w, u = _Increments(Given(draws, (1,)), torch.zeros(2, 1, dtype=F64))(t, t + h, return_U=True)
    found = torch.stack([(w * w).sum(), (w * u).sum(), (u * u).sum()])
    torch.testing.assert_close(found, torch.tensor([h, h**2 / 2, h**3 / 3], dtype=F64))
