"""Euler–Maruyama: one drift, one increment; any SDE."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.noise import Noise
from scoresde.sde.base import SDE
from scoresde.solver.base import State, StepSolver

__all__ = ["EulerMaruyama"]


@dataclass(frozen=True)
class EulerMaruyama(StepSolver):
    """x_s = x_t + a(x_t, t)(s − t) + σ(x_t, t)(w_s − w_t); Euler's method where there is no noise.

    Args:
        eta: η of the reverse: 1 for the reverse SDE, 0 for the probability-flow ODE, anything ≥ 0.

    Source: Maruyama 1955; Song et al. 2021, appendix E.
    """

    order = 1
    weak_order = 1
    strong_order = 0.5
    eta: float = 1.0

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """One drift, one increment."""
        stepped = x + sde.drift(x, t) * (s - t)
        if sde.deterministic:
            return stepped, state
        return stepped + sde.noise(x, t, noise.brownian(t, s)), state
