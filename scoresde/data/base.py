"""What a data set is: rows of one shape, their bounds, their labels."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scoresde.errors import InputError, printable

__all__ = ["Data", "Samples", "Source", "labels"]

_CLASSES = 2**20


class Source(ABC):
    """Rows that are had by their numbers, the same at every call.

    ``spacing`` is the distance between neighbouring values where there are only some, as of pixels, and 0 for a
    continuum.
    """

    spacing: float = 0.0

    @abstractmethod
    def __len__(self) -> int:
        """How many rows there are."""

    @abstractmethod
    def take(self, rows: Tensor) -> "Samples":
        """Some of the rows.

        Args:
            rows: their numbers, int64, shape (B,), on the CPU.

        Returns:
            The samples, in that order.
        """


@dataclass(frozen=True, eq=False)
class Samples(Source):
    """Data in memory: x of shape (N, *shape), float32, and labels of shape (N,), int64, or None."""

    x: Tensor
    label: Tensor | None = None
    spacing: float = 0.0

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Tensor) -> "Samples":
        """Some of the rows; see `Source`."""
        rows = rows.to(self.x.device)
        return replace(self, x=self.x[rows], label=None if self.label is None else self.label[rows])

    def to(self, device: torch.device | str) -> "Samples":
        """The same on a device."""
        return replace(self, x=self.x.to(device), label=None if self.label is None else self.label.to(device))


class Data(ABC):
    """A data set.

    ``shape`` is that of one sample, ``range`` the least and the greatest value it can take (None without bounds), and
    ``classes`` the number of labels, 0 for none.
    """

    shape: tuple[int, ...]
    range: tuple[float, float] | None = None
    classes: int = 0

    @abstractmethod
    def load(self) -> Source:
        """All of it: `Samples` where it fits in memory, else a `Source` that reads rows when they are asked for."""


def labels(values: Iterable[object], where: str) -> Tensor:
    """Labels of a file, int64, shape (N,).

    Args:
        values: what the file says, one for each row.
        where: what they are labels of, as a message says it.

    Raises:
        InputError: for what is no whole number in [0, 2²⁰).
    """
    found = list(values)
    for row, value in enumerate(found):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _CLASSES:
            said = f"{where}: the label of row {row} is {value!r}, but it must be a whole number in [0, 2**20)"
            raise InputError(printable(said))
    return torch.tensor(found, dtype=torch.int64)
