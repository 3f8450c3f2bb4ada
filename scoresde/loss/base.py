"""What a loss is: one number for each sample of a batch; and what losses share."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from scoresde.noise import Noise
from scoresde.score import Cond, Denoiser, ScoreModel

__all__ = ["Loss", "along"]


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
