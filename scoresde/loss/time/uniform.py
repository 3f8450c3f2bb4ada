"""Uniform times."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.loss.time.base import TimeSampler
from scoresde.sde.base import GaussianSDE

__all__ = ["Uniform"]


@dataclass(frozen=True)
class Uniform(TimeSampler):
    """t uniform in [t_min, t_max].

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", eq. 7.
    """

    def __call__(self, sde: GaussianSDE, u: Tensor) -> tuple[Tensor, Tensor]:
        """Linear in u, weight 1."""
        return sde.t_min + u * (sde.t_max - sde.t_min), torch.ones_like(u)
