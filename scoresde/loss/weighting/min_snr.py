"""min-SNR-γ: the error of x_0 counts by its SNR, but never more than γ."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.errors import check, typed
from scoresde.loss.weighting.base import Weighting
from scoresde.sde.base import GaussianSDE

__all__ = ["MinSNR"]


@dataclass(frozen=True)
class MinSNR(Weighting):
    """min(SNR, γ) on the error of x_0, SNR = α²/s²: on the error of ε that is min(1, γ/SNR).

    Args:
        gamma: γ > 0.
        soft: the smooth form, SNR γ/(SNR + γ) on the error of x_0.

    Raises:
        InputError: for a value out of range.

    Source: Hang et al. 2023, "Efficient diffusion training via min-SNR weighting strategy"; soft: Crowson et al. 2024,
    "Scalable high-resolution pixel-space image synthesis with hourglass diffusion transformers".
    """

    gamma: float = 5.0
    soft: bool = False

    def __post_init__(self) -> None:
        """Refuse a bound that is none."""
        typed(self)
        check(self, "gamma", 0 < self.gamma < float("inf"), "a number > 0")

    def __call__(self, sde: GaussianSDE, t: Tensor) -> Tensor:
        """s² min(1, γ/SNR), or s² γ/(SNR + γ)."""
        var, snr = sde.var(t), sde.log_snr(t).exp()
        return var * (self.gamma / (snr + self.gamma) if self.soft else torch.clamp(self.gamma / snr, max=1))
