"""DDIM: each step as if the predicted x_0 were the truth."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.errors import check, typed
from scoresde.noise import Noise
from scoresde.sde.base import SDE, GaussianSDE
from scoresde.solver.base import State, StepSolver, falling, predict, transitions

__all__ = ["DDIM"]


@dataclass(frozen=True)
class DDIM(StepSolver):
    """x_s = α_s x_0 + √(s_s² − c²) ε + c z, with c² = η² (s_s²/s_t²)(s_t² − (α_t/α_s)² s_s²).

    With η = 0 this is the exponential integrator of first order of the probability-flow ODE, with η = 1 DDPM's
    posterior step.

    Args:
        eta: η in [0, 1].

    Raises:
        InputError: for η out of range, or a process that is not a GaussianSDE.

    Source: Song, Meng & Ermon 2021, "Denoising diffusion implicit models", eq. 12 and 16, for any α and s.
    """

    needs = GaussianSDE
    order = 1
    weak_order = 1
    eta: float = 0.0

    def __post_init__(self) -> None:
        """Refuse an η that leaves no variance for ε."""
        typed(self)
        check(self, "eta", 0 <= self.eta <= 1, "a number in [0, 1]")

    def init(self, sde: SDE, x: Tensor, ts: Tensor) -> State:
        """α_s, √(s_s² − c²) and c of each step."""
        if self.eta:
            falling(self, ts)
        k = transitions(sde, ts)
        c_squared = self.eta**2 * k.var / k.var_before * k.fresh
        return torch.stack([k.alpha, (k.var - c_squared).sqrt(), c_squared.abs().sqrt()], -1).tolist()

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """One prediction, then the posterior at s."""
        (alpha, std, c), *rest = state
        said = predict(sde, x, t)
        stepped = alpha * said.x0 + std * said.eps
        return (stepped + c * noise.normal() if self.eta else stepped), rest
