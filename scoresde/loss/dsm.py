"""Denoising score matching: against the score of the Gaussian kernel."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.loss.base import Loss, denoising
from scoresde.loss.time.base import TimeSampler
from scoresde.loss.weighting.base import Weighting
from scoresde.noise import Noise
from scoresde.registry import nested
from scoresde.score import Cond, Denoiser

__all__ = ["DSM"]


@dataclass(frozen=True)
class DSM(Loss):
    """λ(t) ‖∇log p_t(x_t) − ∇log p(x_t | x_0)‖², the mean over coordinates, at one time t for each sample.

    Args:
        weighting: λ, ``loss/weighting=std2`` (the paper's), ``likelihood``, ``edm``, ``min_snr``, ``p2``.
        time: how times are drawn, ``loss/time=uniform``, ``log_normal``, ``importance``.

    Source: Vincent 2011; Song et al. 2021, eq. 7.
    """

    weighting: Weighting = nested("loss/weighting", "std2")
    time: TimeSampler = nested("loss/time", "uniform")

    def __call__(self, model: Denoiser, x0: Tensor, noise: Noise, cond: Cond | None = None) -> Tensor:
        """The loss of each sample, shape (B,); see `Loss`."""
        return denoising(model, x0, noise, cond, self.time, self.weighting)[1]
