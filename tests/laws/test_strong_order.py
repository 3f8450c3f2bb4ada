"""Paths follow the exact solution on the same Brownian motion, with the strong order that the solver declares."""

from dataclasses import dataclass

import pytest
import torch

from scoresde.sde.base import SDE

from .exact import F64, Recorded, at_eta, case, slope, solvers

PATHS = 4000
CLAIMED = at_eta(solvers(lambda s: s.strong_order is not None), (1.0,))


@dataclass(frozen=True)
class Geometric(SDE):
    """dx = a x dt + b x dw: x_1 = x_0 exp(a − b²/2 + b w_1)."""

    a: float = 0.5
    b: float = 0.8

    def drift(self, x, t):
        return self.a * x

    def diffusion(self, x, t):
        return self.b * x

    def gram_divergence(self, x, t):
        return 2 * self.b**2 * x


@dataclass(frozen=True)
class Additive(SDE):
    """dx = −x dt + dw: x_1 = e⁻¹ (x_0 + ∫ eᵗ dw)."""

    def drift(self, x, t):
        return -x

    def diffusion(self, x, t):
        return torch.ones((), dtype=x.dtype)


def increments(solver, sde, steps):
    """The end, from 1 in unit time, and the increments on the way."""
    noise = Recorded(1, (PATHS, 1), dtype=F64)
    ts = torch.linspace(0, 1, steps + 1, dtype=F64)
    out = solver.solve(sde, torch.ones(PATHS, 1, dtype=F64), ts, noise)
    each = len(noise.draws) // steps  # the first draw of a step is its increment
    return out, torch.stack(noise.draws[::each]) * steps**-0.5


def of_geometric(solver, steps):
    sde = Geometric()
    out, dw = increments(solver, sde, steps)
    return (out - torch.exp(sde.a - sde.b**2 / 2 + sde.b * dw.sum(0))).square().mean().sqrt().item()


def of_additive(solver, steps):
    """∫ eᵗ dw given the increments: their weights are the means of eᵗ, what is left is of a variance that is known."""
    out, dw = increments(solver, Additive(), steps)
    ends = torch.linspace(0, 1, steps + 1, dtype=F64)
    means = ends.exp().diff() * steps
    best = torch.exp(torch.tensor(-1.0, dtype=F64)) * (1 + torch.einsum("i,i...->...", means, dw))
    unseen = ((2 * ends).exp().diff() / 2 - means**2 / steps).sum() * torch.exp(torch.tensor(-2.0, dtype=F64))
    return ((out - best).square().mean() + unseen).sqrt().item()


def test_what_claims_a_strong_order_is_here():
    assert {c.solver.strong_order for c in CLAIMED} == {0.5, 1.0, 1.5}


@pytest.mark.parametrize("solver", CLAIMED, ids=str)
def test_strong_order_is_the_declared_one(solver):
    """RMS over 4,000 paths of geometric Brownian motion, on the same increments."""
    steps = [8, 16, 32, 64]
    errors = [of_geometric(solver.solver, n) for n in steps]
    assert slope(steps, errors) == pytest.approx(solver.solver.strong_order, abs=0.15)


@pytest.mark.parametrize("solver", [case("euler_maruyama", eta=1.0), case("heun", eta=1.0)], ids=str)
def test_additive_noise_gains_half_an_order(solver):
    steps = [8, 16, 32, 64]
    errors = [of_additive(solver.solver, n) for n in steps]
    assert slope(steps, errors) == pytest.approx(1, abs=0.15)


def test_a_forgotten_correction_shows():
    """Stratonovich's Heun with Itô's drift goes elsewhere: no order at all."""

    class Uncorrected(Geometric):
        def gram_divergence(self, x, t):
            return torch.zeros_like(x)

    solver = case("torchsde", method="heun", eta=1.0).solver
    errors = []
    for n in (8, 64):
        sde = Uncorrected()
        out, dw = increments(solver, sde, n)
        errors.append((out - torch.exp(sde.a - sde.b**2 / 2 + sde.b * dw.sum(0))).square().mean().sqrt().item())
    assert slope([8, 64], errors) < 0.2
