"""The cosine schedule, as a variance-preserving SDE."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.errors import check
from scoresde.sde.base import GaussianSDE

__all__ = ["Cosine"]


@dataclass(frozen=True)
class Cosine(GaussianSDE):
    """Variance preserving with a cosine: α_t = cos(u(t))/cos(u(0)), where u(t) = (π/2) (t + offset)/(1 + offset).

    Args:
        offset: in (0, 1); the paper's s, which keeps the first steps from being too small.
        t_min: where training starts and sampling stops.
        t_max: the noise end, below 1, where α would be zero; Lu et al. 2022 (DPM-Solver, appendix D) take 0.9946.

    Raises:
        InputError: for a value out of range.

    Source: Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models", eq. 17, in continuous time.
    """

    offset: float = 0.008
    t_min: float = 1e-4
    t_max: float = 0.9946

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "offset", 0 < self.offset < 1, "a number in (0, 1)")
        check(self, "t_max", self.t_max < 1, "a time < 1")

    @property
    def rate(self) -> float:
        """du/dt."""
        return math.pi / 2 / (1 + self.offset)

    @property
    def start(self) -> float:
        """u(0)."""
        return self.rate * self.offset

    def alpha(self, t: Tensor) -> Tensor:
        """cos(u)/cos(u₀)."""
        return torch.cos(self.start + self.rate * t) / math.cos(self.start)

    def var(self, t: Tensor) -> Tensor:
        """1 − α² = sin(u − u₀) sin(u + u₀)/cos²(u₀): no difference of near numbers."""
        turn = self.rate * t
        return torch.sin(turn) * torch.sin(2 * self.start + turn) / math.cos(self.start) ** 2

    def time(self, log_snr: Tensor) -> Tensor:
        """cos²(u) = cos²(u₀) sigmoid(log_snr)."""
        cos_squared = math.cos(self.start) ** 2
        sin = (math.sin(self.start) ** 2 + cos_squared * torch.sigmoid(-log_snr)).sqrt()
        return (torch.atan2(sin, (cos_squared * torch.sigmoid(log_snr)).sqrt()) - self.start) / self.rate

    def drift_rate(self, t: Tensor) -> Tensor:
        """−u′ tan(u)."""
        return -self.rate * torch.tan(self.start + self.rate * t)

    def diffusion_squared(self, t: Tensor) -> Tensor:
        """2u′ tan(u), since the variance is preserved."""
        return -2 * self.drift_rate(t)
