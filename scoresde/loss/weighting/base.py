"""What a weighting is: λ(t) of score matching."""

from abc import ABC, abstractmethod

from torch import Tensor

from scoresde.sde.base import GaussianSDE

__all__ = ["Weighting"]


class Weighting(ABC):
    """How much the squared error of the score counts at each time."""

    @abstractmethod
    def __call__(self, sde: GaussianSDE, t: Tensor) -> Tensor:
        """λ(t) > 0, the shape of t."""
