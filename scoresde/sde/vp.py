"""The variance-preserving SDE."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.sde.base import LinearBeta

__all__ = ["VP"]


@dataclass(frozen=True)
class VP(LinearBeta):
    """Variance preserving: dx = −½β(t) x dt + √β(t) dw, with β rising linearly from beta_min to beta_max.

    Args:
        beta_min: β(0) ≥ 0.
        beta_max: β(1) > beta_min.
        t_min, t_max: where training starts and sampling stops; the noise end.

    Raises:
        InputError: for a value out of range.

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", eq. 11, 29 and 32.
    """

    def var(self, t: Tensor) -> Tensor:
        """1 − exp(−B), by expm1: the plain difference is off by 0.6 % at t = 1e-5 in float32."""
        return -torch.expm1(-self.integral(t))

    def log_snr(self, t: Tensor) -> Tensor:
        """log(α²/s²) = −log(exp(B) − 1)."""
        return -torch.log(torch.expm1(self.integral(t)))

    def time(self, log_snr: Tensor) -> Tensor:
        """B = log(1 + exp(−log_snr))."""
        return self.time_of_integral(torch.nn.functional.softplus(-log_snr, threshold=40))

    def diffusion_squared(self, t: Tensor) -> Tensor:
        """β(t)."""
        return self.beta(t)
