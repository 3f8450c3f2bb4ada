"""The straight-line process of rectified flow and flow matching, as an SDE."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.errors import check
from scoresde.sde.base import GaussianSDE

__all__ = ["Rectified"]


@dataclass(frozen=True)
class Rectified(GaussianSDE):
    """Straight lines from data to noise, x_t = (1 − t) x_0 + t ε: dx = −x/(1 − t) dt + √(2t/(1 − t)) dw.

    The papers' time runs from noise to data; here, as everywhere, t = 0 is data.

    Args:
        t_min: where training starts and sampling stops.
        t_max: the noise end, below 1, where drift and diffusion would be infinite.

    Raises:
        InputError: for a value out of range.

    Source: Liu et al. 2022, "Flow straight and fast", eq. 1; Lipman et al. 2023, "Flow matching", eq. 22, σ_min = 0.
    """

    t_min: float = 1e-3
    t_max: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "t_max", self.t_max < 1, "a time < 1")

    def alpha(self, t: Tensor) -> Tensor:
        """1 − t."""
        return 1 - t

    def var(self, t: Tensor) -> Tensor:
        """t²."""
        return t**2

    def std(self, t: Tensor) -> Tensor:
        """t."""
        return t

    def log_snr(self, t: Tensor) -> Tensor:
        """2 log((1 − t)/t)."""
        return -2 * torch.logit(t)

    def time(self, log_snr: Tensor) -> Tensor:
        """sigmoid(−log_snr/2)."""
        return torch.sigmoid(-log_snr / 2)

    def drift_rate(self, t: Tensor) -> Tensor:
        """−1/(1 − t)."""
        return -1 / (1 - t)

    def diffusion_squared(self, t: Tensor) -> Tensor:
        """2t/(1 − t)."""
        return 2 * t / (1 - t)
