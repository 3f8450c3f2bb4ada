"""What a metric is: figures of samples against data."""

from abc import ABC, abstractmethod

from torch import Tensor

from scoresde.data.base import Samples

__all__ = ["Metric"]


class Metric(ABC):
    """Figures that compare samples with a data set, with what two halves of the data give as their floor."""

    @abstractmethod
    def __call__(self, samples: Tensor, data: Samples) -> dict[str, float]:
        """Measure.

        Args:
            samples: shape (n, *shape).
            data: what they should look like, shape (N, *shape).

        Returns:
            Figures by name; where a figure has a floor, ``"<name> of two halves of the data"`` is beside it.
        """
