"""Implicit score matching: the score of the data at hand, by its divergence."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.loss.base import Loss, along
from scoresde.loss.time.base import TimeSampler
from scoresde.loss.weighting.base import Weighting
from scoresde.noise import Noise
from scoresde.registry import nested
from scoresde.score import Cond, Denoiser

__all__ = ["Implicit"]


@dataclass(frozen=True)
class Implicit(Loss):
    """λ(t) (‖s‖² + 2 vᵀ(∇s)v) with signs v = ±1, over the number of coordinates, at one time t for each sample.

    In the mean over v the second term is twice the divergence (Hutchinson), and the loss is that of denoising score
    matching less λ/s_t², which no network changes; it can be negative. It has no target, and so varies more, and it
    differentiates the network twice.

    Args:
        weighting: λ, as for denoising score matching.
        time: how times are drawn, likewise.

    Source: Hyvärinen 2005, "Estimation of non-normalized statistical models by score matching", eq. 4; Hutchinson 1990;
    Song et al. 2019, "Sliced score matching", eq. 8 (the variance-reduced form, with normal v).
    """

    weighting: Weighting = nested("loss/weighting", "std2")
    time: TimeSampler = nested("loss/time", "uniform")

    def __call__(self, model: Denoiser, x0: Tensor, noise: Noise, cond: Cond | None = None) -> Tensor:
        """The loss of each sample, shape (B,); see `Loss`."""
        t, importance = self.time(model.sde, noise.stratified())
        x = model.sde.perturb(x0, t, noise.normal())
        v = noise.normal().sign()
        score, slope = along(model, x, t, cond, v)
        factor = importance * self.weighting(model.sde, t)
        return factor.to(score.dtype) * (score.square().flatten(1).sum(1) + 2 * slope) / score[0].numel()
