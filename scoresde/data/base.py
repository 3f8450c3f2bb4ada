"""What a data set is: tensors of one shape, their bounds, their labels."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

__all__ = ["Data", "Samples"]


class Samples(NamedTuple):
    """Data in memory: x of shape (N, *shape), float32, and labels of shape (N,), int64, or None."""

    x: Tensor
    label: Tensor | None = None


class Data(ABC):
    """A data set.

    ``shape`` is that of one sample, ``range`` the least and the greatest value it can take (None without bounds), and
    ``classes`` the number of labels, 0 for none.
    """

    shape: tuple[int, ...]
    range: tuple[float, float] | None = None
    classes: int = 0

    @abstractmethod
    def load(self) -> Samples:
        """All of it, the same at every call."""
