"""The process of EDM: time is the noise level."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.sde.base import GaussianSDE

__all__ = ["EDM"]


@dataclass(frozen=True)
class EDM(GaussianSDE):
    """Noise level as time: dx = √(2t) dw, so that α = 1 and s = t.

    Args:
        t_min, t_max: the least and the greatest noise level, σ_min and σ_max of the paper.

    Raises:
        InputError: for a value out of range.

    Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", table 1.
    """

    t_min: float = 0.002
    t_max: float = 80.0

    def alpha(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t)

    def var(self, t: Tensor) -> Tensor:
        """t²."""
        return t**2

    def std(self, t: Tensor) -> Tensor:
        """t."""
        return t

    def log_snr(self, t: Tensor) -> Tensor:
        """−2 log t."""
        return -2 * t.log()

    def time(self, log_snr: Tensor) -> Tensor:
        """exp(−log_snr/2)."""
        return torch.exp(-log_snr / 2)

    def drift_rate(self, t: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(t)

    def diffusion_squared(self, t: Tensor) -> Tensor:
        """2t."""
        return 2 * t
