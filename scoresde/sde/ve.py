"""The variance-exploding SDE."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.errors import check
from scoresde.sde.base import GaussianSDE

__all__ = ["VE"]


@dataclass(frozen=True)
class VE(GaussianSDE):
    """Variance exploding: dx = s(t) √(2 log(sigma_max/sigma_min)) dw, with s(t) = sigma_min (sigma_max/sigma_min)ᵗ.

    As in the paper the kernel's deviation is s(t), so that x(0) already carries noise of deviation sigma_min.

    Args:
        sigma_min: s(0) > 0.
        sigma_max: s(1) > sigma_min; the paper takes the largest distance between two data points
            (50 for CIFAR-10, 348 for CelebA-HQ 256, 1348 for FFHQ 1024).
        t_min, t_max: where training starts and sampling stops; the noise end.

    Raises:
        InputError: for a value out of range.

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", eq. 30 and appendix C.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_min: float = 1e-5
    t_max: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "sigma_min", 0 < self.sigma_min < float("inf"), "a number > 0")
        check(self, "sigma_max", self.sigma_min < self.sigma_max < float("inf"), f"> sigma_min = {self.sigma_min}")

    @property
    def log_ratio(self) -> float:
        """log(sigma_max/sigma_min)."""
        return math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t)

    def var(self, t: Tensor) -> Tensor:
        """s(t)²."""
        return self.sigma_min**2 * torch.exp(2 * self.log_ratio * t)

    def log_snr(self, t: Tensor) -> Tensor:
        """−2 log s(t), linear in t."""
        return -2 * (math.log(self.sigma_min) + self.log_ratio * t)

    def time(self, log_snr: Tensor) -> Tensor:
        """Where s(t) = exp(−log_snr/2)."""
        return (-log_snr / 2 - math.log(self.sigma_min)) / self.log_ratio

    def drift_rate(self, t: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(t)

    def diffusion_squared(self, t: Tensor) -> Tensor:
        """2 log(sigma_max/sigma_min) s(t)²."""
        return 2 * self.log_ratio * self.var(t)
