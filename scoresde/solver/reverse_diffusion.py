"""Reverse diffusion: the reverse discretised as the forward chain is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.noise import Noise
from scoresde.sde.base import SDE, GaussianSDE
from scoresde.solver.base import State, StepSolver, falling, predict, transitions

__all__ = ["ReverseDiffusion"]


@dataclass(frozen=True)
class ReverseDiffusion(StepSolver):
    """x_s = (2 − r) x_t + G² ∇log p_t(x_t) + G z, where the forward chain is x_t = r x_s + G z.

    With r = √(1 − β_i) and G² = β_i for VP, r = 1 and G² = s_t² − s_s² for VE.

    Raises:
        InputError: for a process that is not a GaussianSDE.

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", eq. 46 and appendix E.
    """

    needs = GaussianSDE
    weak_order = 1
    eta = 1.0

    def init(self, sde: SDE, x: Tensor, ts: Tensor) -> State:
        """r, G² and G of each step."""
        falling(self, ts)
        k = transitions(sde, ts)
        return torch.stack([k.ratio, k.fresh, k.fresh.sqrt()], -1).tolist()

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """One score, one increment."""
        (ratio, variance, std), *rest = state
        return (2 - ratio) * x + variance * predict(sde, x, t).score + std * noise.normal(), rest
