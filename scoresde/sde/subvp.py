"""The sub-VP SDE."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.sde.base import LinearBeta

__all__ = ["SubVP"]


@dataclass(frozen=True)
class SubVP(LinearBeta):
    """Variance below VP's: dx = −½β(t) x dt + √(β(t)(1 − exp(−2B(t)))) dw, with B(t) = ∫₀ᵗ β.

    Args:
        beta_min: β(0) ≥ 0.
        beta_max: β(1) > beta_min.
        t_min, t_max: where training starts and sampling stops; the noise end.

    Raises:
        InputError: for a value out of range.

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", section 3.4 and eq. 29.
    """

    # s = 1 − exp(−B) falls with t, not with √t as for VP: earlier than this it sinks into float32's rounding of x
    t_min: float = 1e-3

    def var(self, t: Tensor) -> Tensor:
        """(1 − exp(−B))²."""
        return torch.expm1(-self.integral(t)) ** 2

    def log_snr(self, t: Tensor) -> Tensor:
        """log(α²/s²) = −2 log(2 sinh(B/2))."""
        return -2 * torch.log(2 * torch.sinh(self.integral(t) / 2))

    def time(self, log_snr: Tensor) -> Tensor:
        """B = 2 asinh(½ exp(−log_snr/2))."""
        return self.time_of_integral(2 * torch.asinh(torch.exp(-log_snr / 2) / 2))

    def diffusion_squared(self, t: Tensor) -> Tensor:
        """β(t) (1 − exp(−2B))."""
        return -self.beta(t) * torch.expm1(-2 * self.integral(t))
