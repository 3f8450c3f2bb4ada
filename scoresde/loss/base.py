"""What a loss is: one number for each sample of a batch."""

from abc import ABC, abstractmethod

from torch import Tensor

from scoresde.noise import Noise
from scoresde.score import Cond, Denoiser

__all__ = ["Loss"]


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
