"""Importance sampling for the likelihood weighting: uniform log-SNR."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.loss.time.base import TimeSampler
from scoresde.sde.base import GaussianSDE

__all__ = ["Importance"]


@dataclass(frozen=True)
class Importance(TimeSampler):
    """t of density ∝ g²/s², with the weight that leaves every expected loss what uniform times make it.

    Since d log-SNR/dt = −g²/s² for every Gaussian process, these are times of uniform log-SNR, and under the likelihood
    weighting every time then contributes the error of ε alone.

    Source: Song, Durkan, Murray & Ermon 2021, "Maximum likelihood training of score-based diffusion models",
    section 5.1; Kingma et al. 2021, "Variational diffusion models", eq. 18.
    """

    def __call__(self, sde: GaussianSDE, u: Tensor) -> tuple[Tensor, Tensor]:
        """Linear in log-SNR; the weight is uniform density over this one."""
        last, first = sde.log_snr(u.new_tensor([sde.t_min, sde.t_max]))
        t = sde.time(first + u * (last - first)).clamp(sde.t_min, sde.t_max)
        return t, (last - first) / (sde.t_max - sde.t_min) * sde.var(t) / sde.diffusion_squared(t)
