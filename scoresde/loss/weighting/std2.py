"""λ = s²: the error of the noise, as the paper trains."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.loss.weighting.base import Weighting
from scoresde.sde.base import GaussianSDE

__all__ = ["Std2"]


@dataclass(frozen=True)
class Std2(Weighting):
    """λ(t) = s_t²: the error of ε counts the same at every time.

    Source: Song & Ermon 2019, section 4.2; Song et al. 2021, section 3.3.
    """

    def __call__(self, sde: GaussianSDE, t: Tensor) -> Tensor:
        """s_t²."""
        return sde.var(t)
