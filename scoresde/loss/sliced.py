"""Sliced score matching: the score along random directions."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.loss.base import Loss, along
from scoresde.loss.time.base import TimeSampler
from scoresde.loss.weighting.base import Weighting
from scoresde.noise import Noise
from scoresde.registry import nested
from scoresde.score import Cond, Denoiser

__all__ = ["Sliced"]


@dataclass(frozen=True)
class Sliced(Loss):
    """λ(t) ((vᵀs)² + 2 vᵀ(∇s)v) with v ~ N(0, I), over the number of coordinates, at one time t for each sample.

    In the mean over v it is the implicit loss, which varies less: `implicit` has ‖s‖² where this one has a draw of it.

    Args:
        weighting: λ, as for denoising score matching.
        time: how times are drawn, likewise.

    Source: Song et al. 2019, "Sliced score matching: a scalable approach to density and score estimation", eq. 7.
    """

    weighting: Weighting = nested("loss/weighting", "std2")
    time: TimeSampler = nested("loss/time", "uniform")

    def __call__(self, model: Denoiser, x0: Tensor, noise: Noise, cond: Cond | None = None) -> Tensor:
        """The loss of each sample, shape (B,); see `Loss`."""
        t, importance = self.time(model.sde, noise.stratified())
        x = model.sde.perturb(x0, t, noise.normal())
        v = noise.normal()
        score, slope = along(model, x, t, cond, v)
        factor = importance * self.weighting(model.sde, t)
        return factor.to(score.dtype) * ((score * v).flatten(1).sum(1).square() + 2 * slope) / score[0].numel()
