"""Heun's method: the mean of the drifts at both ends of a step, for ODEs and for SDEs."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.noise import Noise
from scoresde.sde.base import SDE
from scoresde.solver.base import State, StepSolver

__all__ = ["Heun"]


@dataclass(frozen=True)
class Heun(StepSolver):
    """An Euler–Maruyama step x̂ to s, then x_s = x_t + ½(a(x_t, t) + a(x̂, s))(s − t) + ½(σ(x_t, t) + σ(x_t, s)) Δw.

    The noise's amplitude is averaged over time at the old state, so that the equation stays Itô's. Of weak order two
    where σ ignores x, as for every Gaussian process, of weak order one elsewhere.

    Args:
        eta: η of the reverse: 0 for the probability-flow ODE, 1 for the reverse SDE, anything ≥ 0.

    Source: Karras et al. 2022, algorithm 1 (η = 0); Kloeden & Platen 1992, section 15.1 (additive noise).
    """

    order = 2
    weak_order = 2
    strong_order = 0.5
    cost = 2
    eta: float = 0.0

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """Predict with the drift at t, correct with the mean of both."""
        h = (s - t).item()
        before = sde.drift(x, t)
        guess = x.add(before, alpha=h)
        if sde.deterministic:
            return x.add(before, alpha=h / 2).add_(sde.drift(guess, s), alpha=h / 2), state
        dw = noise.brownian(t, s)
        kick = sde.noise(x, t, dw)
        after = sde.drift(guess + kick, s)
        return x.add(before + after, alpha=h / 2) + (kick + sde.noise(x, s, dw)) / 2, state
