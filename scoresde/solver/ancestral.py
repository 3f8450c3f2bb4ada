"""Ancestral sampling: the posterior of the forward chain, as in DDPM."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from scoresde.errors import typed
from scoresde.noise import Noise
from scoresde.sde.base import SDE, GaussianSDE
from scoresde.solver.base import State, StepSolver, falling, predict, transitions

__all__ = ["Ancestral"]


@dataclass(frozen=True)
class Ancestral(StepSolver):
    """x_s ~ N(m, v): the mean of q(x_s | x_t, x_0) at the predicted x_0, and its variance or an upper bound of it.

    With r = α_t/α_s and β = s_t² − r² s_s² (DDPM's β_t), m = r (s_s²/s_t²) x_t + α_s (β/s_t²) x_0.

    Args:
        variance: "small" is the posterior's own, β s_s²/s_t² (right for a single data point); "large" is β, right for
            normal data of unit variance, and the paper's choice for VP.

    Raises:
        InputError: for an unknown variance, or a process that is not a GaussianSDE.

    Source: Ho et al. 2020, "Denoising diffusion probabilistic models", eq. 7 and section 3.2; Song et al. 2021,
    eq. 4 and 47.
    """

    needs = GaussianSDE
    weak_order = 1
    eta = 1.0
    variance: Literal["small", "large"] = "small"

    def __post_init__(self) -> None:
        """Refuse a variance that there is not."""
        typed(self)

    def init(self, sde: SDE, x: Tensor, ts: Tensor) -> State:
        """Of each step, the weights of x_t and x_0 and the deviation."""
        falling(self, ts)
        k = transitions(sde, ts)
        shrink = k.var / k.var_before
        variance = k.fresh * shrink if self.variance == "small" else k.fresh
        return torch.stack([k.ratio * shrink, k.alpha * k.fresh / k.var_before, variance.sqrt()], -1).tolist()

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """One prediction, one draw from the posterior."""
        (keep, clean, std), *rest = state
        return keep * x + clean * predict(sde, x, t).x0 + std * noise.normal(), rest
