"""What a time sampler is: quantiles to times."""

from abc import ABC, abstractmethod

from torch import Tensor

from scoresde.sde.base import GaussianSDE

__all__ = ["TimeSampler"]


class TimeSampler(ABC):
    """Where in [t_min, t_max] a loss looks."""

    @abstractmethod
    def __call__(self, sde: GaussianSDE, u: Tensor) -> tuple[Tensor, Tensor]:
        """Turn quantiles into times.

        Args:
            sde: whose times they are.
            u: in (0, 1), shape (B,), float64.

        Returns:
            Times, shape (B,), and what the loss there is multiplied by, shape (B,).
        """
