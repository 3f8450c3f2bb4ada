"""What a loss is: one number for each sample of a batch; and what losses share."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from scoresde.loss.time.base import TimeSampler
from scoresde.loss.weighting.base import Weighting
from scoresde.noise import Noise
from scoresde.score import Cond, Denoiser, ScoreModel

__all__ = ["Loss", "along", "denoising"]


class Loss(ABC):
    """A training objective."""

    @abstractmethod
    def __call__(self, model: Denoiser, x0: Tensor, noise: Noise, cond: Cond | None = None) -> Tensor:
        """The loss of each sample.

        Args:
            model: what is trained.
            x0: data, shape (B, *shape).
            noise: random numbers of the same shape; each sample's from its own stream.
            cond: conditions by name, shape (B, ...) each.

        Returns:
            Shape (B,); its mean is what training descends.
        """


def denoising(
    model: Denoiser, x0: Tensor, noise: Noise, cond: Cond | None, time: TimeSampler, weighting: Weighting
) -> tuple[Tensor, Tensor]:
    """λ(t) ‖∇log p_t(x_t) − ∇log p(x_t | x_0)‖², the mean over coordinates, at one time t for each sample.

    Args:
        model, x0, noise, cond: as of a loss.
        time: how times are drawn.
        weighting: λ.

    Returns:
        The times, and λ(t) ‖…‖² times what the drawing asks for, shape (B,) both.
    """
    sde = model.sde
    t, importance = time(sde, noise.stratified())
    x = sde.perturb(x0, t, noise.normal())
    error = (model(x, t, cond).x0 - x0).square().flatten(1).mean(1)
    # the scores differ by α/s² times what the x_0 differ by
    factor = importance * weighting(sde, t) * (sde.alpha(t) / sde.var(t)) ** 2
    return t, factor.to(error.dtype) * error


def along(model: ScoreModel, x: Tensor, t: Tensor, cond: Cond | None, v: Tensor) -> tuple[Tensor, Tensor]:
    """The score and its derivative along v, both differentiable in the weights.

    Args:
        model, x, t, cond: as of a score model.
        v: a direction for each sample, the shape of x.

    Returns:
        s(x, t), the shape of x, and vᵀ (∇s) v, shape (B,).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        score = model(x, t, cond).score
        (pull,) = torch.autograd.grad((score * v).sum(), x, create_graph=True)
    return score, (pull * v).flatten(1).sum(1)
