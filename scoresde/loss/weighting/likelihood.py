"""λ = g²: maximum likelihood."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.loss.weighting.base import Weighting
from scoresde.sde.base import GaussianSDE

__all__ = ["Likelihood"]


@dataclass(frozen=True)
class Likelihood(Weighting):
    """λ(t) = g(t)²: half its integral over time bounds the negative log-likelihood. Best with loss/time=importance.

    Source: Song, Durkan, Murray & Ermon 2021, "Maximum likelihood training of score-based diffusion models", eq. 7.
    """

    def __call__(self, sde: GaussianSDE, t: Tensor) -> Tensor:
        """g(t)²."""
        return sde.diffusion_squared(t)
